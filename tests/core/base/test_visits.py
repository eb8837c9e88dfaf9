"""Code of another thread that has the embedded loop for its running loop, and calls from workers.

The loop's base is chosen when asyncnb is imported: the last test runs all others on the other one.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib.util
import os
import socket
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import asyncnb
from asyncnb import EmbeddedLoop, embedded_loop
from asyncnb._core.base import visits as _visits
from asyncnb._core.base.visits import Visit, guard, guarded, own_loop, unguard, visits
from asyncnb._core.base.worker_thread import Worker


@pytest.fixture
def loop() -> Iterator[EmbeddedLoop]:
    """The embedded loop, which nothing wakes but what a test does."""
    loop = embedded_loop()
    loop.watch(0)
    yield loop
    asyncio._set_running_loop(None)  # a test that failed may have left it
    loop.shutdown(5)
    assert not visits and not guarded


@contextmanager
def visiting(loop: EmbeddedLoop) -> Iterator[Visit]:
    """What surrounds the code of a cell without await."""
    visit = Visit(loop)
    visit.enter()
    try:
        yield visit
    finally:
        visit.leave()
        visit.release()


def there(loop: EmbeddedLoop, do: Callable[[], Any]) -> Any:
    """Return what *do* returns on the loop's thread, after all that was handed to it before."""
    done, results = threading.Event(), []

    def run(turns: int) -> None:
        if turns:
            loop.call_soon(run, turns - 1)
        else:
            results.append(do())
            done.set()

    loop.call_soon_threadsafe(run, 2)
    assert done.wait(10)
    return results[0]


@contextmanager
def held_up(loop: EmbeddedLoop) -> Iterator[None]:
    """Keep the loop busy with one callback while the block runs."""
    began, end = threading.Event(), threading.Event()
    loop.call_soon_threadsafe(lambda: (began.set(), end.wait(10)))
    assert began.wait(10)
    try:
        yield
    finally:
        end.set()


async def waits() -> None:
    await asyncio.Event().wait()


# What the running loop is


def test_the_loop_is_the_running_one_only_in_a_visit(loop: EmbeddedLoop) -> None:
    assert asyncio._get_running_loop() is None
    with visiting(loop):
        assert asyncio.get_running_loop() is asyncio.get_event_loop() is loop
        assert not _visits.runs_here(loop)
        assert own_loop() is None
    assert asyncio._get_running_loop() is None and own_loop() is None
    assert there(loop, lambda: _visits.runs_here(loop)) is True


def test_a_thread_that_runs_a_loop_gets_it_back_even_after_an_exception(
    loop: EmbeddedLoop,
) -> None:
    async def main() -> None:
        mine = asyncio.get_running_loop()
        for end in (None, ValueError, KeyboardInterrupt, SystemExit):
            try:
                with visiting(loop):
                    assert asyncio.get_running_loop() is loop and own_loop() is mine
                    if end is not None:
                        raise end
            except BaseException as exc:
                assert type(exc) is end
            assert asyncio.get_running_loop() is mine is own_loop()
        await asyncio.sleep(0)

    asyncio.run(main())


def test_visits_nest_and_each_keeps_what_was_scheduled_in_it(loop: EmbeddedLoop) -> None:
    seen: list[str] = []
    with visiting(loop) as outer:
        loop.call_soon(seen.append, "outer")
        with visiting(loop):
            assert asyncio.get_running_loop() is loop and own_loop() is None
            loop.call_soon(seen.append, "inner")
        assert asyncio.get_running_loop() is loop and visits[threading.get_ident()] is outer
        assert there(loop, lambda: list(seen)) == ["inner"]
        loop.call_soon(seen.append, "outer still")
    assert there(loop, lambda: seen) == ["inner", "outer", "outer still"]


