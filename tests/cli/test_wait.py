"""`asyncnb wait`: the exit code that a script gets, of kernels that live, die and restart."""

from __future__ import annotations

import json
import signal

import pytest

from tests.cli.processes import Commands, Process, commands, of_kernel
from tests.kernel.driver import Kernel

__all__ = ["commands", "of_kernel"]

GATE = "gate = asyncio.Event()"


def test_the_exit_code_says_how_tasks_ended(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok(GATE)
    for name, end in (("good", "1"), ("bad", "raise ValueError('no luck')"), ("other", "2")):
        kernel.ok(f"%%atask {name}\nawait gate.wait()\n{end}")
    good = of_kernel.start("wait", "good", "other")
    both = of_kernel.start("wait", "--json", "good", "bad")
    kernel.ok("gate.set()")
    kernel.run("%tasks wait")
    code, out, err = good.end()
    assert (code, err) == (0, "")
    assert [line.split(" after ")[0] for line in sorted(out.splitlines())] == [
        "'good' is done",
        "'other' is done",
    ]
    code, out, err = both.end()
    answer = json.loads(out)
    assert (code, err) == (1, "") and answer["left"] == [] and not answer["timed_out"]
    assert sorted(task["state"] for task in answer["tasks"]) == ["done", "failed"]
    code, out, err = of_kernel.start("wait", "b*").end()  # it has ended already
    assert code == 1 and out.startswith("'bad' failed after ")
    assert out.endswith(": ValueError: no luck\n")


def test_one_of_them_is_enough(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok(GATE)
    kernel.ok("%%atask first\nawait gate.wait()")
    kernel.ok("%%atask never\nawait asyncio.Event().wait()")
    process = of_kernel.start("wait", "--any", "never", "first")
    kernel.ok("gate.set()")
    code, out, err = process.end()
    assert (code, err) == (0, "") and out.startswith("'first' is done")
    kernel.ok("asyncnb.cancel('never')")
    code, out, err = of_kernel.start("wait", "--any", "never").end()
    assert (code, err) == (1, "") and out.startswith("'never' was cancelled")


def test_the_time_is_up_after_a_while(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok("%%atask never\nawait asyncio.Event().wait()")
    code, out, err = of_kernel.start("wait", "--timeout", "0.2", "never").end()
    assert (code, out) == (124, "")
    assert err == "asyncnb wait: after 0.20 s still waiting for 'never'\n"
    code, out, _ = of_kernel.start("wait", "--timeout", "0.2", "--json", "never").end()
    assert code == 124 and json.loads(out) == {"timed_out": True, "tasks": [], "left": ["never"]}


def test_what_is_wrong_is_said(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok(
        "%%atask outer\nasync with asyncio.TaskGroup() as group:\n"
        "    group.create_task(asyncio.Event().wait(), name='inner')"
    )
    kernel.ok("await asyncio.sleep(0)")
    for arguments, code, text in (
        ([], 2, "name a task"),
        (["none such"], 1, "outer"),
        (["outer/inner"], 1, "is inside another task: wait for that"),
        (["outer", "--timeout", "soon"], 2, "seconds"),
    ):
        ended, out, err = of_kernel.start("wait", *arguments).end()
        assert (ended, out) == (code, "") and text in err, (arguments, err)


def waits(kernel: Kernel, process: Process) -> Process:
    """Return when the kernel holds the process' question."""
    serve = "get_ipython().kernel.control_handlers['asyncnb_request'].__self__._serve"
    while not kernel.evaluate(f"{serve} is not None and len({serve}.__self__.held._questions)"):
        pass
    return process


@pytest.mark.parametrize("end", ["dies", "restarts"])
def test_a_kernel_that_goes_away_ends_the_wait(start_kernel, commands: Commands, end: str) -> None:
    kernel = start_kernel()
    commands.add(kernel, "mortal")
    kernel.ok("%%atask never\nawait asyncio.Event().wait()")
    process = waits(kernel, commands.start("wait", "never"))
    if end == "dies":
        kernel.shutdown(now=True)
    else:
        kernel.restart()
    code, out, err = process.end()
    # A restart lets tasks clean up first: the task may be reported as cancelled.
    text = "asyncnb wait: The kernel mortal has ended or was restarted meanwhile.\n"
    assert code == 1
    assert (out, err) == ("", text) or (end == "restarts" and "was cancelled" in out and not err)


def test_tasks_in_two_kernels_and_one_without_asyncnb_any_more(
    kernel: Kernel, start_kernel, of_kernel: Commands
) -> None:
    other = start_kernel()
    of_kernel.add(other, "other")
    kernel.ok("%%atask here\nawait asyncio.Event().wait()")
    other.ok("%%atask there\nawait asyncio.Event().wait()")
    stopped = waits(other, of_kernel.start("wait", "there"))
    stopped.signal(signal.SIGINT)
    assert stopped.end() == (130, "", "")
    process = waits(other, of_kernel.start("wait", "here", "there"))
    kernel.ok("asyncnb.cancel('here')")
    assert process.line().startswith("'here' was cancelled")
    other.ok("%unload_ext asyncnb")
    code, out, err = process.end()
    said = out + err
    assert code == 1
    # The unloading cancels the task, refuses what is held, and then answers no more: which the
    # command sees first is a matter of chance.
    assert "unloaded" in said or "cancelled" in said or "does not answer any more" in said
