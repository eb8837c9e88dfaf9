"""--at and --cron."""

from __future__ import annotations

import json
import time

import pytest

from tests.kernel.driver import Kernel

# A schedule that does not take a minute: what cronsim makes of a line is tested in core.
SOON = """
import asyncnb._kernel.cron
_after = asyncnb._kernel.cron.CronSchedule.after
asyncnb._kernel.cron.CronSchedule.after = lambda self, moment: moment + 0.1
"""
AS_BEFORE = "asyncnb._kernel.cron.CronSchedule.after = _after"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--at 25:00", "--at: takes a time from 00:00 to 23:59:59, not '25:00'"),
        ("--at 2030-12-01 09:00", "A date and its time need quotes: '2030-12-01 09:00'"),
        ("--at '2020-12-01 09:00'", "takes a time in the future, and '2020-12-01 09:00' is past"),
        ("--cron */5 * * * *", "'*/5' has 1"),
        ("--cron '61 * * * *'", "the minute of '61 * * * *' makes no sense"),
        ("--cron '0 0 30 2 *'", "the day of month of '0 0 30 2 *' makes no sense"),
        ("--cron '0 * * * * *'", "--every repeats a cell after seconds"),
        ("--cron @dayly", "Did you mean '@daily'"),
        ("--every 5 --at 09:00", "--every, --at and --cron each say when to run; give one of them"),
        ("--cron @daily --every 5", "give one of them"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused_and_nothing_starts(kernel, options, sentence):
    error = kernel.run(f"%%atask job {options}\nran = 1").error
    assert error.ename == "UsageError"
    assert sentence in error.evalue
    assert kernel.evaluate("asyncnb.tasks() == [] and 'ran' not in globals()")


def test_without_cronsim_a_sentence_says_what_installs_it(kernel):
    kernel.ok("sys.modules['cronsim'], _kept = None, sys.modules.get('cronsim')")
    try:
        error = kernel.run("%%atask job --cron @daily\n1").error
        assert "needs the package cronsim: `%pip install asyncnb[cron]` installs it" in error.evalue
    finally:
        kernel.ok("del sys.modules['cronsim']\nif _kept: sys.modules['cronsim'] = _kept")


def in_seconds(kernel: Kernel, seconds: float) -> str:
    """What the clock shows then."""
    moment = f"time.localtime(time.time() + {seconds})"
    return str(kernel.evaluate(f"time.strftime('%H:%M:%S', {moment})"))


def until_it_waits(kernel: Kernel, name: str = "job") -> None:
    kernel.ok(
        f"_end = time.monotonic() + 20\nwhile asyncnb.task('{name}').info().state == 'pending':\n"
        "    assert time.monotonic() < _end; time.sleep(0.001)"
    )


@pytest.mark.parametrize("body", ["time.sleep(0)", "await asyncio.sleep(0)"])
def test_the_table_says_when_a_cell_will_run_and_it_can_be_paused(kernel, body):
    clock = in_seconds(kernel, 3600)
    kernel.ok(f"%%atask job --at {clock}\n{body}\nran = 1")
    until_it_waits(kernel)
    row = kernel.ok("%tasks job").result
    assert "waiting" in row and "next " in row and clock.removesuffix(":00") in row
    assert "its time, " in row
    [task] = json.loads(kernel.ok("%tasks --json").result)["tasks"]
    assert 0 < task["next_run"] - time.time() < 3601
    assert kernel.ok("%tasks pause job\n%tasks resume job").stdout == "job is paused\njob resumed\n"
    kernel.ok("%tasks cancel job\n%tasks wait")
    assert kernel.evaluate("(job.info().state, 'ran' in globals())") == ("cancelled", False)


def test_a_cell_runs_when_its_time_has_come(kernel):
    clock = in_seconds(kernel, 1.5)
    cell = kernel.ok(f"%%atask job --at {clock}\nprint(time.strftime('%H:%M:%S'))\n'ended'")
    cell.wait_for("'ended'")
    assert clock <= cell.stdout.strip() or clock > "23:59"
    info = kernel.evaluate("(job.info().state, job.info().next_run, job.info().rounds)")
    assert info == ("done", None, None)


def test_the_time_limit_begins_with_the_run(kernel):
    clock = in_seconds(kernel, 1.5)
    cell = kernel.ok(f"%%atask job -t 0.1 --at {clock}\nprint('began')\nawait asyncio.sleep(60)")
    cell.wait_for(lambda c: c.errors)
    assert cell.stdout == "began\n"
    assert cell.errors[-1].evalue == "The run did not finish within 0.1 s."


def test_an_expression_waits_for_its_time_and_can_be_cancelled(kernel):
    clock = in_seconds(kernel, 3600)
    kernel.ok(f"async def work(): ran.append(1)\nran = []\nt = %atask job --at {clock} work()")
    until_it_waits(kernel)
    assert kernel.evaluate("t.info().state") == "waiting"
    kernel.ok("t.cancel()\n%tasks wait")
    assert kernel.evaluate("(t.info().state, ran)") == ("cancelled", [])


def test_a_schedule_shows_its_next_run_and_none_is_started_at_once(kernel):
    kernel.ok("%%atask nightly --cron '30 3 * * *'\nran = 1")
    until_it_waits(kernel, "nightly")
    row = kernel.ok("%tasks nightly").result
    assert "0 rounds, next " in row and "03:30" in row
    assert kernel.evaluate("'ran' not in globals()")
    assert kernel.ok("%tasks pause nightly").stdout == "nightly is paused\n"
    kernel.ok("%tasks cancel nightly\n%tasks wait")


def test_a_schedule_runs_again_and_again_each_run_with_its_time_limit(kernel):
    kernel.ok(SOON)
    try:
        cell = kernel.ok(
            "rounds = 0\n"
            "get_ipython().run_cell_magic('atask', 'poll --cron @daily -t 0.5 -o latest', '''\n"
            "rounds += 1\n"
            "await asyncio.sleep(60 if rounds == 2 else 0)\n"
            "rounds''')"
        )
        kernel.ok(
            "end = time.monotonic() + 20\n"
            "while rounds < 4 and time.monotonic() < end: time.sleep(0.01)"
        )
        info = kernel.evaluate("(poll.info().failures, poll.info().error, latest >= 1)")
        assert info == (1, "TimeoutError: The run did not finish within 0.5 s.", True)
        assert kernel.evaluate("poll.info().skipped") >= 1
        assert "1 failed, " in kernel.ok("%tasks poll").result
        kernel.ok("%tasks cancel poll\n%tasks wait")
        [error] = cell.errors
        assert "await asyncio.sleep(60" in error.traceback
        assert "repeat.py" not in error.traceback and "at_times.py" not in error.traceback
    finally:
        kernel.ok(AS_BEFORE)