def test_a_visit_may_be_left_and_entered_again_before_its_end(loop: EmbeddedLoop) -> None:
    seen: list[int] = []
    visit = Visit(loop)
    for n in range(3):  # statements of a cell
        visit.enter()
        loop.call_soon(seen.append, n)
        visit.leave()
        assert asyncio._get_running_loop() is None
    assert there(loop, lambda: list(seen)) == []
    visit.release()
    assert there(loop, lambda: list(seen)) == [0, 1, 2]


# What is held back


def test_released_tasks_have_started_when_the_loop_has_settled(loop: EmbeddedLoop) -> None:
    log = []

    async def work() -> None:
        log.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cleaned up")

    for _ in range(200):
        visit = Visit(loop)
        visit.enter()
        task = asyncio.create_task(work())
        visit.leave()
        assert visit.release()
        visit.settle()
        visit.enter()
        task.cancel()
        visit.leave()
        assert visit.release()
        visit.settle()
        assert task.cancelled() and log == ["begun", "cleaned up"]
        log.clear()


def test_a_visit_that_scheduled_nothing_releases_nothing(loop: EmbeddedLoop) -> None:
    with visiting(loop) as visit:
        pass
    assert not visit.release()


def test_settle_does_not_wait_for_a_busy_loop(loop: EmbeddedLoop) -> None:
    with held_up(loop):
        with visiting(loop) as visit:
            called = threading.Event()
            loop.call_soon(called.set)
        visit.settle()
        assert not called.is_set()
    assert called.wait(10)


def test_scheduled_callbacks_start_after_release_in_order_and_in_their_context(
    loop: EmbeddedLoop,
) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var")
    seen: list[Any] = []

    async def work(n: int) -> None:
        seen.append((n, var.get(), threading.get_ident()))

    context = contextvars.copy_context()
    context.run(var.set, "given")
    var.set("cell")
    with visiting(loop) as visit:
        tasks = [asyncio.create_task(work(0)), asyncio.ensure_future(work(1))]
        loop.call_soon(lambda: seen.append((2, var.get(), threading.get_ident())))
        loop.call_soon(lambda: seen.append((3, var.get(), threading.get_ident())), context=context)
        tasks += [loop.create_task(work(4)), asyncio.Task(work(5), loop=loop)]
        tasks += [asyncnb.create_task(work(6)), asyncnb.Task(work(7))]
        var.set("changed later")
        assert there(loop, lambda: list(seen)) == []
        visit.leave()
        assert there(loop, lambda: list(seen)) == []
        visit.enter()
    home = loop.thread.ident
    names = ["cell", "cell", "cell", "given", "cell", "cell", "cell", "cell"]
    assert there(loop, lambda: list(seen)) == [(n, v, home) for n, v in enumerate(names)]
    assert all(task.done() for task in tasks)


@pytest.mark.parametrize("how", ["call_soon", "call_later", "call_at"])
@pytest.mark.parametrize("thread", ["visitor", "loop"])
@pytest.mark.parametrize("when", ["before release", "after release"])
def test_a_handle_can_be_cancelled(loop: EmbeddedLoop, how: str, thread: str, when: str) -> None:
    seen: list[str] = []
    with visiting(loop) as visit:
        if how == "call_soon":
            handle = loop.call_soon(seen.append, "cancelled")
        elif how == "call_later":
            handle = loop.call_later(0.01, seen.append, "cancelled")
        else:
            handle = loop.call_at(loop.time() + 0.01, seen.append, "cancelled")
        if how != "call_soon":
            assert handle.when() <= loop.time() + 0.01
        with held_up(loop):
            if when == "after release":
                visit.release()
            if thread == "visitor":
                handle.cancel()
            else:
                loop.call_soon_threadsafe(handle.cancel)
        there(loop, lambda: None)
    assert handle.cancelled()
    asyncnb.run(asyncio.sleep(0.02))
    assert seen == []


