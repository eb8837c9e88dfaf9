"""`--after` and `--after-any`: cells that start when others are done, and say why they did not."""

from __future__ import annotations

import pytest


def state(kernel, name):
    return kernel.evaluate(f"asyncnb.task('{name}').info().state")


def test_after_starts_when_all_are_done_and_sees_what_they_bound(kernel):
    kernel.ok("gates = {name: asyncio.Event() for name in 'ab'}; seen = []")
    kernel.ok("%%atask load -o table\nawait gates['a'].wait()\n[1, 2]")
    kernel.ok("%%atask fetch\nawait gates['b'].wait()")
    clean = kernel.ok("%%atask clean --after load,fetch -t 60\nprint('cleaning', table)")
    facts = "asyncnb.task('clean').info()"
    assert kernel.evaluate(f"{facts}[2]") == "pending"
    assert kernel.evaluate(f"[{facts}.waiting_on, {facts}.started, {facts}.timeout]") == [
        "after load, fetch",
        None,
        60.0,
    ]
    assert "after load, fetch" in kernel.ok("%tasks").result
    kernel.ok("gates['a'].set(); await asyncnb.task('load');")
    assert state(kernel, "clean") == "pending"
    kernel.ok("gates['b'].set()")
    clean.wait_for("cleaning [1, 2]")


def test_a_cell_after_tasks_that_have_ended_starts_at_once(kernel):
    kernel.ok("%%atask load --wait\n1")
    assert kernel.ok("%%atask clean --after load --wait\n'ran'").shown == ["'ran'"]


def test_a_failure_ends_what_comes_after_it_with_a_sentence_and_at_once(kernel):
    kernel.ok("%%atask slow\nawait asyncio.Event().wait()")
    kernel.ok("%%atask load\nawait asyncio.sleep(0)\nraise ValueError('boom')")
    clean = kernel.ok("%%atask clean --after slow,load\nprint('never')")
    report = kernel.ok("%%atask report --after clean\nprint('never')")
    report.wait_for(lambda cell: cell.errors)
    [error] = clean.errors
    assert error.ename == "NotRunError"
    assert error.evalue == "clean did not run: load failed: ValueError: boom."
    assert error.traceback == "NotRunError: clean did not run: load failed: ValueError: boom."
    assert "clean did not run, because load failed: ValueError: boom." in report.text
    assert "never" not in clean.text + report.text
    assert kernel.evaluate("asyncnb.task('clean').info().started") is None
    assert "did not run: load failed" in kernel.ok("%tasks --failed").result
    cell = kernel.run("await asyncnb.task('report')")
    assert cell.error.ename == "NotRunError"


def test_a_cancel_ends_what_comes_after_it(kernel):
    kernel.ok("%%atask load\nawait asyncio.Event().wait()")
    clean = kernel.ok("%%atask clean --after load\nprint('never')")
    kernel.ok("%tasks cancel load")
    clean.wait_for("clean did not run: load was cancelled.")
    assert state(kernel, "clean") == "failed"
    cell = kernel.run("%%atask later --after load --wait\nprint('never')")
    assert cell.error.evalue == "later did not run: load was cancelled."


