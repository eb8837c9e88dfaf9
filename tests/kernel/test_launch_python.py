"""`%atask`, `asyncnb.launch`, `asyncnb.run`, `join` and awaiting: the ways from Python."""

from __future__ import annotations

import pytest

HELLO = """
    async def hello(word="hello"):
        await asyncio.sleep(0)
        print(word, asyncio.get_running_loop() is asyncnb.embedded_loop())
        return word
    """


def test_the_line_magic_returns_the_task(kernel):
    kernel.ok(HELLO)
    cell = kernel.ok("t = %atask greeter hello('from the line')")
    cell.wait_for("from the line True")
    assert kernel.evaluate("t is asyncnb.task('greeter')")
    assert kernel.evaluate("t.join(10)") == "from the line"


def test_the_line_magic_works_without_a_name(kernel):
    kernel.ok(HELLO)
    kernel.ok("t = %atask hello('unnamed')")
    assert kernel.evaluate("t.join(10)") == "unnamed"


def test_the_line_magic_takes_the_options_of_the_cell_magic(kernel):
    cell = kernel.ok("t = %atask slow -t 0.05 asyncio.sleep(60)")
    cell.wait_for(lambda c: c.errors, 10)
    assert cell.errors[0].ename == "TimeoutError"
    kernel.ok(HELLO)
    kernel.ok("t = %atask -o kept hello('for keeps')")
    kernel.ok("t.join(10);")
    assert kernel.evaluate("kept") == "for keeps"


@pytest.mark.parametrize(
    "code",
    [
        "t = asyncnb.launch(hello())",
        "t = asyncnb.launch(hello()); await asyncio.sleep(0)",
        """
        def start():
            global t
            t = asyncnb.launch(hello())
        thread = threading.Thread(target=start); thread.start(); thread.join()
        """,
    ],
    ids=["a sync cell", "an await cell", "a thread"],
)
def test_launch_starts_a_task_of_the_embedded_loop_from(kernel, code):
    kernel.ok(HELLO)
    cell = kernel.ok(code)
    assert kernel.evaluate("t.join(10)") == "hello"
    assert kernel.evaluate("t.get_loop() is asyncnb.embedded_loop()")
    if "thread" not in code:  # a raw thread of the user does not know its cell
        cell.wait_for("hello True")


def test_launch_gives_name_and_timeout(kernel):
    cell = kernel.ok("t = asyncnb.launch(asyncio.sleep(60), name='nap', timeout=0.05)")
    assert kernel.evaluate("t.get_name()") == "nap"
    cell.wait_for(lambda c: c.errors, 10)
    assert cell.errors[0].ename == "TimeoutError"


def test_launch_takes_any_awaitable(kernel):
    kernel.ok(
        """
        class Awaitable:
            def __await__(self):
                yield from asyncio.sleep(0).__await__()
                return "by __await__"
        t = asyncnb.launch(Awaitable(), name="custom")
        """
    )
    assert kernel.evaluate("t.join(10)") == "by __await__"


def test_launched_tasks_are_found_by_name_and_glob(kernel):
    kernel.ok("ts = [asyncnb.launch(asyncio.sleep(60), name=f'nap-{i}') for i in range(3)]")
    kernel.ok("other = asyncnb.launch(asyncio.sleep(60), name='walk')")
    assert kernel.evaluate("sorted(t.get_name() for t in asyncnb.tasks('nap-*'))") == [
        "nap-0",
        "nap-1",
        "nap-2",
    ]
    assert kernel.evaluate("len(asyncnb.tasks())") == 4
    assert kernel.evaluate("asyncnb.task('nap-1') is ts[1]")
    assert kernel.evaluate("[t is ts[2] for t in asyncnb.cancel('nap-2')]") == [True]
    kernel.ok("await asyncio.wait({ts[2]}, timeout=10);")
    assert kernel.evaluate("[t.cancelled() for t in ts]") == [False, False, True]


def test_all_shows_tasks_that_nobody_launched_as_well(kernel):
    kernel.ok(
        "inner = asyncio.create_task(asyncio.sleep(60), name='inner'); await asyncio.sleep(0)"
    )
    assert kernel.evaluate("[t.get_name() for t in asyncnb.tasks('inner')]") == []
    assert kernel.evaluate("[t.get_name() for t in asyncnb.tasks('inner', all=True)]") == ["inner"]
    kernel.ok("inner.cancel(); await asyncio.sleep(0)")


def test_tasks_are_filtered_by_state(kernel):
    kernel.ok("a = asyncnb.launch(asyncio.sleep(60), name='a')")
    kernel.ok("b = asyncnb.launch(asyncio.sleep(0), name='b'); b.join(10)")
    assert kernel.evaluate("[t.get_name() for t in asyncnb.tasks(state='done')]") == ["b"]


