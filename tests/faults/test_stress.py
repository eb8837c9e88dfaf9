"""The thread-safe calls, from eight threads at once, with threads switched every microsecond."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import asyncnb
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import shutdown
from asyncnb.testing import clear_ended, validate

CALLER = Path(__file__).parents[1] / "core" / "reentrant.py"
THREADS = 8
ROUNDS = 150


@pytest.fixture
def frantic() -> Iterator[None]:
    before = sys.getswitchinterval()
    asyncnb.embedded_loop()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
    shutdown()
    clear_ended()


def in_threads(work) -> None:
    """Run ``work(random, number)`` in each thread; raise what any of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(THREADS)

    def run(number: int) -> None:
        start.wait()
        try:
            work(random.Random(number), number)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive(), "a thread is stuck"
    if errors:
        raise errors[0]


@pytest.mark.promise("every thread-safe call, hammered from 8 threads: no task is lost, none hangs")
def test_calls_from_eight_threads(frantic):
    ended: list[int] = []
    callbacks: list[object] = []

    async def body(n):
        try:
            for _ in range(n % 4):
                await asyncio.sleep(0)
            if n % 5 == 0:
                raise ValueError(n)
            if n % 3 == 0:
                await asyncio.sleep(600)
        finally:
            ended.append(n)

    launched: list[asyncnb.Task] = []

    def work(rng, number):
        mine = []
        for n in range(ROUNDS):
            task = asyncnb.launch(body(n), name=f"s{number}-{n}", timeout=rng.choice([None, 100]))
            task.add_done_callback(callbacks.append)
            mine.append(task)
            other = rng.choice(launched or mine)
            match rng.randrange(8):
                case 0:
                    other.cancel()
                case 1:
                    other.set_name(f"renamed{number}-{n}")
                case 2:
                    other.pause()
                    other.resume()
                case 3:
                    asyncnb.tasks("s*", state="waiting")
                case 4:
                    str(other.info()), repr(other)
                case 5 if other.timeout is not None and not other.done():
                    try:
                        other.timeout.reschedule(asyncnb.embedded_loop().time() + 50)
                    except RuntimeError:
                        pass  # it has ended meanwhile
                case 6:
                    asyncnb.embedded_loop().statistics()
            launched.append(task)
        for task in mine:
            task.resume()
            task.cancel()
        for task in mine:
            try:
                task.join(60)
            except (asyncio.CancelledError, ValueError):
                pass

    in_threads(work)
    assert len(launched) == THREADS * ROUNDS
    assert all(task.done() for task in launched)
    validate()
    assert all(task.done() for task in asyncnb.tasks())
    asyncnb.run(asyncio.sleep(0))
    assert len(callbacks) == len(launched)


@pytest.mark.promise(
    "a task awaited, joined and cancelled from everywhere: all see the same outcome"
)
def test_one_task_from_eight_threads(frantic):
    for round_ in range(30):
        outcomes: list[str] = []

        async def body():
            await asyncio.sleep(0.001)
            return "result"

        task = asyncnb.launch(body())

        def work(rng, number, task=task, outcomes=outcomes, cancels=bool(round_ % 2)):
            async def elsewhere():
                return await asyncnb.shield(task)

            if number == 0 and cancels:
                task.cancel()
            try:
                outcomes.append(asyncio.run(elsewhere()) if number % 2 else task.join(60))
            except asyncio.CancelledError:
                outcomes.append("cancelled")

        in_threads(work)
        assert len(set(outcomes)) == 1, outcomes


@pytest.mark.promise(
    "a group closed and added to from 8 threads: each task is in or refused, never both"
)
def test_groups_from_eight_threads(frantic):
    for _ in range(10):
        group = asyncnb.open_group("shared", on_error="continue")
        ran: list[int] = []
        refused: list[int] = []

        async def body(n, ran=ran):
            await asyncio.sleep(0)
            ran.append(n)

        def work(rng, number, group=group, refused=refused, body=body):
            for n in range(20):
                coro = body(100 * number + n)
                try:
                    group.create_task(coro)
                except RuntimeError:
                    coro.close()
                    refused.append(100 * number + n)
                if number == 0 and n == 10:
                    group.join(60)

        in_threads(work)
        group.join(60)
        assert len(ran) + len(refused) == THREADS * 20
        assert not set(ran) & set(refused)


@pytest.mark.promise(
    "a result set by a loop and by other threads: only one counts, and none is logged"
)
def test_results_set_at_once(frantic):
    logged: list[object] = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: logged.append(context))
        for n in range(300):
            future: asyncnb.Future[object] = asyncnb.Future()

            def give(future=future):
                try:
                    future.set_result("theirs")
                except asyncio.InvalidStateError:
                    pass  # the loop's own came first

            threads = [threading.Thread(target=give) for _ in range(3)]
            for thread in threads:
                thread.start()
            if n % 2:
                await asyncio.sleep(0)
            if not future.done():
                future.set_result("mine")
            assert await future in ("mine", "theirs")
            for thread in threads:
                thread.join(60)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert logged == []


@pytest.mark.promise("a task is found at every moment of its end")
def test_tasks_found_while_they_end(frantic):
    missing = 0
    newest: list[asyncnb.Task] = []
    over = threading.Event()

    def look():
        nonlocal missing
        while not over.is_set():
            for task in newest[-1:]:
                record = task._record
                missing += not registry.holds(record) or registry.get(record.id) is None

    async def many():
        for _ in range(5000):
            newest.append(asyncnb.launch(asyncio.sleep(0)))
            await newest[-1]
            del newest[:-1]

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        asyncnb.run(many())
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert missing == 0


@pytest.mark.promise(
    "launches while the loop is shut down: each ends or is refused, none stays alive"
)
def test_launches_while_the_loop_ends(frantic):
    def work(rng, number):
        for _ in range(40):
            if number == 0:
                shutdown(10)
                continue
            try:
                asyncnb.launch(asyncio.sleep(0)).join(60)
            except (asyncio.CancelledError, asyncnb.EmbeddedLoopError):
                pass

    in_threads(work)
    assert asyncnb.run(asyncio.sleep(0, 7)) == 7
    assert all(task.done() for task in asyncnb.tasks())
    validate()


@pytest.mark.promise(
    "every public call, from finalisers and signal handlers in the middle of others: none hangs"
)
@pytest.mark.parametrize("how", ["finaliser", "signal"])
def test_calls_in_the_middle_of_calls(how):
    seconds = "30" if os.environ.get("ASYNCNB_FAULTS") else "3"
    done = subprocess.run(
        [sys.executable, CALLER, how, seconds], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "nothing was wrong", done.stdout
