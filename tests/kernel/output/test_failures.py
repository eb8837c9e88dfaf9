"""A failing task: shown in its own cell, at once, once, and nowhere else."""

from __future__ import annotations

import pytest

from tests.kernel.driver import OURS

BODIES = {
    "loop": "await asyncio.sleep(0)\nraise ValueError('broken')",
    "thread": "x = 1\nraise ValueError('broken')",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_failure_is_shown_in_its_own_cell_with_nothing_else_running(kernel, body):
    cell = kernel.ok("%%atask boom\n" + body)
    cell.wait_for(lambda c: c.errors, 10)
    assert (cell.errors[0].ename, cell.errors[0].evalue) == ("ValueError", "broken")
    kernel.drain()
    assert len(cell.errors) == 1
    assert kernel.where("broken") == [cell]
    assert kernel.evaluate("asyncnb.task('boom').info().state") == "failed"


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_failure_is_shown_at_once_while_another_cell_runs(kernel, body):
    kernel.ok("gate = threading.Event()")
    waiting = "await asyncio.to_thread(gate.wait, 30)" if "await" in body else "gate.wait(30)"
    cell = kernel.ok(f"%%atask boom\n{waiting}\n{body}")
    busy = kernel.submit("gate.set(); print('busy', flush=True); time.sleep(60)")
    cell.wait_for(lambda c: c.errors, 10)
    assert busy.reply is None
    kernel.interrupt()
    busy.wait(5)
    assert [e.ename for e in busy.errors] == ["KeyboardInterrupt"]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_traceback_has_the_frames_of_cells_only(kernel, body):
    definer = kernel.ok("def inner():\n    raise ValueError('broken')")
    code = "%%atask boom\n" + body.replace("raise ValueError('broken')", "inner()")
    cell = kernel.ok(code)
    cell.wait_for(lambda c: c.errors)
    shown = cell.errors[0].traceback
    assert f"Cell In[{cell.count}]" in shown
    assert f"Cell In[{definer.count}]" in shown
    assert "inner()" in shown
    assert "-> " in shown
    assert OURS not in shown
    assert "ipykernel_" not in shown
    for machinery in ("concurrent/futures", "asyncio/", "threading.py", "contextvars"):
        assert machinery not in shown


def test_the_line_numbers_are_those_of_the_cell_as_written(kernel):
    cell = kernel.ok("%%atask boom\n# a comment\n!true\nawait asyncio.sleep(0)\n\n1/0  # here")
    cell.wait_for(lambda c: c.errors)
    shown = cell.errors[0].traceback
    # With or without the magic's own line counted, the arrow points at the text.
    assert any(f"----> {n} 1/0  # here" in shown for n in (5, 6)), shown


def test_later_cells_do_not_notice(kernel):
    cell = kernel.ok("%%atask boom\nawait asyncio.sleep(0)\n1/0")
    cell.wait_for(lambda c: c.errors)
    for code in ("1 + 1", "await asyncio.sleep(0, 2)", "print(2)"):
        later = kernel.ok(code)
        assert later.text.strip() == "2"


def test_cells_queued_behind_a_failure_run(kernel):
    kernel.ok("gate = threading.Event()")
    cell = kernel.ok("%%atask boom\ngate.wait(30)\n1/0")
    running = kernel.submit("gate.set(); time.sleep(0.3); 'ran'")
    queued = kernel.submit("'ran too'")
    cell.wait_for(lambda c: c.errors)
    assert (running.wait().result, queued.wait().result) == ("'ran'", "'ran too'")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_awaiting_and_joining_raise_the_same_exception(kernel, body):
    cell = kernel.ok("%%atask boom\n" + body)
    cell.wait_for(lambda c: c.errors)
    for code in ("await boom", "boom.join(10)", "boom.result()"):
        other = kernel.run(code)
        assert (other.error.ename, other.error.evalue) == ("ValueError", "broken"), code
    kernel.ok(
        """
        caught = []
        try: boom.join(10)
        except ValueError as e: caught.append(e)
        """
    )
    kernel.ok("try: await boom\nexcept ValueError as e: caught.append(e)")
    assert kernel.evaluate("all(e is boom.exception() for e in caught) and len(caught) == 2")
    kernel.drain()
    assert len(cell.errors) == 1


def test_nothing_is_said_of_exceptions_never_retrieved(kernel):
    cell = kernel.ok("%%atask boom\nawait asyncio.sleep(0)\n1/0")
    cell.wait_for(lambda c: c.errors)
    kernel.ok("async def bang(): raise KeyError('bang')")
    launched = kernel.ok("t = asyncnb.launch(bang())")
    launched.wait_for(lambda c: c.errors)
    kernel.ok("del boom, t")
    kernel.ok("%tasks clear")
    kernel.ok("import gc; gc.collect()")
    kernel.drain()
    assert kernel.where("never retrieved") == []


def test_a_failure_that_ends_the_launching_cell_is_shown_there_once(kernel):
    kernel.ok("async def bang():\n    await asyncio.sleep(0.01)\n    raise KeyError('bang')")
    cell = kernel.run("await asyncnb.launch(bang())")
    assert cell.error.ename == "KeyError"
    kernel.drain()
    assert [e.ename for e in cell.errors] == ["KeyError"]


def test_cancelled_tasks_show_no_traceback(kernel):
    kernel.ok("started = threading.Semaphore(0)")
    loop = kernel.ok("%%atask on_loop\nstarted.release()\nawait asyncio.sleep(60)")
    thread = kernel.ok("%%atask in_thread\nstarted.release()\nwhile True: time.sleep(0.001)")
    kernel.ok("assert started.acquire(timeout=10) and started.acquire(timeout=10)")
    kernel.ok("%tasks cancel on_loop in_thread")
    kernel.ok("await asyncio.wait([on_loop, in_thread], timeout=10);")
    kernel.drain()
    assert kernel.evaluate("[on_loop.cancelled(), in_thread.cancelled()]") == [True, True]
    for cell in (loop, thread):
        assert cell.errors == []
        assert "Traceback" not in cell.text


def test_an_exception_during_the_cleanup_of_a_cancelled_task_is_shown(kernel):
    kernel.ok("started = threading.Event()")
    cell = kernel.ok(
        "%%atask job\ntry:\n    started.set()\n    await asyncio.sleep(60)\n"
        "finally:\n    raise LookupError('while cleaning up')"
    )
    kernel.ok("started.wait(10); job.cancel()")
    cell.wait_for(lambda c: c.errors, 10)
    assert cell.errors[0].ename == "LookupError"


def test_an_exception_group_is_shown_with_its_members(kernel):
    cell = kernel.ok(
        """
        %%atask job
        async def fail(word): raise ValueError(word)
        async with asyncio.TaskGroup() as group:
            group.create_task(fail("first"))
            group.create_task(fail("second"))
        """
    )
    cell.wait_for(lambda c: c.errors or "second" in c.text, 10)
    kernel.drain()
    assert [e.ename for e in cell.errors] == ["ExceptionGroup"]
    assert "first" in cell.text and "second" in cell.text
    assert OURS not in cell.text


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit", "GeneratorExit"])
@pytest.mark.parametrize("where", ["await asyncio.sleep(0)\n", "x = 1\n"], ids=["loop", "thread"])
def test_a_base_exception_in_a_body_fails_that_task_only(kernel, where, name):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask bystander\nawait gate.wait()\n'alive'")
    cell = kernel.ok(f"%%atask job\n{where}raise {name}('by hand')")
    cell.wait_for("by hand", 10)
    assert kernel.evaluate("job.info().state") == "failed"
    assert kernel.ok("gate.set(); await bystander", 10).result == "'alive'"


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit"])
def test_a_base_exception_in_a_child_task_does_not_end_the_loop(kernel, name):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask bystander\nawait gate.wait()\n'alive'")
    kernel.ok(
        f"%%atask job\nasync def child(): raise {name}('child')\nawait asyncio.create_task(child())"
    )
    kernel.ok("await asyncio.wait([job], timeout=10);", 15)
    assert kernel.ok("gate.set(); await bystander", 10).result == "'alive'"


def test_an_exception_in_a_callback_of_the_loop_is_told_in_the_cell_that_scheduled_it(kernel):
    cell = kernel.ok(
        """
        %%atask job
        def broken(): raise RuntimeError("in a callback")
        asyncio.get_running_loop().call_soon(broken)
        await asyncio.sleep(0.01)
        """
    )
    cell.wait_for("in a callback", 10)


def test_a_name_error_and_a_suggestion_look_as_in_a_cell(kernel):
    cell = kernel.ok("%%atask job\nawait asyncio.sleep(0)\nundefined_name")
    cell.wait_for(lambda c: c.errors)
    assert cell.errors[0].ename == "NameError"
    assert "undefined_name" in cell.errors[0].evalue


def test_a_result_that_cannot_be_shown_does_not_fail_the_task(kernel):
    kernel.ok("class Bad:\n    def __repr__(self): raise ValueError('no repr')")
    kernel.ok("%%atask job\nawait asyncio.sleep(0, Bad())")
    kernel.ok("job.join(10);")
    assert kernel.evaluate("job.info().state") == "done"
    assert kernel.ok("await asyncio.sleep(0, 1)").result == "1"


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt", "asyncio.CancelledError"])
def test_a_result_whose_repr_ends_the_thread_that_shows_it_holds_up_no_other(kernel, error):
    kernel.ok(f"class Bad:\n    def __repr__(self): raise {error}('from the repr')")
    bad = kernel.ok("%%atask bad\nawait asyncio.sleep(0)\nBad()")
    good = kernel.ok("%%atask good\nawait asyncio.sleep(0)\n42")
    good.wait_for("42")
    bad.wait_for(error.rpartition(".")[2])
    assert kernel.evaluate("asyncnb.task('bad').info().state") == "done"


def test_a_cell_that_awaits_the_task_adds_no_frame_to_its_traceback(kernel):
    kernel.ok(
        "seen, begun, go = threading.Event(), threading.Event(), asyncio.Event()\n"
        "class Slow:\n    def __repr__(self): begun.set(); seen.wait(20); return 'slow'"
    )
    kernel.ok("%%atask slow\nSlow()")  # reports are shown one after the other
    kernel.ok("begun.wait(20)")
    failing = kernel.ok("%%atask fails\nawait go.wait()\n{}['not there']")
    kernel.submit("go.set()")
    kernel.ok(
        """
        try: await fails  # of the cell that waits
        except KeyError: seen.set()
        """
    )
    failing.wait_for(lambda cell: cell.errors)
    assert "{}['not there']" in failing.errors[0].traceback
    assert "of the cell that waits" not in failing.errors[0].traceback


def test_two_tasks_with_one_exception_both_say_so(kernel):
    kernel.ok("err = ValueError('shared')\nasync def fail(): raise err")
    cell = kernel.ok(
        "a = asyncnb.launch(fail(), name='first'); b = asyncnb.launch(fail(), name='second')"
    )
    cell.wait_for("the same exception as")
    assert len(cell.errors) == 1
    assert "ValueError: shared" in cell.stderr
    other = kernel.ok("c = asyncnb.launch(fail(), name='third')")
    other.wait_for("ValueError")
    assert len(other.errors) == 1  # another cell has the whole of it
    awaited = kernel.run("d = asyncnb.launch(fail(), name='fourth'); await d")
    kernel.drain()
    assert "the same exception as" not in awaited.stderr  # the cell that awaits it shows it once


def early_task(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok("import asyncio, asyncnb, threading\ngate = threading.Event()")
    kernel.ok(
        "def fail():\n    gate.wait(20); print('spoke'); raise ValueError('must be seen')\n"
        "early = asyncnb.launch(asyncio.to_thread(fail), name='early')"
    )
    return kernel


def test_a_task_launched_before_the_extension_is_loaded_is_shown_when_it_fails(start_kernel):
    kernel = early_task(start_kernel)
    kernel.ok("%load_ext asyncnb")
    kernel.run("gate.set()\n%tasks wait early -t 10")
    kernel.drain()
    assert len(kernel.where("must be seen")) >= 1
    cell = kernel.ok("%tasks output early")
    kernel.drain()
    assert "spoke" in cell.stdout
    assert "ValueError: must be seen" in cell.text


def test_a_task_that_failed_before_the_extension_was_loaded_has_no_output(start_kernel):
    kernel = early_task(start_kernel)
    kernel.run("gate.set(); early.join(10)")
    kernel.ok("%load_ext asyncnb")
    assert kernel.ok("%tasks output early").text == ""
    assert "must be seen" in kernel.ok("%tasks").text