def test_a_timer_that_is_already_set_is_cancelled_from_the_visiting_thread(
    loop: EmbeddedLoop,
) -> None:
    fired = threading.Event()
    with visiting(loop):
        timer = loop.call_later(60, fired.set)
    there(loop, lambda: None)
    with visiting(loop):
        timer.cancel()
    assert timer.cancelled()
    assert there(loop, lambda: timer._real.cancelled())


class _CancelsMeanwhile:
    """A loop on which another thread cancels the handle just after it was scheduled."""

    def __init__(self, loop: EmbeddedLoop) -> None:
        self._loop = loop
        self.handle: Any = None

    def __getattr__(self, name: str) -> Any:
        scheduler = getattr(self._loop, name)

        def schedule(*args: Any, **kwargs: Any) -> Any:
            real = scheduler(*args, **kwargs)
            thread = threading.Thread(target=self.handle.cancel)
            thread.start()
            thread.join(10)
            return real

        return schedule if name in ("call_soon", "call_at") else scheduler


def test_a_cancel_during_the_release_takes_effect(loop: EmbeddedLoop) -> None:
    seen: list[str] = []
    meddler = _CancelsMeanwhile(loop)
    for handle in (
        _visits.DeferredHandle(seen.append, ("called",), meddler, None),
        _visits.DeferredTimer(loop.time(), seen.append, ("timer",), meddler, None),
    ):
        meddler.handle = handle
        there(loop, handle.release)
    asyncnb.run(asyncio.sleep(0.01))
    assert seen == []


def test_a_callback_that_fails_on_the_loop_does_not_affect_the_others(loop: EmbeddedLoop) -> None:
    told: list[Any] = []
    loop.set_exception_handler(lambda _, context: told.append(type(context["exception"])))
    with visiting(loop):
        loop.call_soon(int, "no number")
        loop.add_reader(-1, print)
        task = asyncio.create_task(asyncio.sleep(0, "begun"))
        timer = loop.call_later(0, told.append, "timer")
    assert asyncnb.run(asyncnb.wait_for(task, 10)) == "begun"
    there(loop, lambda: None)
    assert told[0] is ValueError and len(told) >= 2 and not timer.cancelled()


# What wakes the loop


def test_a_future_set_in_a_visit_wakes_tasks_of_the_idle_loop(loop: EmbeddedLoop) -> None:
    with visiting(loop):
        event, future = asyncio.Event(), loop.create_future()
        queue: asyncio.Queue[int] = asyncio.Queue()
        lock, condition = asyncio.Semaphore(0), asyncio.Event()

        async def follow() -> Any:
            await future
            return "future"

        waiting: dict[str, list[Any]] = {
            "event": [asyncio.create_task(event.wait()) for _ in range(20)],
            "queue": [asyncio.create_task(queue.get())],
            "lock": [asyncio.create_task(lock.acquire())],
            "future": [asyncio.create_task(follow())],
            "cancel": [asyncio.create_task(condition.wait())],
        }
    there(loop, lambda: None)
    everything = [task for tasks in waiting.values() for task in tasks]
    ended = threading.Semaphore(0)
    for task in everything:
        loop.call_soon_threadsafe(task.add_done_callback, lambda _: ended.release())
    there(loop, lambda: None)
    with visiting(loop):
        event.set()
        queue.put_nowait(1)
        lock.release()
        future.set_result(None)
        assert future.result() is None
        waiting["cancel"][0].cancel()
        assert not any(task.done() for task in everything)  # they start when the cell has ended
    for _ in everything:
        assert ended.acquire(timeout=10)
    assert waiting["cancel"][0].cancelled()
    assert waiting["queue"][0].result() == 1