def test_a_task_is_awaited_in_another_cell_and_again_when_it_is_done(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask job\nawait gate.wait()\n'the result'")
    assert kernel.ok("gate.set(); await job").result == "'the result'"
    assert kernel.ok("await job").result == "'the result'"


def test_a_task_is_awaited_by_another_task(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask first\nawait gate.wait()\n'one'")
    kernel.ok("%%atask second\n(await first) + ' two'")
    kernel.ok("gate.set(); await asyncio.sleep(0)")
    assert kernel.evaluate("second.join(10)") == "one two"


def test_join_blocks_a_sync_cell_until_the_result_is_there(kernel):
    kernel.ok("t = asyncnb.launch(asyncio.sleep(0.05, 'slept'))")
    assert kernel.ok("t.join()").result == "'slept'"


def test_join_with_a_timeout_gives_up_and_leaves_the_task(kernel):
    kernel.ok("t = asyncnb.launch(asyncio.sleep(60))")
    assert kernel.run("t.join(timeout=0.05)", 10).error.ename == "TimeoutError"
    assert kernel.evaluate("t.done() or t.cancelling() > 0") is False


def test_join_from_a_thread_and_of_a_thread_body(kernel):
    kernel.ok("%%atask body --on thread\ntime.sleep(0.02)\n'from the body'")
    kernel.ok(
        """
        got = []
        thread = threading.Thread(target=lambda: got.append(body.join(10)))
        thread.start(); thread.join(10)
        """
    )
    assert kernel.evaluate("got") == ["from the body"]


def test_join_on_the_loop_thread_refuses_at_once_and_says_await(kernel):
    kernel.ok("t = asyncnb.launch(asyncio.sleep(60))")
    cell = kernel.run("await asyncio.sleep(0); t.join()", 5)
    assert cell.status == "error"
    assert "await" in cell.error.evalue
    assert kernel.evaluate("t.done()") is False


def test_join_of_a_done_task_gives_its_result_on_the_loop_thread_or_refuses(kernel):
    kernel.ok("t = asyncnb.launch(asyncio.sleep(0, 'done')); t.join(10);")
    cell = kernel.run("await asyncio.sleep(0); t.join()", 5)
    assert cell.result == "'done'" or "await" in cell.error.evalue


def test_run_gives_the_result_to_a_sync_cell(kernel):
    kernel.ok(HELLO)
    cell = kernel.ok("asyncnb.run(hello('ran'))")
    assert cell.result == "'ran'"
    cell.wait_for("ran True")


def test_run_raises_what_the_coroutine_raised(kernel):
    kernel.ok("async def boom(): raise LookupError('inside')")
    cell = kernel.run("asyncnb.run(boom())")
    assert (cell.error.ename, cell.error.evalue) == ("LookupError", "inside")
    kernel.drain()
    assert len(cell.errors) == 1


def test_run_with_a_timeout(kernel):
    assert kernel.run("asyncnb.run(asyncio.sleep(60), timeout=0.05)", 10).error.ename == (
        "TimeoutError"
    )


def test_run_works_in_a_thread_and_in_a_thread_body(kernel):
    kernel.ok(HELLO)
    kernel.ok("%%atask body --on thread\nasyncnb.run(hello('in the body'))")
    assert kernel.evaluate("body.join(10)") == "in the body"


def test_run_works_below_sync_library_code_called_by_a_sync_cell(kernel):
    kernel.ok("shared = asyncio.Lock()\nasync with shared: pass")
    kernel.ok(
        """
        async def use():
            async with shared:
                return "same loop"
        def library(): return asyncnb.run(use())
        """
    )
    assert kernel.ok("library()").result == "'same loop'"


def test_run_on_the_loop_thread_refuses_at_once_and_says_await(kernel):
    kernel.ok(HELLO)
    cell = kernel.run("await asyncio.sleep(0); asyncnb.run(hello())", 5)
    assert cell.status == "error"
    assert "await" in cell.error.evalue
    kernel.drain()
    assert not kernel.where("never awaited")


def test_set_name_renames_from_any_thread(kernel):
    kernel.ok("t = asyncnb.launch(asyncio.sleep(60), name='old')")
    kernel.ok("t.set_name('new')")
    assert kernel.evaluate("asyncnb.task('new') is t")
    assert kernel.evaluate("len(asyncnb.tasks('old'))") == 0


def test_a_done_callback_runs_on_the_loop(kernel):
    kernel.ok(
        """
        seen = []; called = threading.Event()
        def callback(task):
            seen.append((threading.current_thread().name, task.result())); called.set()
        t = asyncnb.launch(asyncio.sleep(0.01, 'x')); t.add_done_callback(callback)
        assert called.wait(10)
        """
    )
    kernel.ok("loop_name = await asyncio.sleep(0, threading.current_thread().name)")
    assert kernel.evaluate("seen == [(loop_name, 'x')]")
