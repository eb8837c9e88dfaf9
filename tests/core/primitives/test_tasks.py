"""Task: touched from any thread, awaited from any loop, joined without await."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncnb import Future, Task, all_tasks, create_task, shield
from asyncnb._core.primitives import joining as _waiters
from asyncnb._core.primitives.futures import INTERRUPT
from asyncnb._core.primitives.tasks import interrupt
from tests.core.elsewhere import FACTORIES, running_elsewhere, turn

Loop = asyncio.AbstractEventLoop


@pytest.fixture(params=FACTORIES)
def factory(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def elsewhere(factory: Any) -> Iterator[Loop]:
    with running_elsewhere(factory) as loop:
        yield loop


def run(factory: Any, main: Any) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def forever() -> None:
    await asyncio.Event().wait()


async def give(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


async def fail(exc: BaseException) -> None:
    await asyncio.sleep(0)
    raise exc


def test_a_task_can_be_made_for_a_loop_that_sleeps_in_another_thread(elsewhere: Loop) -> None:
    assert [Task(give(n), loop=elsewhere).join(10) for n in range(50)] == list(range(50))
    assert "call_soon" not in elsewhere.__dict__


def test_many_threads_make_tasks_for_one_loop(elsewhere: Loop) -> None:
    results: list[int] = []

    def work(start: int) -> None:
        tasks = [Task(give(n), loop=elsewhere) for n in range(start, start + 100)]
        results.extend(task.join(10) for task in tasks)

    threads = [threading.Thread(target=work, args=(n * 100,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == list(range(800))


def test_a_debug_loop_does_not_complain_about_the_thread(elsewhere: Loop) -> None:
    elsewhere.set_debug(True)
    task = Task(forever(), loop=elsewhere)
    seen: list[Any] = []
    task.add_done_callback(seen.append)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        task.join(10)
    turn(elsewhere)
    assert seen == [task]


def test_cancel_from_another_thread_wakes_the_loop_and_keeps_the_message(elsewhere: Loop) -> None:
    task = Task(forever(), loop=elsewhere)
    assert task.cancel("why") is True
    with pytest.raises(asyncio.CancelledError, match="why"):
        task.join(10)
    assert task.cancel() is False


def test_uncancel_from_another_thread_takes_a_request_back(elsewhere: Loop) -> None:
    gate = threading.Event()
    elsewhere.call_soon_threadsafe(gate.wait, 10)  # both requests land in one turn
    task = Task(give(1), loop=elsewhere)
    task.cancel()
    task.uncancel()
    gate.set()
    assert task.join(10) == 1
    assert task.cancelling() == 0


def test_a_done_callback_runs_on_the_loop_of_the_task_in_the_callers_context(
    elsewhere: Loop,
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[Any] = []
    ran = threading.Event()

    def callback(task: Any) -> None:
        seen.extend((task, asyncio.get_running_loop(), variable.get()))
        ran.set()

    task = Task(forever(), loop=elsewhere)
    variable.set("mine")
    task.add_done_callback(callback)
    task.cancel()
    assert ran.wait(10)
    assert seen == [task, elsewhere, "mine"]


def test_a_callback_removed_from_another_thread_is_not_called(elsewhere: Loop) -> None:
    gate = threading.Event()
    seen: list[Any] = []
    task = Task(forever(), loop=elsewhere)
    task.add_done_callback(seen.append)
    turn(elsewhere)
    elsewhere.call_soon_threadsafe(gate.wait, 10)
    task.add_done_callback(seen.append)  # still on its way when it is removed
    assert task.remove_done_callback(seen.append) == 2
    gate.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        task.join(10)
    turn(elsewhere)
    assert seen == []


def test_set_name_from_another_thread_shows_at_once(elsewhere: Loop) -> None:
    task = Task(forever(), loop=elsewhere, name="old")
    task.set_name("new")
    assert task.get_name() == "new"


def test_join_raises_what_the_task_raised(elsewhere: Loop) -> None:
    with pytest.raises(LookupError, match="lost"):
        Task(fail(LookupError("lost")), loop=elsewhere).join(10)


def test_join_times_out_and_the_task_keeps_running(elsewhere: Loop) -> None:
    task = Task(forever(), loop=elsewhere)
    with pytest.raises(TimeoutError, match="still running"):
        task.join(0.01)
    turn(elsewhere)
    assert not task.done()
    assert "Joiner" not in repr(task)


def test_join_on_the_loops_own_thread_says_what_to_use_instead(factory: Any) -> None:
    async def main() -> None:
        task = create_task(forever())
        with pytest.raises(RuntimeError, match="use `await task`"):
            task.join()
        task.cancel()

    run(factory, main())


def test_join_of_a_done_task_needs_no_loop(factory: Any) -> None:
    async def main() -> Any:
        task = create_task(give(3))
        await task
        assert task.join() == 3
        return task

    assert run(factory, main()).join() == 3


def test_join_ends_when_the_loop_dies(elsewhere: Loop) -> None:
    task = Task(forever(), loop=elsewhere)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            task.join()
        except RuntimeError as exc:
            errors.append(exc)

    thread = threading.Thread(target=wait)
    thread.start()
    while not _waiters.joiners_of(elsewhere):
        time.sleep(0)
    assert _waiters.fail_waiters(elsewhere, RuntimeError("the loop crashed")) == 1
    thread.join(10)
    assert [str(exc) for exc in errors] == ["the loop crashed"]


def test_join_notices_a_loop_that_was_closed_without_notice(
    factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_waiters, "_WAIT_SLICE", 0.01)
    with running_elsewhere(factory) as loop:
        task: Any = Task(forever(), loop=loop)
        turn(loop)

        def close() -> None:
            loop.call_soon_threadsafe(loop.stop)
            while loop.is_running():
                time.sleep(0)
            loop.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(RuntimeError, match="its event loop is closed"):
            task.join()
        closer.join(10)
    task._log_destroy_pending = False


@pytest.mark.skipif(sys.platform == "win32", reason="raises the signal in another way there")
def test_ctrl_c_ends_the_wait_not_the_task(elsewhere: Loop) -> None:
    task = Task(forever(), loop=elsewhere)
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        while not _waiters.joiners_of(elsewhere):
            time.sleep(0)
        signal.pthread_kill(main, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        task.join(10)
    presser.join(10)
    turn(elsewhere)
    assert not task.done()


def test_a_task_of_another_loop_can_be_awaited(factory: Any, elsewhere: Loop) -> None:
    async def main() -> None:
        assert await Task(give(1), loop=elsewhere) == 1
        with pytest.raises(KeyError, match="lost"):
            await Task(fail(KeyError("lost")), loop=elsewhere)
        cancelled = Task(forever(), loop=elsewhere)
        cancelled.cancel("why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await cancelled
        with pytest.raises(asyncio.CancelledError):
            await cancelled  # done by now

    run(factory, main())


def test_cancelling_who_awaits_cancels_the_task_elsewhere(factory: Any, elsewhere: Loop) -> None:
    async def main() -> None:
        task = Task(forever(), loop=elsewhere)
        started = asyncio.Event()

        async def wait() -> None:
            started.set()
            await task

        waiter = create_task(wait())
        await started.wait()
        await asyncio.sleep(0)
        waiter.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await waiter
        assert task.cancelled()

    run(factory, main())


def test_a_cancellation_that_comes_too_late_for_the_task_is_not_swallowed(
    factory: Any, elsewhere: Loop
) -> None:
    async def main() -> None:
        gate = threading.Event()

        async def held() -> int:
            gate.wait(10)  # the loop is busy until the request to cancel is on its way
            return 1

        task = Task(held(), loop=elsewhere)

        async def wait() -> int:
            return await task

        waiter = create_task(wait())
        await asyncio.sleep(0)
        waiter.cancel("enough")
        gate.set()
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await waiter

    run(factory, main())


def test_an_awaiting_loop_that_was_closed_does_no_harm(factory: Any, elsewhere: Loop) -> None:
    problems: list[Any] = []
    elsewhere.set_exception_handler(lambda _, context: problems.append(context))
    release = Future[None](loop=elsewhere)

    async def work() -> None:
        await release

    task = Task(work(), loop=elsewhere)

    async def main() -> None:
        async def wait() -> None:
            await task

        abandoned.append(create_task(wait()))
        await asyncio.sleep(0)

    abandoned: list[Any] = []
    loop = factory()
    loop.run_until_complete(main())
    loop.close()
    turn(elsewhere)
    release.set_result(None)
    task.join(10)
    turn(elsewhere)
    assert problems == []
    abandoned[0]._log_destroy_pending = False


def test_who_awaits_a_task_of_a_dying_loop_gets_an_error(factory: Any, elsewhere: Loop) -> None:
    async def main() -> None:
        task = Task(forever(), loop=elsewhere)

        async def wait() -> None:
            await task

        waiter = create_task(wait())
        await asyncio.sleep(0)
        _waiters.fail_waiters(elsewhere, RuntimeError("the loop crashed"))
        with pytest.raises(RuntimeError, match="the loop crashed"):
            await waiter

    run(factory, main())


def test_a_task_of_a_loop_that_does_not_run_is_refused(factory: Any) -> None:
    other = factory()
    task = Task(give(1), loop=other)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="attached to a different loop, which is not run"):
            await task

    run(factory, main())
    assert other.run_until_complete(task) == 1
    other.close()


def test_standard_tasks_and_ours_await_each_other(factory: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def wait(task: Any) -> Any:
            return await task

        assert await create_task(wait(loop.create_task(give(1)))) == 1
        assert await loop.create_task(wait(create_task(give(2)))) == 2
        assert isinstance(create_task(give(3)), (asyncio.Task, Future))

    run(factory, main())


def test_a_task_that_awaits_itself_is_an_error_launched_or_not(factory: Any) -> None:
    async def main() -> None:
        async def itself() -> None:
            await tasks[-1]

        tasks: list[Any] = []
        for launched in (False, True):
            task = create_task(itself())
            task._launched = launched
            tasks.append(task)
            with pytest.raises(RuntimeError, match="cannot await on itself"):
                await task

    run(factory, main())


def directly(task: Any) -> Any:
    return task


def in_a_standard_task(task: Any) -> Any:
    async def wait() -> None:
        await task

    return asyncio.get_running_loop().create_task(wait())


@pytest.mark.parametrize(
    "wrap",
    [directly, in_a_standard_task, shield, asyncio.gather, lambda t: asyncio.wait([t])],
    ids=["directly", "in a task", "shield", "asyncio.gather", "asyncio.wait"],
)
def test_an_interrupt_spares_a_launched_task(factory: Any, wrap: Callable[[Any], Any]) -> None:
    async def main() -> None:
        launched = create_task(forever())
        launched._launched = True

        async def cell() -> None:
            await wrap(launched)

        outer = create_task(cell())
        for _ in range(3):
            await asyncio.sleep(0)
        assert outer.cancel(msg=INTERRUPT)
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert not launched.done() and launched.cancelling() == 0
        launched.cancel()
        with pytest.raises(asyncio.CancelledError):
            await launched

    run(factory, main())


def test_an_interrupt_spares_a_launched_task_of_another_loop(factory: Any, elsewhere: Loop) -> None:
    async def main() -> None:
        launched = Task(forever(), loop=elsewhere)
        launched._launched = True

        async def cell() -> None:
            await launched

        outer = create_task(cell())
        await asyncio.sleep(0)
        outer.cancel(msg=INTERRUPT)
        with pytest.raises(asyncio.CancelledError):
            await outer
        turn(elsewhere)
        assert not launched.done()

    run(factory, main())


def test_an_interrupt_cancels_plain_tasks_on_the_way(factory: Any) -> None:
    async def main() -> None:
        inner = create_task(forever())

        async def cell() -> None:
            await inner

        outer = create_task(cell())
        await asyncio.sleep(0)
        interrupt(outer)
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert inner.cancelled()

    run(factory, main())


def test_a_plain_cancellation_goes_through_to_a_launched_task(factory: Any) -> None:
    async def main() -> None:
        launched = create_task(forever())
        launched._launched = True

        async def wait() -> None:
            await launched

        outer = create_task(wait())
        await asyncio.sleep(0)
        outer.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await outer
        assert launched.cancelled()
        assert create_task(give(1)).cancel(msg=INTERRUPT)
        assert launched.cancel(msg=INTERRUPT) is False

    run(factory, main())


def test_uncancel_to_zero_withdraws_an_undelivered_cancellation(factory: Any) -> None:
    async def main() -> None:
        context = contextvars.copy_context()

        async def body() -> str:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            task.cancel()
            assert task.uncancel() == 1
            assert task.uncancel() == 0
            await asyncio.sleep(0)
            return "not cancelled"

        task = create_task(body(), name="kept", context=context)
        seen: list[Any] = []
        task.add_done_callback(seen.append)
        task.add_done_callback(seen.append)
        assert await task == "not cancelled"
        await asyncio.sleep(0)
        assert seen == [task, task]
        assert task.get_name() == "kept"
        assert task.get_context() is context
        assert task.cancelling() == 0

    run(factory, main())


def test_uncancel_of_one_of_two_leaves_the_cancellation(factory: Any) -> None:
    async def main() -> None:
        async def body() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            task.cancel()
            task.uncancel()
            await asyncio.sleep(0)

        with pytest.raises(asyncio.CancelledError):
            await create_task(body())

    run(factory, main())


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("make", [Task, create_task], ids=["Task", "create_task"])
def test_a_context_that_is_none_is_refused(make: Any, eager: bool) -> None:
    async def main() -> None:
        here = asyncio.current_task()
        coro = asyncio.sleep(0)
        with pytest.raises(TypeError, match=r"contextvars\.Context was expected, got dict"):
            make(coro, context={}, eager_start=eager)  # gh-157301
        coro.close()
        assert asyncio.current_task() is here
        assert asyncio.all_tasks() == {here}

    asyncio.run(main())


def test_a_task_that_was_never_initialised_has_no_context() -> None:
    class Empty(Task[None]):
        def __init__(self) -> None:
            pass

    assert Empty().get_context() is None  # gh-154871


def test_a_task_needs_a_coroutine() -> None:
    with pytest.raises(TypeError, match="coro"):
        Task()  # type: ignore[call-arg]


def test_withdrawing_many_cancellations_keeps_no_context_alive() -> None:
    class Value:
        pass

    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

    async def main() -> None:
        async def body() -> None:
            variable.set(Value())
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            task.uncancel()

        for _ in range(20):
            await Task(body(), context=contextvars.Context())

    asyncio.run(main())
    gc.collect()
    assert not [obj for obj in gc.get_objects() if type(obj) is Value]


def test_all_tasks_is_right_while_another_thread_makes_tasks(elsewhere: Loop) -> None:
    stop = threading.Event()

    def make() -> None:
        while not stop.is_set():
            Task(give(1), loop=elsewhere)

    maker = threading.Thread(target=make)
    maker.start()
    mine = Task(forever(), loop=elsewhere)
    try:
        for _ in range(200):
            assert mine in all_tasks(elsewhere)
    finally:
        stop.set()
        maker.join(10)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, "did you mean `async def`"),
        (forever, r"call it, forever\(\)"),
        (print, "to_thread"),
        (123, "a coroutine was expected, got 123"),
    ],
)
def test_what_is_no_coroutine_is_refused_with_advice(wrong: Any, said: str) -> None:
    async def main() -> None:
        for make in (create_task, Task):
            with pytest.raises(TypeError, match=said):
                make(wrong)

    asyncio.run(main())


def test_create_task_without_a_loop_says_where_to_go() -> None:
    coro = give(1)
    with pytest.raises(RuntimeError, match=r"asyncnb\.launch"):
        create_task(coro)
    coro.close()


def test_create_task_with_a_timeout_can_be_rescheduled() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await create_task(forever(), timeout=0)
        task = create_task(forever(), timeout=1000)
        await asyncio.sleep(0)
        assert task.timeout is not None
        task.timeout.reschedule(0)
        with pytest.raises(TimeoutError):
            await task
        assert create_task(give(1)).timeout is None

    asyncio.run(main())


def test_keywords_go_through_a_task_factory() -> None:
    async def main() -> None:
        seen: list[Any] = []

        def make(loop: Any, coro: Any, **kwargs: Any) -> Any:
            seen.append(kwargs.copy())
            kwargs.pop("colour", None)
            return Task(coro, loop=loop, **kwargs)

        asyncio.get_running_loop().set_task_factory(make)
        await create_task(give(1))
        await create_task(give(1), name="n", colour="red")
        assert seen == [{}, {"name": "n", "colour": "red"}]
        asyncio.get_running_loop().set_task_factory(None)
        coro = give(1)
        with pytest.raises(TypeError):
            create_task(coro, colour="red")
        coro.close()

    asyncio.run(main())


def test_get_stack_shows_the_whole_await_chain() -> None:
    async def main() -> None:
        async def inner() -> None:
            await asyncio.Event().wait()

        async def items() -> Any:
            await inner()
            yield 1

        async def outer() -> None:
            async for _ in items():
                pass

        task = create_task(outer())
        await asyncio.sleep(0)
        names = [frame.f_code.co_name for frame in task.get_stack()]
        assert names == ["outer", "items", "inner", "wait"]
        assert [f.f_code.co_name for f in task.get_stack(limit=2)] == ["inner", "wait"]
        task.cancel()

    asyncio.run(main())


def test_debug_mode_says_where_the_caller_made_the_task() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for make in (create_task, lambda coro: Task(coro, loop=loop)):
            task: Any = make(give(1))
            assert task._source_traceback[-1].filename == __file__
            await task

    asyncio.run(main(), debug=True)