def test_timers_of_a_visit_fire_at_their_time_counted_from_the_call(loop: EmbeddedLoop) -> None:
    fired = threading.Semaphore(0)
    seen: list[tuple[str, bool]] = []

    def fire(name: str, when: float) -> None:
        seen.append((name, loop.time() >= when - 0.001))
        fired.release()

    with visiting(loop):
        now = loop.time()
        loop.call_later(0.03, fire, "third", now + 0.03)
        loop.call_at(now + 0.02, fire, "second", now + 0.02)
        loop.call_later(-1, fire, "first", now)
    for _ in range(3):
        assert fired.acquire(timeout=10)
    assert seen == [("first", True), ("second", True), ("third", True)]


def test_a_visit_may_add_and_remove_readers(loop: EmbeddedLoop) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    got: list[bytes] = []
    read, writable = threading.Event(), threading.Event()
    with ours, theirs:
        with visiting(loop):
            loop.add_reader(ours, lambda: (got.append(ours.recv(9)), read.set()))
            loop.add_writer(theirs, lambda: (writable.set(), loop.remove_writer(theirs)))
            there(loop, lambda: None)
            assert not writable.is_set()  # held back, as everything else
        assert writable.wait(10)
        theirs.send(b"news")
        assert read.wait(10) and got == [b"news"]
        with visiting(loop):
            loop.remove_reader(ours)
        there(loop, lambda: None)
        theirs.send(b"more")
        there(loop, lambda: None)
        assert got == [b"news"]


def test_a_thread_without_a_visit_may_create_a_task_of_the_guarded_loop(
    loop: EmbeddedLoop,
) -> None:
    guard(loop)
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(loop.create_task(waits(), name="it")))
    thread.start()
    thread.join(10)
    assert there(loop, lambda: {t.get_name() for t in asyncio.all_tasks()}) == {"it"}
    loop.call_soon_threadsafe(made[0].cancel)
    unguard(loop)
    there(loop, lambda: None)
    assert there(loop, lambda: made[0].cancelled())


# Which tasks there are


def test_tasks_of_a_visit_are_found_in_it_and_on_the_loop_afterwards(loop: EmbeddedLoop) -> None:
    with visiting(loop):
        tasks = {asyncio.create_task(waits()), loop.create_task(waits())}
        assert asyncnb.all_tasks() == tasks
        assert asyncio.all_tasks() == tasks
    assert there(loop, asyncio.all_tasks) == tasks
    assert there(loop, asyncnb.all_tasks) == tasks
    with visiting(loop):
        assert asyncnb.all_tasks() == tasks
        if sys.version_info >= (3, 14):  # this thread's list, in which none may stay
            assert asyncio.all_tasks() == set()
    assert asyncnb.all_tasks(loop) == tasks
    assert loop.shutdown(5)
    assert all(task.cancelled() for task in tasks)


# Waiting in a visit


def test_a_wait_in_a_visit_first_releases_deferred_callbacks(loop: EmbeddedLoop) -> None:
    async def double(task: Any) -> int:
        return 2 * await task

    with visiting(loop):
        first = asyncio.create_task(asyncio.sleep(0.001, 1))
        assert asyncnb.run(double(first), timeout=10) == 2
        second = asyncio.create_task(asyncio.sleep(0.001, 2))
        assert loop.run_until_complete(double(second)) == 4
        third = asyncnb.create_task(asyncio.sleep(0.001, 3))
        assert third.join(10) == 3
        fourth = asyncio.create_task(asyncio.sleep(0.001, 4))
        assert asyncnb.launch(double(fourth)).join(10) == 8
        fifth = asyncio.create_task(asyncio.sleep(0.001, 5))
        assert loop.run_until_complete(fifth) == 5
        with visiting(loop):  # a comm message in the middle of a cell
            sixth = asyncio.create_task(asyncio.sleep(0.001, 6))
            assert loop.run_until_complete(sixth) == 6


def test_run_until_complete_raises_what_the_coroutine_raises(loop: EmbeddedLoop) -> None:
    async def fail() -> None:
        raise ValueError("seen")

    with visiting(loop):
        with pytest.raises(ValueError, match="seen"):
            loop.run_until_complete(fail())
        with pytest.raises(TypeError):
            loop.run_until_complete(1)

    async def there() -> None:
        loop.run_until_complete(waits())

    with pytest.raises(RuntimeError, match="use `await"):
        asyncnb.run(there())


