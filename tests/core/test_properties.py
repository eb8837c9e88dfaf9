"""Interleavings of cancel, timeout and group, checked against a small model.

A program is a tree of timeouts, groups and sleeps, run in virtual time while a list of
cancellations arrives from outside. The model below says when each sleep ends and how; it knows
nothing of tasks, callbacks or counts. All times are different and of their own (see ``_spread``),
so no outcome depends on the order within one turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncnb import Task, TaskGroup, current_deadline, gather, sleep, timeout, wait, wait_for
from asyncnb.testing import run_virtual

# --- programs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sleep:
    """Sleep; then fail if ``fails``. When cancelled, clean up for ``cleanup`` seconds first."""

    delay: float
    fails: bool = False
    cleanup: float = 0


@dataclass(frozen=True)
class Timeout:
    """Run the body under a timeout; TimeoutError is caught at the end."""

    delay: float
    body: Any


@dataclass(frozen=True)
class Group:
    """Run the children in a TaskGroup and the body in its block; failures are caught at the end."""

    children: tuple[Any, ...]
    body: Any
    cancel_at: float | None = None  # TaskGroup.cancel(), so long after entry


@dataclass(frozen=True)
class Then:
    """One after the other."""

    first: Any
    second: Any


@dataclass(frozen=True)
class Catch:
    """Run the body and continue if it fails."""

    body: Any


def _sleeps(longest: int = 20) -> Any:
    return st.builds(
        Sleep,
        delay=st.integers(1, longest).map(float),
        fails=st.sampled_from([False, False, True]),
        cleanup=st.sampled_from([0.0, 5.0]),
    )


def _programs() -> Any:
    def grow(inner: Any) -> Any:
        return st.one_of(
            st.builds(Timeout, delay=st.integers(1, 20).map(float), body=inner),
            st.builds(
                Group,
                children=st.lists(inner, max_size=3).map(tuple),
                body=st.one_of(_sleeps(3), inner),
                cancel_at=st.one_of(st.none(), st.integers(1, 10).map(float)),
            ),
            st.builds(Then, first=inner, second=inner),
            st.builds(Then, first=st.builds(Catch, body=inner), second=_sleeps()),
        )

    return st.recursive(_sleeps(), grow, max_leaves=6)


def _spread(program: Any) -> Any:
    """Add a different fraction to every time, so that no two events share a moment.

    Powers of two times 2**-20: sums of different ones differ, and floats hold them exactly.
    """
    fraction = 2.0**-20

    def own(time: float) -> float:
        nonlocal fraction
        fraction *= 2
        return time + fraction

    def walk(node: Any) -> Any:
        if isinstance(node, Sleep):
            cleanup = own(node.cleanup) if node.cleanup else 0.0
            return replace(node, delay=own(node.delay), cleanup=cleanup)
        if isinstance(node, Timeout):
            return Timeout(own(node.delay), walk(node.body))
        if isinstance(node, Then):
            return Then(walk(node.first), walk(node.second))
        if isinstance(node, Catch):
            return Catch(walk(node.body))
        cancel_at = own(node.cancel_at) if node.cancel_at is not None else None
        return Group(tuple(map(walk, node.children)), walk(node.body), cancel_at)

    return walk(program)


# --- the model -----------------------------------------------------------------------------------
#
# model(node, start, cancels): how a program that starts at `start` ends when it is asked to cancel
# at the times `cancels`. A request at `start` is one that waits for its first suspension.


@dataclass
class Ended:
    at: float
    how: str  # "ok", "error", "cancelled"
    #: A request that a failure outranked; the next suspension feels it.
    pending: bool = False
    #: Each sleep that ended: its delay, which is its name, when and how.
    sleeps: tuple[tuple[float, float, str], ...] = ()


def model(node: Any, start: float, cancels: list[float]) -> Ended:
    if isinstance(node, Sleep):
        return _model_sleep(node, start, cancels)
    if isinstance(node, Catch):
        ended = model(node.body, start, cancels)
        return replace(ended, how="ok") if ended.how == "error" else ended
    if isinstance(node, Then):
        first = model(node.first, start, cancels)
        if first.how != "ok":
            return first
        later = [time for time in cancels if time > first.at]
        second = model(node.second, first.at, [first.at, *later] if first.pending else later)
        return replace(second, sleeps=first.sleeps + second.sleeps)
    if isinstance(node, Timeout):
        return _model_timeout(node, start, cancels)
    return _model_group(node, start, cancels)


def _model_sleep(node: Sleep, start: float, cancels: list[float]) -> Ended:
    end, how = start + node.delay, "error" if node.fails else "ok"
    first = min(cancels, default=inf)
    if first < end:
        end, how = first + node.cleanup, "cancelled"
        end = min([time for time in cancels if first < time < end], default=end)
    return Ended(end, how, sleeps=((node.delay, end, how),))


def _model_timeout(node: Timeout, start: float, cancels: list[float]) -> Ended:
    deadline = start + node.delay
    ended = model(node.body, start, [*cancels, deadline])
    outside = any(time <= ended.at for time in cancels)
    if ended.at >= deadline and not outside:
        how = "ok" if ended.how == "cancelled" else ended.how  # TimeoutError, caught
        return replace(ended, how=how, pending=False)
    return ended


def _model_group(node: Group, start: float, cancels: list[float]) -> Ended:
    """Find the moment of the abort, which depends on ends, which depend on the abort: iterate."""
    stop = start + node.cancel_at if node.cancel_at is not None else inf
    abort = inf
    while True:
        requests = [*cancels, abort] if abort < inf else cancels
        body = model(node.body, start, requests)
        children = []
        for child in node.children:
            if abort <= start:
                children.append(Ended(start, "cancelled"))  # it has not even begun
            else:
                children.append(model(child, start, [abort] if abort < inf else []))
        causes = [child.at for child in children if child.how == "error"]
        if body.how != "ok":
            causes.append(body.at)
        last = max([body.at, *[child.at for child in children]])
        # Requests from outside hit the body first, and abort when they come out of it; after the
        # body they hit the group that waits.
        causes += [time for time in cancels if body.at < time <= last]
        if body.pending and last > body.at:
            causes.append(body.at)
        if stop <= last:
            causes.append(stop)
        earliest = min(causes, default=inf)
        if earliest >= abort:
            break
        abort = earliest
    sleeps = body.sleeps + tuple(entry for child in children for entry in child.sleeps)
    outside = any(time <= last for time in cancels)
    if any(ended.how == "error" for ended in [body, *children]):
        return Ended(last, "error", outside, sleeps)
    return Ended(last, "cancelled" if outside else "ok", False, sleeps)


# --- the real thing ------------------------------------------------------------------------------


class Boom(Exception):
    """The failure of a Sleep."""


async def real(node: Any, sleeps: list[tuple[float, float, str]]) -> None:
    if isinstance(node, Sleep):
        how = "cancelled"
        try:
            try:
                await sleep(node.delay)
            except asyncio.CancelledError:
                if node.cleanup:
                    await sleep(node.cleanup)
                raise
            how = "error" if node.fails else "ok"
            if node.fails:
                raise Boom
        finally:
            sleeps.append((node.delay, asyncio.get_running_loop().time(), how))
    elif isinstance(node, Then):
        await real(node.first, sleeps)
        await real(node.second, sleeps)
    elif isinstance(node, Catch):
        try:
            await real(node.body, sleeps)
        except (Boom, BaseExceptionGroup):
            pass
    elif isinstance(node, Timeout):
        try:
            async with timeout(node.delay):
                deadline = current_deadline()
                assert deadline is not None
                assert deadline <= asyncio.get_running_loop().time() + node.delay
                await real(node.body, sleeps)
        except TimeoutError:
            pass
    else:
        async with TaskGroup() as group:
            for child in node.children:
                group.create_task(real(child, sleeps))
            if node.cancel_at is not None:
                asyncio.get_running_loop().call_later(node.cancel_at, group.cancel)
            await real(node.body, sleeps)


def observe(program: Any, cancels: list[float], make: Callable[..., Any]) -> Ended:
    """Run ``program`` in a new task; return how it and its sleeps ended."""

    async def main() -> Ended:
        sleeps: list[tuple[float, float, str]] = []
        loop = asyncio.get_running_loop()
        how = "ok"
        count = -1
        at = -1.0

        async def body() -> None:
            nonlocal how, count, at
            me = asyncio.current_task()
            assert me is not None
            try:
                await real(program, sleeps)
            except asyncio.CancelledError:
                how = "cancelled"
            except (Boom, BaseExceptionGroup):
                how = "error"
            finally:
                at, count = loop.time(), me.cancelling()

        task = make(body(), loop=loop)
        asked = 0

        def cancel() -> None:
            nonlocal asked
            asked += task.cancel()

        for time in cancels:
            loop.call_at(time, cancel)
        await wait([task])
        await sleep(100)  # timers that were left behind would show
        assert count == asked, "requests from outside, no more and no fewer, are still counted"
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return Ended(at, how, sleeps=tuple(sleeps))

    return run_virtual(main())


KINDS = [pytest.param(asyncio.Task, id="C task"), pytest.param(Task, id="own task")]
EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("make", KINDS)
@EXAMPLES
@given(program=_programs(), cancels=st.lists(st.integers(1, 20), max_size=2, unique=True))
def test_ends_as_the_model_says(make: Any, program: Any, cancels: list[int]) -> None:
    program = _spread(program)
    times = sorted(cancel + 2.0**-21 for cancel in cancels)
    expected = model(program, 0.0, times)
    got = observe(program, times, make)
    assert (got.at, got.how) == (expected.at, expected.how)
    assert sorted(got.sleeps) == sorted(expected.sleeps)


@EXAMPLES
@given(
    delays=st.lists(st.integers(0, 10), min_size=1, max_size=8),
    limit=st.integers(1, 4),
    cancel_at=st.one_of(st.none(), st.integers(1, 30)),
)
def test_limited_gather_starts_in_order_and_never_too_many(
    delays: list[int], limit: int, cancel_at: int | None
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        running: set[int] = set()
        started: list[int] = []

        async def work(number: int) -> int:
            started.append(number)
            running.add(number)
            assert len(running) <= limit
            try:
                await sleep(delays[number])
            finally:
                running.discard(number)
            return number

        coros = [work(number) for number in range(len(delays))]
        outer = gather(*coros, limit=limit)
        if cancel_at is not None:
            loop.call_at(cancel_at - 0.5, outer.cancel)
        try:
            assert await outer == list(range(len(delays)))
        except asyncio.CancelledError:
            assert cancel_at is not None
        assert started == list(range(len(started)))
        await sleep(0)
        assert not running
        assert all(coro.cr_frame is None for coro in coros)
        # As a queue of `limit` workers would take it.
        free = [0.0] * limit
        for delay in delays:
            first = min(range(limit), key=free.__getitem__)
            free[first] += delay
        if cancel_at is None:
            assert loop.time() == max(free)

    run_virtual(main())


@EXAMPLES
@given(
    work=st.integers(1, 10), limit=st.integers(1, 10), stubborn=st.booleans(), fails=st.booleans()
)
def test_wait_for_never_loses_a_result_or_an_error(
    work: int, limit: int, stubborn: bool, fails: bool
) -> None:
    async def main() -> None:
        async def body() -> str:
            try:
                await sleep(work)
            except asyncio.CancelledError:
                if not stubborn:
                    raise
            if fails:
                raise Boom
            return "value"

        # Half a second apart, so that they never fall together.
        try:
            outcome = await wait_for(body(), limit + 0.5)
        except TimeoutError:
            outcome = "timeout"
        except Boom:
            outcome = "error"
        in_time = work < limit + 0.5
        if in_time or stubborn:
            assert outcome == ("error" if fails else "value")
        else:
            assert outcome == "timeout"
        assert asyncio.get_running_loop().time() == min(work, limit + 0.5)
        me = asyncio.current_task()
        assert me is not None
        assert me.cancelling() == 0
        await sleep(0)

    run_virtual(main())
