"""What asyncnb leans on in Python: each name of the table, and what those names do."""

from __future__ import annotations

import asyncio
import asyncio.proactor_events
import collections
import concurrent.futures
import contextvars
import dis
import gc
import inspect
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from typing import Any

import pytest

import asyncnb
from asyncnb._core.base import async_raise as _breakin
from asyncnb._core.introspection import call_graph as _graph
from asyncnb._core.introspection import waiting_on as _waits
from asyncnb._core.primitives import pause as _pause
from asyncnb._core.primitives import tasks as _tasks
from asyncnb._core.primitives import timeouts as _timeouts
from asyncnb._core.tracing.foreign_timeouts import expired_in
from asyncnb.testing import run_virtual
from tests.leans import PYTHON, PYTHON_PREAMBLE, Lean


@pytest.fixture(scope="module")
def names():
    names: dict[str, Any] = {}
    exec(PYTHON_PREAMBLE, names)
    yield names
    names["loop"].close()


@pytest.mark.parametrize(
    "lean", [lean for lean in PYTHON if lean.wanted_here], ids=lambda x: x.name
)
def test_python_has(lean: Lean, names) -> None:
    try:
        holds = eval(lean.holds, names)
    except AttributeError as exc:
        raise AssertionError(lean.complaint()) from exc
    assert holds, lean.complaint()


# -- the C task and its loop --------------------------------------------------------------------


async def nothing() -> None:
    pass


@pytest.fixture
def loop():
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


def test_the_constructor_of_a_task_looks_call_soon_up_on_the_loop_object(loop) -> None:
    taken: list[Any] = []
    vars(loop)["call_soon"] = lambda fn, *args, context=None: taken.append((fn, context))
    context = contextvars.copy_context()
    task = asyncio.Task(nothing(), loop=loop, context=context)
    del vars(loop)["call_soon"]
    assert not loop._ready
    ((step, given),) = taken
    assert given is context
    assert step.__self__ is task and type(step) is not types.MethodType
    loop.call_soon(step, context=context)
    loop.run_until_complete(task)


def test_a_task_is_woken_by_a_callback_of_its_own_on_what_it_waits_for(loop) -> None:
    async def wait(future) -> None:
        await future

    future = loop.create_future()
    task = loop.create_task(wait(future))
    ((first),) = [h._callback for h in loop._ready]
    assert first.__self__ is task and type(first) is not types.MethodType
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert task._fut_waiter is future
    ((wake, context),) = future._callbacks
    assert wake.__self__ is task and type(wake) is not types.MethodType
    assert isinstance(context, contextvars.Context)
    future.set_result(None)
    loop.run_until_complete(task)
    assert task._fut_waiter is None


def test_a_method_that_a_user_adds_as_a_callback_is_not_taken_for_a_step(loop) -> None:
    task = asyncnb.Task(nothing(), loop=loop)
    future = loop.create_future()
    for method in (task.cancel, task.pause):  # in Python, unlike those of a plain C task
        future.add_done_callback(method)
    assert [_pause._is_step(callback, task) for callback, _ in future._callbacks] == [False, False]
    assert [_pause._is_step(handle._callback, task) for handle in loop._ready] == [True]
    loop.run_until_complete(task)


def test_call_soon_appends_a_handle_and_call_at_pushes_a_timer(loop) -> None:
    handle = loop.call_soon(print, 1)
    assert list(loop._ready) == [handle]
    assert (handle._callback, handle._args) == (print, (1,))
    timer = loop.call_at(loop.time() + 60, print)
    assert loop._scheduled == [timer] and timer._scheduled
    timer.cancel()
    assert loop._timer_cancelled_count == 1


def test_closing_and_debug_are_seen_in_the_attributes_that_call_soon_reads(loop) -> None:
    loop.set_debug(True)
    assert loop._debug is True
    loop.close()
    assert loop._closed is True


def test_reading_a_failure_does_not_mark_it_as_retrieved(loop) -> None:
    async def fail() -> None:
        raise ValueError("kept")

    task = loop.create_task(fail())
    loop.run_until_complete(asyncio.wait([task]))
    assert repr(task._exception) == "ValueError('kept')"
    assert task._log_traceback is True
    task.exception()
    assert task._log_traceback is False


def test_destroying_a_pending_task_is_silent_when_that_is_asked_for(loop) -> None:
    gc.collect()  # what an earlier test has left
    told: list[Any] = []
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    for log in (False, True):
        task = loop.create_task(asyncio.sleep(60))
        loop._ready.clear()
        task._log_destroy_pending = log
        task.get_coro().close()
        del task
        gc.collect()
    assert told == ["Task was destroyed but it is pending!"]


def test_a_task_stores_the_message_of_its_cancellation(loop) -> None:
    future = loop.create_future()
    future.cancel("enough")
    assert future._cancel_message == "enough"
    assert future._make_cancelled_error().args == ("enough",)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="3.11 and 3.12 need the backports")