@pytest.mark.parametrize("wait", ["loop.run_until_complete(task)", "asyncnb.Task.join(task)"])
def test_ctrl_c_ends_the_wait_in_a_visit_but_not_the_task(wait: str) -> None:
    done = plain_python(
        f"""
        import asyncio, os, signal, asyncnb
        from asyncnb._core.base.visits import Visit
        loop, gate = asyncnb.embedded_loop(), asyncio.Event()

        async def work():
            os.kill(os.getpid(), signal.SIGINT)
            await gate.wait()
            return "worked"

        visit = Visit(loop)
        visit.enter()
        try:
            task = asyncnb.create_task(work())
            {wait}
        except KeyboardInterrupt:
            print("stopped", task.done(), asyncio.get_running_loop() is loop)
        gate.set()
        visit.leave()
        visit.release()
        print(task.join(10))
        """
    )
    assert (done.stdout, done.stderr) == ("stopped False True\nworked\n", "")


def test_calls_that_cannot_work_on_the_embedded_loop_explain_themselves(loop: EmbeddedLoop) -> None:
    calls: dict[str, Callable[[], object]] = {
        "close": loop.close,
        "stop": loop.stop,
        "run_forever": loop.run_forever,
    }
    with visiting(loop):
        for name, call in calls.items():
            with pytest.raises(RuntimeError, match=rf"loop\.{name}\(\) does not work on .*: .*"):
                call()
        with pytest.raises(RuntimeError, match=r"signal\.signal\(\.\.\.\) in the main thread"):
            loop.add_signal_handler(2, print)
    for name in ("close", "run_forever"):
        with pytest.raises(RuntimeError, match=rf"loop\.{name}\(\) does not work on"):
            asyncnb.run(_call(calls[name]))
    assert asyncnb.run(asyncio.sleep(0, "alive"), timeout=10) == "alive"


async def _call(function: Callable[[], object]) -> object:
    return function()


# Guarding


def test_a_loop_stays_guarded_until_the_last_guard_is_undone(loop: EmbeddedLoop) -> None:
    kind = type(loop)
    guard(loop)
    with visiting(loop):
        guard(loop)
        assert guarded == {loop: 3}
        unguard(loop)
    assert guarded == {loop: 1}
    woken = threading.Event()
    thread = threading.Thread(target=lambda: loop.call_soon(woken.set))
    thread.start()
    assert woken.wait(10)
    thread.join(10)
    unguard(loop)
    assert guarded == {} and type(loop) is kind is EmbeddedLoop


def test_an_event_set_in_a_worker_wakes_every_waiter_at_once(loop: EmbeddedLoop) -> None:
    rounds, waiters = 1000, 20
    failures: list[Any] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))

    async def main() -> None:
        event = asyncio.Event()
        all_wait, go_on = threading.Event(), asyncio.Event()
        count = 0

        async def wait() -> None:
            nonlocal count
            for _ in range(rounds):
                mine = event
                count += 1
                if count % waiters == 0:
                    all_wait.set()
                await mine.wait()

        def body() -> None:
            nonlocal event
            for _ in range(rounds):
                assert all_wait.wait(10)
                all_wait.clear()
                before, event = event, asyncio.Event()
                before.set()

        tasks = [asyncio.create_task(wait()) for _ in range(waiters)]
        await Worker(body, loop).run()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        assert not go_on.is_set() and count == rounds * waiters

    asyncnb.run(main(), timeout=60)
    assert failures == []


