"""Eager start, on every Python: order, the current task, contexts, errors."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from typing import Any

import pytest

from asyncnb import (
    Task,
    all_tasks,
    create_eager_task_factory,
    create_task,
    current_task,
    eager_task_factory,
)
from tests.core.elsewhere import FACTORIES, running_elsewhere


@pytest.fixture(params=FACTORIES)
def factory(request: pytest.FixtureRequest) -> Any:
    return request.param


def run(factory: Any, main: Any) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def give(value: Any) -> Any:
    return value


async def fail(exc: BaseException) -> None:
    raise exc


def test_the_first_step_runs_inside_the_call(factory: Any) -> None:
    async def main() -> None:
        steps: list[str] = []

        async def body() -> str:
            steps.append("first")
            await asyncio.sleep(0)
            steps.append("second")
            return "result"

        task = create_task(body(), eager_start=True)
        steps.append("after the call")
        assert not task.done() and task.get_coro() is not None
        assert await task == "result"
        assert steps == ["first", "after the call", "second"]

    run(factory, main())


def test_a_task_that_ended_eagerly_has_no_coroutine_left(factory: Any) -> None:
    async def main() -> None:
        task = create_task(give(1), eager_start=True, name="short")
        assert task.done() and task.result() == 1 and task.get_coro() is None
        assert task not in all_tasks()
        assert "short" in repr(task)
        assert await task == 1

    run(factory, main())


def test_the_current_task_is_the_new_one_and_then_the_creator_again(factory: Any) -> None:
    async def main() -> None:
        creator = current_task()

        async def body(exc: BaseException | None) -> None:
            seen.append((current_task(), current_task() in all_tasks()))
            if exc is not None:
                raise exc

        for exc in (None, ValueError("kept in the task")):
            seen: list[Any] = []
            task = create_task(body(exc), eager_start=True)
            assert seen == [(task, True)]
            assert current_task() is creator
            assert task.exception() is exc

    run(factory, main())


def test_keyboard_interrupt_propagates(factory: Any) -> None:
    async def main() -> None:
        creator = current_task()
        with pytest.raises(KeyboardInterrupt):
            create_task(fail(KeyboardInterrupt()), eager_start=True)
        assert current_task() is creator

    run(factory, main())


def test_the_step_runs_in_the_context_of_the_task(factory: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> None:
        async def body() -> None:
            variable.set("task")
            await asyncio.sleep(0)
            assert variable.get() == "task"

        variable.set("creator")
        await create_task(body(), eager_start=True)
        assert variable.get() == "creator"
        context = contextvars.copy_context()
        task = create_task(body(), eager_start=True, context=context)
        assert context[variable] == "task" and task.get_context() is context
        await task

    run(factory, main())


def test_a_context_that_is_already_entered_leaves_no_trace(factory: Any) -> None:
    async def main() -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, c: problems.append(c))
        context = contextvars.copy_context()
        coro = give(1)

        async def creator() -> None:
            with pytest.raises(RuntimeError, match="cannot enter context"):
                create_task(coro, eager_start=True, context=context)
            assert current_task() is task
            assert all_tasks() == {task, main_task}

        main_task = current_task()
        task = create_task(creator(), context=context)
        await task
        coro.close()
        gc.collect()
        assert problems == []

    run(factory, main())


def test_eager_tasks_can_nest(factory: Any) -> None:
    async def main() -> None:
        async def nested(depth: int) -> int:
            mine = current_task()
            if depth:
                child = create_task(nested(depth - 1), eager_start=True)
                assert current_task() is mine
                return await child + 1
            await asyncio.sleep(0)
            return 0

        assert await create_task(nested(20), eager_start=True) == 20

    run(factory, main())


def test_done_callbacks_of_an_eager_end_run_in_the_next_iteration(factory: Any) -> None:
    async def main() -> None:
        seen: list[Any] = []
        task = create_task(give(1), eager_start=True)
        task.add_done_callback(seen.append)
        assert seen == []
        await asyncio.sleep(0)
        assert seen == [task]

    run(factory, main())


def test_under_an_eager_factory_a_task_may_still_be_lazy(factory: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(eager_task_factory)
        assert create_task(give(1)).done()
        assert type(loop.create_task(give(1))) is Task
        lazy = create_task(give(1), eager_start=False)
        assert not lazy.done()
        await lazy

        class Own(Task[Any]):
            pass

        loop.set_task_factory(create_eager_task_factory(Own))
        own = create_task(give(1), name="own")
        assert type(own) is Own and own.get_name() == "own" and own.done()

    run(factory, main())


def test_without_a_running_loop_the_start_is_lazy(factory: Any) -> None:
    loop = factory()
    task = Task(give(1), loop=loop, eager_start=True)
    assert not task.done()
    assert loop.run_until_complete(task) == 1
    loop.close()


def test_an_eager_start_for_another_thread_is_refused(factory: Any) -> None:
    with running_elsewhere(factory) as loop:
        with pytest.raises(RuntimeError, match="runs in another"):
            Task(give(1), loop=loop, eager_start=True)
        lazily: Any = {"eager_start": None}  # as CPython's own tests pass it
        assert Task(give(1), loop=loop, **lazily).join(10) == 1


def test_a_step_of_another_thread_is_not_taken_for_the_first(factory: Any) -> None:
    stop = threading.Event()
    counts = {"made": 0, "ran": 0}

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def count() -> None:
            counts["ran"] += 1

        def make() -> None:
            while not stop.is_set():
                counts["made"] += 1
                tasks.append(Task(count(), loop=loop))

        tasks: list[Any] = []
        maker = threading.Thread(target=make)
        maker.start()
        for n in range(2000):
            assert create_task(give(n), eager_start=True).result() == n
            if n % 100 == 0:
                await asyncio.sleep(0)
        stop.set()
        await asyncio.get_running_loop().run_in_executor(None, maker.join)
        for task in tasks:
            await task

    run(factory, main())
    assert counts["made"] == counts["ran"] > 0


def test_a_failed_eager_task_is_no_reference_cycle() -> None:
    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            task = create_task(fail(ValueError()), eager_start=True)
            assert isinstance(task.exception(), ValueError)
            gone = weakref.ref(task)
            del task
            assert gone() is None
        finally:
            gc.enable()

    asyncio.run(main())


class Steps:
    """What a task does in its eager step, and what it made of it."""

    def __init__(self) -> None:
        self.gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.seen: list[Any] = []

    def me(self) -> Any:
        return asyncio.current_task()

    async def wait(self) -> str:
        try:
            return await self.gate
        except asyncio.CancelledError as exc:
            self.seen.append(exc.args)
            raise


def test_an_eager_task_that_suspends_continues_like_any_other(factory: Any) -> None:
    async def main() -> None:
        steps = Steps()

        async def work() -> str:
            task = steps.me()
            task.set_name("mine")
            task.add_done_callback(lambda t: steps.seen.append(t.result()))
            task.mark = 1
            await asyncio.sleep(0)
            assert steps.me() is task
            return await steps.wait() + await steps.wait()

        coro = work()
        task = eager_task_factory(asyncio.get_running_loop(), coro)
        assert (task.get_name(), task.mark, task.get_coro()) == ("mine", 1, coro)
        assert "work() running" in repr(task)
        assert task in all_tasks()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [f.f_code.co_name for f in task.get_stack()] == ["work", "wait"]
        steps.gate.set_result("ab")
        assert await task == "abab"
        await asyncio.sleep(0)
        assert steps.seen == ["abab"]

    run(factory, main())


@pytest.mark.parametrize("error", [ValueError("late"), asyncio.CancelledError("late")])
def test_an_exception_reaches_what_it_waits_for_first(factory: Any, error: BaseException) -> None:
    async def main() -> None:
        steps = Steps()

        async def work() -> str:
            with pytest.raises(type(error), match="late"):
                await steps.gate
            await asyncio.sleep(0)
            return "caught"

        task = eager_task_factory(asyncio.get_running_loop(), work())
        if isinstance(error, asyncio.CancelledError):
            task.cancel("late")
        else:
            steps.gate.set_exception(error)
        assert await task == "caught"

    run(factory, main())


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_a_task_that_cancels_itself_in_its_eager_step(factory: Any, requests: int) -> None:
    async def main() -> None:
        steps = Steps()

        async def work() -> None:
            for number in range(requests):
                steps.me().cancel(f"request {number}")
            with pytest.raises(asyncio.CancelledError):
                await steps.wait()
            await asyncio.sleep(0)
            steps.seen.append(steps.me().cancelling())

        task = eager_task_factory(asyncio.get_running_loop(), work())
        assert task.cancelling() == requests
        await task
        assert steps.seen == [(f"request {requests - 1}",), requests]
        assert steps.gate.cancelled()

    run(factory, main())


def test_a_task_that_cancels_itself_and_returns_is_cancelled(factory: Any) -> None:
    async def main() -> None:
        async def work(uncancel: bool) -> int:
            task: Any = asyncio.current_task()
            task.cancel("enough")
            if uncancel:
                task.uncancel()
            return 1

        loop = asyncio.get_running_loop()
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await eager_task_factory(loop, work(False))
        assert await eager_task_factory(loop, work(True)) == 1

    run(factory, main())


def test_its_error_is_the_original_and_its_traceback_that_of_the_coroutine(factory: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for error in (ValueError("no"), asyncio.CancelledError("no")):
            task = eager_task_factory(loop, fail(error))
            with pytest.raises(type(error)) as caught:
                await task
            assert caught.value is error
            assert "fail" in [entry.name for entry in caught.traceback]
        failed = eager_task_factory(loop, fail(ValueError("no")))
        frames = [f.f_code.co_name for f in failed.get_stack()]
        assert frames == ["fail"]

    run(factory, main())


def test_default_names_are_distinct(factory: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks = [
            eager_task_factory(loop, give(1)),
            eager_task_factory(loop, give(2)),
            asyncio.create_task(give(3)),
        ]
        names = {task.get_name() for task in tasks}
        assert len(names) == 3
        assert all(name.startswith("Task-") for name in names)
        assert tasks[0].get_name() in repr(tasks[0])
        await tasks[2]

    run(factory, main())


def test_get_context_works_for_eager_and_lazy_tasks() -> None:
    async def main() -> None:
        context = contextvars.copy_context()
        other = contextvars.Context()
        for eager in (False, True):
            for coro in (give(1), asyncio.sleep(0)):
                task = create_task(coro, context=context, eager_start=eager)
                task.add_done_callback(lambda _: None, context=other)
                assert task.get_context() is context
                await task
                assert task.get_context() is context

    asyncio.run(main())


def test_a_subclass_with_its_own_init_starts_eagerly(factory: Any) -> None:
    class Counted(Task[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.count = 1
            super().__init__(*args, **kwargs)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = Counted(give(1), loop=loop, eager_start=True)
        assert (task.done(), task.result(), task.count, task.get_coro()) == (True, 1, 1, None)
        lazy = Counted(asyncio.sleep(0, 2), loop=loop, eager_start=True)
        assert not lazy.done()
        assert await lazy == 2

    run(factory, main())