def test_the_newest_pythons_use_no_backport() -> None:
    code = (
        "import asyncnb, sys; [getattr(asyncnb, name) for name in asyncnb.__all__]; "
        "print(*[m for m in sys.modules if 'backport.' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # One is asked on every Python, and says there that nothing is stale.
    assert done.stdout.split() == ["asyncnb._core.primitives.backport.uncancel"]
    assert asyncnb.Task.__mro__[1] is asyncio.Task
    assert asyncnb.Task.__init__ is asyncio.Task.__init__  # the C one
    assert _tasks.construct_eagerly is type.__call__
    assert type(_timeouts.current_task) is types.BuiltinFunctionType
    assert _timeouts.current_task is asyncio.current_task


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager start of 3.11 is asyncnb's own")
def test_the_registries_of_tasks_know_a_task_that_runs_eagerly() -> None:
    async def main() -> None:
        async def inner() -> bool:
            return asyncio.current_task() in asyncnb.all_tasks()

        assert await asyncnb.create_task(inner(), eager_start=True)

    run_virtual(main())


# -- what stacks, call graphs and `waiting_on` read ---------------------------------------------

#: Where the coroutines are whose frames _waits reads, besides asyncnb itself.
MODULES = [
    *(asyncio.tasks, asyncio.queues, asyncio.locks, asyncio.threads, asyncio.subprocess),
    *(asyncio.streams, asyncio.base_events, asyncio.selector_events, asyncio.proactor_events),
    *(asyncio.taskgroups, asyncio.timeouts),
]


def coroutine_named(qualname: str) -> list[types.CodeType]:
    """The code of each coroutine function of that name in asyncio, anyio and asyncnb."""
    import asyncnb._core.base.worker_thread
    import asyncnb._core.launched.after
    import asyncnb._core.launched.open_group
    import asyncnb._core.mapping.driver
    import asyncnb._core.repeating.at_times
    import asyncnb._offload.jobs

    modules = [*MODULES, asyncnb._core.launched.open_group, asyncnb._core.base.worker_thread]
    modules += [asyncnb._offload.jobs, asyncnb._core.launched.after]
    modules += [asyncnb._core.mapping.driver, asyncnb._core.repeating.at_times]
    if qualname.startswith("SocketStream."):
        modules.append(pytest.importorskip("anyio._backends._asyncio"))
    found = []
    for module in modules:
        value: Any = module
        for part in qualname.split("."):
            value = inspect.getattr_static(value, part, None)
        if inspect.iscoroutinefunction(value):
            found.append(value.__code__)
    return found


@pytest.mark.parametrize("qualname", [*_waits._FRAMES, *_waits._INNERMOST])
def test_the_coroutine_whose_frame_says_what_a_task_waits_for_is_there(qualname: str) -> None:
    if qualname == "TaskGroup._aexit" and sys.version_info < (3, 14):
        # Older ones, and point releases of 3.12 and 3.13, have all of it in __aexit__.
        qualname = "TaskGroup._aexit" if coroutine_named(qualname) else "TaskGroup.__aexit__"
    codes = coroutine_named(qualname)
    assert codes, f"no coroutine {qualname} any more: what waits in it is not said, see _waits.py"
    assert all(code.co_qualname == qualname for code in codes)


@pytest.mark.parametrize(
    ("qualname", "names"),
    [
        ("sleep", ["h"]),
        ("_wait", ["fs"]),
        ("to_thread", ["func"]),
        ("BaseEventLoop.create_connection", ["host", "port"]),
        ("BaseEventLoop.getaddrinfo", ["host"]),
        ("BaseSelectorEventLoop.sock_connect", ["address"]),
        *((f"BaseSelectorEventLoop.sock_{what}", ["sock"]) for what in ("recv", "accept")),
    ],
)
def test_its_frame_has_the_variables_that_are_read(qualname: str, names: list[str]) -> None:
    for code in coroutine_named(qualname):
        assert set(names) <= {*code.co_varnames, *code.co_cellvars}


def held_names(future: Any) -> list[str]:
    return [callback.__qualname__.partition(".")[0] for callback, _ in future._callbacks]


def test_the_callbacks_of_chained_futures_and_shields_have_their_names(loop) -> None:
    work: concurrent.futures.Future[None] = concurrent.futures.Future()
    wrapped = asyncio.wrap_future(work, loop=loop)
    assert held_names(wrapped) == ["_chain_future"]
    assert work in list(_waits.chained_to(wrapped))

    async def shielded() -> None:
        inner = loop.create_future()
        outer = asyncio.shield(inner)
        assert "shield" in held_names(outer)
        assert inner in list(_waits.chained_to(outer))
        inner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer

    loop.run_until_complete(shielded())
    wrapped.cancel()


def waits_through(make: Callable[[Any], Any]) -> None:
    """A future that a task waits for through ``make`` leads back to that task."""

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(make(future))
        for _ in range(3):
            await asyncio.sleep(0)
        assert _graph.awaited_by(future) == [task]
        future.set_result(None)
        await task

    run_virtual(main())


async def by_await(future: Any) -> None:
    await future


async def by_gather(future: Any) -> None:
    await asyncio.gather(future)


async def by_wait(future: Any) -> None:
    await asyncio.wait([future])


async def by_shield(future: Any) -> None:
    await asyncio.shield(future)


async def by_as_completed(future: Any) -> None:
    for each in asyncio.as_completed([future]):
        await each


@pytest.mark.parametrize("make", [by_await, by_gather, by_wait, by_shield, by_as_completed])
def test_the_callbacks_of_asyncio_lead_to_the_task_that_waits(make) -> None:
    waits_through(make)


def test_the_callback_of_a_group_leads_to_the_task_that_waits_for_it() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(1))
            assert task in group._tasks
            await asyncio.sleep(0)
            ((callback, _),) = task._callbacks
            assert callback.__self__ is group
            assert _graph.awaited_by(task) == [asyncio.current_task()]

    run_virtual(main())