def test_even_if_failed_waits_for_all_to_end_and_runs(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask load\nraise ValueError('boom')")
    kernel.ok("%%atask fetch\nawait gate.wait()")
    kernel.ok("%%atask clean --after load,fetch --even-if-failed\n'ran'")
    kernel.run("await asyncnb.task('load')")
    assert state(kernel, "clean") == "pending"
    kernel.ok("%tasks cancel fetch")
    assert kernel.ok("await asyncnb.task('clean')").result == "'ran'"


def test_after_any_starts_with_the_first_that_is_done_and_not_with_a_failure(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask slow\nawait asyncio.Event().wait()")
    kernel.ok("%%atask broken\n1/0")
    kernel.ok("%%atask quick\nawait gate.wait()")
    kernel.ok("%%atask first --after-any slow,broken,quick\n'ran'")
    kernel.run("await asyncnb.task('broken')")
    waits = kernel.evaluate("asyncnb.task('first').info().waiting_on")
    assert waits == "after the first of slow, broken, quick"
    kernel.ok("gate.set()")
    assert kernel.ok("await asyncnb.task('first')").result == "'ran'"
    none = kernel.ok("%%atask none --after-any broken,slow\n'ran'")
    kernel.ok("%tasks cancel slow")
    none.wait_for("none did not run: broken failed: ZeroDivisionError: division by zero; slow was")


def test_a_run_that_is_replaced_is_waited_for_again(kernel):
    kernel.ok("gate = asyncio.Event(); ran = []")
    load = "%%atask load\ntry:\n    await gate.wait()\nfinally:\n    ran.append('load')"
    kernel.ok(load)
    kernel.ok("%%atask clean --after load\nran.append('clean')")
    kernel.ok(load)
    assert state(kernel, "clean") == "pending"
    kernel.ok("gate.set(); await asyncnb.task('clean');")
    assert kernel.evaluate("ran") == ["load", "load", "clean"]


def test_after_a_group_waits_for_all_of_its_tasks_and_later_ones(kernel):
    kernel.ok("gate = asyncio.Event(); ran = []")
    page = "await gate.wait()\nran.append('page')"
    kernel.ok(f"%%atask page1 -g pages\n{page}")
    kernel.ok("%%atask clean --after pages\nran.append('clean')")
    kernel.ok(f"%%atask page2 -g pages\n{page}")
    kernel.ok("gate.set(); await asyncnb.task('clean');")
    assert kernel.evaluate("ran") == ["page", "page", "clean"]


def test_a_group_that_failed_or_was_cancelled_is_named(kernel):
    kernel.ok("%%atask page -g pages\nraise ValueError('boom')")
    clean = kernel.ok("%%atask clean --after pages\n1")
    clean.wait_for("clean did not run: group pages failed: page (In[")
    kernel.ok("%%atask row -g rows\nawait asyncio.Event().wait()")
    tidy = kernel.ok("%%atask tidy --after rows\n1")
    kernel.ok("%tasks cancel -g rows")
    tidy.wait_for("tidy did not run: group rows was cancelled.")


def test_what_waits_can_be_cancelled_paused_and_waited_for(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask load\nawait gate.wait()")
    kernel.ok("%%atask clean --after load\n'ran'")
    kernel.ok("%%atask other --after load\n'ran'")
    kernel.ok("%tasks pause clean\n%tasks cancel other")
    assert state(kernel, "clean") == "paused"
    kernel.ok("gate.set(); await asyncnb.task('load');")
    kernel.ok("%tasks resume clean\n%tasks wait clean -t 10")
    assert kernel.evaluate("asyncnb.task('clean').result()") == "ran"
    assert state(kernel, "other") == "cancelled"


def test_a_cell_sent_to_a_process_takes_along_what_was_bound_meanwhile(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask load -o table\nawait gate.wait()\n[1, 2]")
    kernel.ok("%%atask clean --after load --on process -o total\nsum(table)")
    kernel.ok("gate.set()\n%tasks wait clean -t 20")
    assert kernel.evaluate("total") == 3


def test_retry_and_every_come_after_the_wait(kernel):
    kernel.ok("gate = asyncio.Event(); runs = []")
    kernel.ok("%%atask load\nawait gate.wait()")
    kernel.ok("%%atask tick --after load --every 0.01\nruns.append(1)\nawait asyncio.sleep(0)")
    assert state(kernel, "tick") == "pending"
    kernel.ok("gate.set()\nwhile len(runs) < 3: await asyncio.sleep(0)")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--after loda", "No task and no group is named 'loda'. Did you mean 'load'?"),
        ("load --after load", "'load' would wait for itself: load → load."),
        ("load --after report", "'load' would wait for itself: load → report → clean → load."),
        (
            "-g pages --after pages load",
            "'load' would wait for itself: load → pages, and 'load' is a task of the group",
        ),
        ("--after load,,clean", "takes names of tasks or groups with commas between them"),
        ("--after load --after-any clean", "give one of the two"),
        ("--even-if-failed", "after which task?"),
        ("--follow", "after which task?"),
        ("--after load --follow", "the cell needs a name"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_started(kernel, line, sentence):
    kernel.ok("%%atask load\nawait asyncio.Event().wait()")
    kernel.ok("%%atask clean --after load\n1")
    kernel.ok("%%atask report --after clean\n1")
    kernel.ok("%%atask page -g pages\nawait asyncio.Event().wait()")
    before = "[(t.get_name(), t.done()) for t in asyncnb.tasks()]"
    had = kernel.evaluate(before)
    cell = kernel.run(f"%%atask {line}\nprint('never')")
    assert cell.status == "error" and sentence in cell.error.evalue + cell.text
    assert kernel.evaluate(before) == had


def test_a_line_takes_the_options_before_its_expression(kernel):
    kernel.ok("%%atask load\nawait asyncio.sleep(0)")
    kernel.ok("%atask clean --after load --even-if-failed asyncio.sleep(0, 'ran')")
    assert kernel.ok("await asyncnb.task('clean')").result == "'ran'"
    cell = kernel.run("%atask clean --after lod asyncio.sleep(0)")
    assert cell.error.evalue.startswith("%atask --after: No task and no group is named 'lod'.")


def test_a_deadlock_with_a_task_that_waits_to_start_is_explained(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask load\nawait gate.wait()\nawait asyncnb.task('clean')")
    kernel.ok("%%atask clean --after load\n1")
    kernel.ok("gate.set()\nawait asyncio.sleep(0)\nawait asyncio.sleep(0)")
    found = kernel.ok("%tasks deadlocks").text
    assert "`clean` is to start after `load`." in found.replace("`C", "`c")
    assert "`load` waits for `clean` (In[" in found


def test_tab_offers_tasks_and_groups(kernel):
    kernel.ok("%%atask loading -g pages\nawait asyncio.Event().wait()")
    assert {"loading", "pages"} <= set(kernel.complete("%%atask clean --after "))
    assert kernel.complete("%%atask clean --after pages,lo") == ["pages,loading"]