def test_an_item_that_a_worker_puts_into_a_queue_arrives_at_once(loop: EmbeddedLoop) -> None:
    rounds = 1000

    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        taken = threading.Semaphore(1)

        def body() -> None:
            for n in range(rounds):
                assert taken.acquire(timeout=10)
                queue.put_nowait(n)

        worker = asyncio.create_task(Worker(body, loop).run())
        got = []
        for _ in range(rounds):
            got.append(await queue.get())
            taken.release()
        await worker
        return got

    assert asyncnb.run(main(), timeout=60) == list(range(rounds))


# Eager tasks


class _Names:
    """A coroutine function that notes the thread of its first step."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    async def __call__(self) -> str:
        self.steps.append(threading.get_ident())
        assert asyncio.current_task() is not None
        await asyncio.sleep(0)
        return "done"


EAGER: dict[str, Callable[[Any], Any]] = {
    "asyncnb.create_task": lambda f: asyncnb.create_task(f(), eager_start=True),
    "asyncnb.Task": lambda f: asyncnb.Task(f(), eager_start=True),
    "asyncnb's factory": lambda f: _with_factory(asyncnb.eager_task_factory, f),
    "asyncnb's factory, asyncnb.create_task": lambda f: _with_factory(
        asyncnb.eager_task_factory, f, asyncnb.create_task
    ),
}
if sys.version_info >= (3, 12):
    # Up to 3.13.2 asyncio's factory does not take the `eager_start` that uvloop hands it from 3.13
    # on, so that they do not work together, with asyncnb or without.
    if issubclass(EmbeddedLoop, asyncio.BaseEventLoop) or not (
        (3, 13) <= sys.version_info < (3, 13, 3)
    ):
        EAGER["asyncio's factory"] = lambda f: _with_factory(asyncio.eager_task_factory, f)
        EAGER["asyncio's factory, ensure_future"] = lambda f: _with_factory(
            asyncio.eager_task_factory, f, asyncio.ensure_future
        )
    EAGER["asyncio's factory, asyncnb.create_task"] = lambda f: _with_factory(
        asyncio.eager_task_factory, f, asyncnb.create_task
    )
    EAGER["a factory of the user's"] = lambda f: _with_factory(
        lambda loop, coro, **kwargs: asyncio.Task(
            coro, loop=loop, **kwargs | {"eager_start": True}
        ),
        f,
    )
if sys.version_info >= (3, 14):
    EAGER["asyncio.create_task"] = lambda f: asyncio.create_task(f(), eager_start=True)
    EAGER["loop.create_task"] = lambda f: asyncio.get_running_loop().create_task(
        f(), eager_start=True
    )


def _with_factory(factory: Any, f: Any, create_task: Any = asyncio.create_task) -> Any:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        return create_task(f())
    finally:
        loop.set_task_factory(None)


@pytest.mark.parametrize("how", EAGER)
def test_an_eager_task_starts_lazily_in_a_visit(loop: EmbeddedLoop, how: str) -> None:
    work, failures = _Names(), []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    ready, go_on = threading.Event(), threading.Event()

    async def occupies() -> bool:
        ready.set()
        return go_on.wait(10)  # a task that is in the middle of a step meanwhile

    busy = asyncnb.launch(occupies())
    assert ready.wait(10)
    with visiting(loop):
        task = EAGER[how](work)
        assert work.steps == [] and loop.is_running() and not task.done()
        assert task in asyncnb.all_tasks()
    go_on.set()
    assert busy.join(10) is True
    assert asyncnb.run(asyncnb.wait_for(task, 10)) == "done"
    assert work.steps == [loop.thread.ident] and failures == []


def test_an_eager_task_starts_at_once_on_the_loops_own_thread_in_a_visit_too(
    loop: EmbeddedLoop,
) -> None:
    async def main() -> bool:
        work = _Names()
        task = asyncnb.create_task(work(), eager_start=True)
        begun = len(work.steps) == 1
        await task
        return begun

    with visiting(loop):
        assert asyncnb.run(main(), timeout=10)


# The end of a loop, and forks


def test_a_loop_that_is_shut_down_in_a_visit_starts_no_task_and_the_visit_ends(
    loop: EmbeddedLoop,
) -> None:
    seen: list[int] = []
    with visiting(loop):
        loop.call_soon(seen.append, 1)
        assert loop.shutdown(5)
        timer = loop.call_later(0, print) if not loop.is_closed() else None
    assert seen == [] and timer is None
    assert asyncio._get_running_loop() is None
    with visiting(embedded_loop()) as visit:
        assert visit.loop is not loop
        visit.loop.call_soon(seen.append, 2)
    assert there(visit.loop, lambda: seen) == [2]
    visit.loop.shutdown(5)


class BreaksWhenStopped(EmbeddedLoop):
    def run_forever(self) -> None:
        super().run_forever()
        raise OSError("the selector is gone")


def test_a_loop_that_crashes_in_a_visit_fails_the_wait_there() -> None:
    loop = BreaksWhenStopped()
    loop.start()
    with visiting(loop):
        work = waits()
        task = asyncio.create_task(work)
        loop.call_soon_threadsafe(loop.stop)
        with pytest.raises(RuntimeError):
            loop.run_until_complete(task)
        loop.thread.join(10)
    assert asyncio._get_running_loop() is None and not guarded
    task._log_destroy_pending = False
    work.close()  # it may have begun or not


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_child_forked_in_a_visit_has_no_loop_and_may_start_its_own() -> None:
    done = plain_python(
        """
        import asyncio, os, asyncnb
        from asyncnb._core.base.visits import Visit, guarded, own_loop, visits
        loop = asyncnb.embedded_loop()
        outer, inner = Visit(loop), Visit(loop)
        outer.enter()
        held = asyncio.create_task(asyncio.sleep(0, "parent's"))
        inner.enter()
        pid = os.fork()
        if pid == 0:
            ok = asyncio._get_running_loop() is own_loop() is None and not visits and not guarded
            ok = ok and asyncnb.launch(asyncio.sleep(0, 5)).join(10) == 5
            held._log_destroy_pending = False
            inner.leave(); inner.release(); outer.leave(); outer.release()
            ok = ok and asyncio._get_running_loop() is None and not visits and not guarded
            os._exit(0 if ok else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        inner.leave(); inner.release(); outer.leave(); outer.release()
        print(asyncnb.run(asyncnb.wait_for(held, 10)))
        """
    )
    assert (done.stdout, done.stderr) == ("0\nparent's\n", "")


def test_ten_thousand_visits_leave_nothing_behind(loop: EmbeddedLoop) -> None:
    class Callback:
        def __call__(self) -> None:
            pass

    left: list[weakref.ref[Callback]] = []

    async def work(_: Callback) -> None:
        pass

    def rounds(count: int) -> None:
        for n in range(count):
            callback = Callback()
            with visiting(loop):
                loop.call_soon(callback)
                loop.call_later(60, callback).cancel()
                task = asyncio.create_task(work(callback))
            if n % 100 == 0:
                left.append(weakref.ref(callback))
                there(loop, lambda: None)
        del callback, task
        there(loop, lambda: None)
        gc.collect()

    rounds(100)
    before = len(gc.get_objects())
    rounds(10_000)
    assert [ref() for ref in left if ref() is not None] == []
    assert len(gc.get_objects()) - before < 500
    assert not visits and not guarded


def plain_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    if sys.version_info >= (3, 12):  # 3.12 warns of a fork beside a thread
        command[2:3] = ["error", "-W", "ignore:This process:DeprecationWarning"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | env, check=False
    )


@pytest.mark.skipif(bool(os.environ.get("ASYNCNB_LOOP")), reason="one kind of loop was asked for")
@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="there is one kind of loop")
def test_visits_work_on_the_standard_loop_too() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    env = os.environ | {"ASYNCNB_LOOP": "asyncio"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=env, check=False
    )
    assert done.returncode == 0, done.stdout