def test_a_process_of_asyncio_says_its_pid_and_command() -> None:
    async def main() -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
        )
        said = _waits._subprocess({"self": process}, None)
        assert process._transport._pid == process.pid
        assert process._transport._proc.args[1] == "-c"
        await process.communicate(b"\n")
        return said

    with asyncio.Runner() as runner:
        assert runner.run(main()).startswith("subprocess ")


def test_an_async_generator_shows_the_collector_what_it_awaits() -> None:
    async def numbers():
        await asyncio.sleep(1)
        yield 1

    async def closing():
        try:
            yield 1
        finally:
            await asyncio.sleep(1)

    async def by_for() -> None:
        async for _ in numbers():
            pass

    async def by_anext() -> None:
        await anext(numbers(), None)

    async def by_close() -> None:
        generator = closing()
        await anext(generator)
        await generator.aclose()

    async def main() -> None:
        for work, inner in ((by_for, "numbers"), (by_anext, "numbers"), (by_close, "closing")):
            task = asyncio.ensure_future(work())
            await asyncio.sleep(0)
            names = [f.f_code.co_name for f in _graph.frames_of_coroutine(task.get_coro())]
            assert names == [work.__name__, inner, "sleep"]
            await task

    run_virtual(main())


def test_the_collector_shows_the_timeout_that_a_coroutine_is_inside_of() -> None:
    async def main() -> tuple[bool, bool]:
        async def inside() -> None:
            async with asyncio.timeout(1):
                try:
                    await asyncio.sleep(60)
                finally:
                    await asyncio.sleep(5)

        task = asyncio.ensure_future(inside())
        await asyncio.sleep(0.5)
        before = expired_in(task.get_coro())
        await asyncio.sleep(1)
        after = expired_in(task.get_coro())
        with pytest.raises(TimeoutError):
            await task
        return before, after

    assert run_virtual(main()) == (False, True)


# -- the interpreter ----------------------------------------------------------------------------


def test_calls_and_backward_jumps_check_for_pending_exceptions() -> None:
    def loops() -> None:
        while True:
            print()

    noticed = {
        instruction.opname
        for instruction in dis.get_instructions(loops)
        if _breakin._checks_pending(loops.__code__, instruction.offset)
    }
    assert "JUMP_BACKWARD" in noticed
    assert {"CALL"} & noticed
    assert noticed <= {"CALL", "PRECALL", "JUMP_BACKWARD"}


def test_a_lock_is_made_free_in_a_child_by_its_fork_hook() -> None:
    import threading

    lock: Any = threading.RLock()
    lock.acquire()
    lock.acquire()
    lock._at_fork_reinit()
    taken: list[bool] = []
    thread = threading.Thread(target=lambda: taken.append(lock.acquire(timeout=5)))
    thread.start()
    thread.join()
    assert taken == [True]


def test_the_exit_hooks_of_threading_run_last_in_first_out_before_threads_are_joined() -> None:
    code = """
        import concurrent.futures.thread, threading
        pool = concurrent.futures.ThreadPoolExecutor(1)
        threading._register_atexit(lambda: print("first"))
        threading._register_atexit(lambda: pool.submit(print, "second").result())
        threading._register_atexit(print, "third")
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    if sys.version_info[:3] in ((3, 12, 0), (3, 12, 1)):  # they start no thread once it ends
        assert done.stdout.split() == ["third"]
    else:
        assert done.stdout.split() == ["third", "second", "first"]


def test_the_environment_that_is_compared_is_the_whole_environment() -> None:
    data: Any = os.environ._data
    assert {os.fsdecode(key): os.fsdecode(value) for key, value in data.items()} == dict(os.environ)


def test_a_worker_gets_the_options_of_the_interpreter() -> None:
    code = "import subprocess; print(subprocess._args_from_interpreter_flags())"
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "-B" in done.stdout and "-Werror" in done.stdout


def test_the_queue_of_the_loop_can_be_copied_while_others_add_to_it(loop) -> None:
    loop.call_soon(print)
    assert isinstance(loop._ready.copy(), collections.deque)
