"""The options of `%%atask`, and running the same cell again."""

from __future__ import annotations

import pytest


def test_o_binds_the_result_when_it_is_there_and_not_before(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask job -o found\nawait gate.wait()\n'treasure'")
    assert kernel.evaluate("'found' in globals()") is False
    kernel.ok("gate.set(); await asyncnb.task('job');")
    assert kernel.evaluate("found") == "treasure"


def test_a_name_that_is_another_variable_stays_and_the_cell_says_so(kernel):
    kernel.ok("prices = [1]")
    for name, kind in (("prices", "list"), ("print", "builtin_function_or_method")):
        cell = kernel.ok(f"%%atask {name} --quiet\nawait asyncio.sleep(0, 5)")
        said = (
            f"the variable {name!r} is in use ({kind}) and stays as it is; the task is asyncnb.task"
        )
        assert said in cell.text
    assert kernel.evaluate("(prices, asyncnb.task('prices').get_name())") == ([1], "prices")
    for _ in range(2):  # a task may be replaced by the next
        assert kernel.ok("%%atask free --quiet\nawait asyncio.sleep(0)").text == ""


def test_o_binds_the_result_of_a_thread_body(kernel):
    kernel.ok("%%atask job -o found\nx = 1\nx + 1")
    kernel.ok("asyncnb.task('job').join(10);")
    assert kernel.evaluate("found") == 2


def test_o_leaves_the_variable_alone_when_the_task_fails(kernel):
    kernel.ok("found = 'before'")
    cell = kernel.ok("%%atask job -o found\nawait asyncio.sleep(0)\n1/0")
    cell.wait_for(lambda c: c.errors)
    assert kernel.evaluate("found") == "before"


def test_t_ends_a_loop_body_with_a_timeout_shown_in_its_cell(kernel):
    kernel.ok("log = []")
    cell = kernel.ok(
        """
        %%atask late -t 0.05
        try:
            await asyncio.sleep(60)
        finally:
            log.append("cleaned up")
        """
    )
    cell.wait_for(lambda c: c.errors, 10)
    assert cell.errors[0].ename == "TimeoutError"
    assert kernel.evaluate("log") == ["cleaned up"]
    assert kernel.evaluate("asyncnb.task('late').info().state") == "failed"
    assert kernel.run("await asyncnb.task('late')").error.ename == "TimeoutError"


def test_t_ends_a_thread_body_that_never_gives_way(kernel):
    cell = kernel.ok("%%atask late -t 0.05\nwhile True: pass")
    cell.wait_for(lambda c: c.errors, 10)
    assert cell.errors[0].ename == "TimeoutError"


def test_t_that_is_not_reached_changes_nothing(kernel):
    kernel.ok("%%atask early -t 60\nawait asyncio.sleep(0, 'in time')")
    assert kernel.evaluate("asyncnb.task('early').join(10)") == "in time"


def test_wait_lets_the_cell_last_as_long_as_its_task(kernel):
    for name, body in {
        "loop": "await asyncio.sleep(0.05)\nprint('said')\n42",
        "thread": "time.sleep(0.05)\nprint('said')\n42",
    }.items():
        cell = kernel.ok(f"%%atask waited_{name} --wait\n{body}")
        assert kernel.evaluate(f"asyncnb.task('waited_{name}').done()")
        kernel.drain()
        assert cell.stdout == "said\n"
        assert cell.shown == ["42"], name


def test_wait_has_the_cell_fail_with_its_task(kernel):
    cell = kernel.run("%%atask failing --wait\nawait asyncio.sleep(0)\n1/0")
    assert cell.status == "error"
    assert cell.error.ename == "ZeroDivisionError"
    kernel.drain()
    assert [e.ename for e in cell.errors] == ["ZeroDivisionError"]
    assert kernel.ok("1 + 1").result == "2"


def test_interrupting_a_cell_with_wait_ends_it(kernel):
    cell = kernel.submit("%%atask waited --wait\nprint('waiting')\nawait asyncio.sleep(60)")
    cell.wait_for("waiting")
    kernel.interrupt()
    assert cell.wait(5).error.ename == "KeyboardInterrupt"
    assert kernel.ok("1 + 1").result == "2"


def test_quiet_hides_the_result_and_nothing_else(kernel):
    loud = kernel.ok("%%atask loud\nawait asyncio.sleep(0, 'result')")
    quiet = kernel.ok("%%atask hush --quiet\nprint('spoken')\nawait asyncio.sleep(0, 'result')")
    quiet.wait_for("spoken")
    kernel.ok("asyncnb.task('hush').join(10); asyncnb.task('loud').join(10);")
    kernel.drain()
    assert loud.shown == ["'result'"]
    assert quiet.shown == []
    assert quiet.stdout == "spoken\n"
    assert kernel.evaluate("asyncnb.task('hush').result()") == "result"


def test_quiet_still_shows_a_failure(kernel):
    cell = kernel.ok("%%atask hush --quiet\nawait asyncio.sleep(0)\n1/0")
    cell.wait_for(lambda c: c.errors)
    assert cell.errors[0].ename == "ZeroDivisionError"


def test_on_loop_runs_a_body_without_await_on_the_loop(kernel):
    kernel.ok("loop_thread = await asyncio.sleep(0, threading.current_thread())")
    kernel.ok("%%atask forced --on loop\nran_in = threading.current_thread()")
    kernel.ok("asyncnb.task('forced').join(10)")
    assert kernel.evaluate("ran_in is loop_thread")


def test_on_thread_runs_a_body_without_await_in_a_thread(kernel):
    kernel.ok("loop_thread = await asyncio.sleep(0, threading.current_thread())")
    kernel.ok("%%atask forced --on thread\nran_in = threading.current_thread()")
    kernel.ok("asyncnb.task('forced').join(10)")
    assert kernel.evaluate("ran_in not in (loop_thread, threading.main_thread())")


def test_running_a_cell_again_replaces_its_task_after_its_cleanup(kernel):
    kernel.ok("log = []; started = threading.Event()")
    code = """
        %%atask job
        log.append("start"); started.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            log.append("end")
        """
    kernel.ok(code, cell_id="a")
    kernel.ok("assert started.wait(10); started.clear(); first = asyncnb.task('job')")
    kernel.ok(code, cell_id="a")
    kernel.ok("assert started.wait(10)")
    assert kernel.evaluate("log") == ["start", "end", "start"]
    assert kernel.evaluate("first.cancelled()")
    assert kernel.evaluate("job is not first and asyncnb.task('job') is job and not job.done()")


def test_running_a_cell_without_a_name_again_replaces_its_task(kernel):
    code = """
        %%atask
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)
        """
    kernel.ok("started = threading.Event(); ended = []")
    for _ in range(3):
        kernel.ok(code, cell_id="same")
        kernel.ok("assert started.wait(10); started.clear()")
    kernel.ok(code, cell_id="other")
    kernel.ok("assert started.wait(10)")
    assert kernel.evaluate("ended") == [1, 1]
    assert kernel.evaluate("sum(not t.done() for t in asyncnb.tasks())") == 2


def test_replacing_waits_for_a_thread_body_to_end(kernel):
    kernel.ok("log = []; inside = threading.Event()")
    code = """
        %%atask job
        log.append('start')
        try:
            inside.set()
            while True: time.sleep(0.001)
        finally:
            time.sleep(0.1)
            log.append('end')
        """
    kernel.ok(code)
    kernel.ok("inside.wait(10); inside.clear()")
    kernel.ok(code)
    kernel.ok("assert inside.wait(10)")
    assert kernel.evaluate("log") == ["start", "end", "start"]


def test_a_cell_that_replaces_says_nothing_and_shows_no_traceback_of_the_old_task(kernel):
    first = kernel.ok("%%atask job\nawait asyncio.sleep(60)")
    second = kernel.ok("%%atask job\nawait asyncio.sleep(0, 'second')")
    second.wait_for("second")
    assert first.errors == second.errors == []


def test_again_keep_starts_a_second_task_beside_the_living_one(kernel):
    kernel.ok("gate = asyncio.Event(); runs = []")
    code = "%%atask job --again keep\nruns.append(1)\nawait gate.wait()\nlen(runs)"
    kernel.ok(code)
    kernel.ok("first = job")
    kernel.ok(code)
    kernel.ok("second = job; gate.set(); await asyncio.gather(first, second);")
    assert kernel.evaluate("(first is second, first.result(), second.result())") == (False, 2, 2)


def test_again_skip_leaves_the_living_task_and_starts_nothing(kernel):
    kernel.ok("gate = asyncio.Event(); runs = []")
    code = "%%atask job --again skip\nruns.append(1)\nawait gate.wait()\nlen(runs)"
    kernel.ok(code)
    kernel.ok("first = job")
    kernel.ok(code)
    assert kernel.evaluate("job is first and asyncnb.task('job') is first")
    kernel.ok("gate.set(); await first;")
    assert kernel.evaluate("first.result()") == 1


def test_again_error_refuses_and_leaves_the_living_task(kernel):
    kernel.ok("gate = asyncio.Event(); runs = []")
    kernel.ok("%%atask job\nruns.append(1)\nawait gate.wait()")
    kernel.ok("first = asyncnb.task('job')")
    cell = kernel.run("%%atask job --again error\nruns.append(2)\nawait gate.wait()")
    assert cell.status == "error"
    assert cell.error.ename == "UsageError"
    assert "job" in cell.error.evalue
    assert kernel.evaluate("asyncnb.task('job') is first and not first.done()")
    kernel.ok("gate.set(); await first")
    assert kernel.evaluate("runs") == [1]


@pytest.mark.parametrize("again", ["replace", "keep", "skip", "error"])
def test_again_does_not_mind_a_task_that_is_done(kernel, again):
    kernel.ok("%%atask job\nawait asyncio.sleep(0, 'old')")
    kernel.ok("asyncnb.task('job').join(10);")
    kernel.ok(f"%%atask job --again {again}\nawait asyncio.sleep(0, 'new')")
    kernel.ok("job.join(10);")
    assert kernel.evaluate("job.result()") == "new"


def test_a_syntax_error_in_the_new_text_leaves_the_old_task_running(kernel):
    kernel.ok("%%atask job\nawait asyncio.sleep(60)")
    cell = kernel.run("%%atask job\nawait (")
    assert cell.status == "error"
    assert cell.error.ename in ("SyntaxError", "_IncompleteInputError")
    assert kernel.evaluate("job.done() or job.cancelling() > 0") is False
