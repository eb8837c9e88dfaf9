"""The short ``call_soon`` and timers do what the standard ones do, and are the ones in use.

They write to parts of the standard loop that are private, so they have an upper bound of Pythons.
Where it is passed asyncnb is right but slower; the first test here says so, and this file tells
whether the bound may be raised.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncnb import timeout
from asyncnb._core.loop import base_class as _base_class
from asyncnb._core.loop.fast_call_soon import FastCallSoonLoop
from asyncnb._core.primitives import fast_timer as _timers
from asyncnb._core.primitives.fast_timer import FastTimer
from asyncnb._core.primitives.timeouts import InnermostTimeouts


class OnStandardLoop(FastCallSoonLoop, asyncio.SelectorEventLoop):
    pass


LOOPS = [asyncio.SelectorEventLoop, OnStandardLoop]


@pytest.fixture(params=LOOPS, ids=["standard", "fast"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.SelectorEventLoop]:
    """Each test of behaviour runs on both: what they do must be the same."""
    loop: asyncio.SelectorEventLoop = request.param()
    yield loop
    loop.close()


def run_ready(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_the_fast_ones_are_tested_on_this_python() -> None:
    assert _timers.KNOWN, (
        f"Python {sys.version_info.major}.{sys.version_info.minor} gets the standard call_soon and "
        "timers, which are slower: compare its asyncio/base_events.py and events.py with those of "
        "the Python before, raise the bound of _timers.KNOWN, and run this file"
    )


def test_an_iteration_of_the_standard_loop_uses_no_part_that_the_fast_ones_do_not_know() -> None:
    names = asyncio.BaseEventLoop._run_once.__code__.co_names  # type: ignore[attr-defined]
    of_handles = {"_cancelled", "_run", "_scheduled", "_when"}
    of_the_loop = {"_ready", "_scheduled", "_timer_cancelled_count", "_debug", "_stopping"}
    for_itself = {"_selector", "_process_events", "_clock_resolution", "_current_handle"}
    for_itself |= {"_format_handle", "_MIN_SCHEDULED_TIMER_HANDLES"}
    for_itself |= {"_MIN_CANCELLED_TIMER_HANDLES_FRACTION"}
    private = {name for name in names if name.startswith("_")}
    assert private <= of_handles | of_the_loop | for_itself
    assert private >= of_handles | of_the_loop


def test_the_fast_call_soon_is_the_one_in_use() -> None:
    base = _base_class.with_fast_call_soon(asyncio.SelectorEventLoop)
    assert base.call_soon is FastCallSoonLoop.__dict__["call_soon"]
    assert OnStandardLoop.call_soon is not asyncio.BaseEventLoop.call_soon
    # Nothing of the standard loop overrides it for its own use, or calls the parts by themselves
    # to get to the queue: what tasks and transports schedule comes through here.
    assert asyncio.SelectorEventLoop.call_soon is asyncio.BaseEventLoop.call_soon


def test_the_fast_timer_is_the_one_in_use() -> None:
    async def main() -> type:
        scope = timeout(60)
        async with scope:
            return type(scope._handle)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(main()) is FastTimer


def test_a_loop_with_its_own_call_at_uses_it() -> None:
    class Own(asyncio.SelectorEventLoop):
        def call_at(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            return super().call_at(*args, **kwargs)

    for kind, fast in ((Own, False), (asyncio.SelectorEventLoop, True)):
        loop = kind()
        assert _timers.takes_fast_timers(loop) is fast is InnermostTimeouts(loop).fast
        loop.close()


def test_callbacks_run_in_order_and_in_their_context(loop: asyncio.SelectorEventLoop) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="outside")
    context = contextvars.copy_context()
    context.run(var.set, "inside")
    seen: list[object] = []
    loop.call_soon(lambda a, b: seen.append((a, b, var.get())), 1, 2, context=context)
    cancelled = loop.call_soon(seen.append, "cancelled")
    cancelled.cancel()
    loop.call_soon(lambda: seen.append(var.get()))
    loop.call_later(0, seen.append, "timer")
    loop.call_soon_threadsafe(seen.append, "threadsafe")
    run_ready(loop)
    assert seen == [(1, 2, "inside"), "outside", "threadsafe", "timer"]
    assert cancelled.cancelled()


def test_a_callback_scheduled_by_a_callback_waits_for_the_next_iteration(
    loop: asyncio.SelectorEventLoop,
) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "made")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    run_ready(loop)
    assert seen == ["first", "second"]
    run_ready(loop)
    assert seen == ["first", "second", "made"]


def test_a_handle_is_the_standard_kind_with_the_standard_repr(
    loop: asyncio.SelectorEventLoop,
) -> None:
    context = contextvars.copy_context()
    handle = loop.call_soon(print, 1, context=context)
    assert type(handle) is asyncio.Handle
    assert repr(handle) == repr(asyncio.Handle(print, (1,), loop))
    assert handle._callback is print and handle._args == (1,)
    if hasattr(handle, "get_context"):  # 3.12
        assert handle.get_context() is context
    handle.cancel()
    assert repr(handle) == "<Handle cancelled>"


def test_a_callback_that_fails_reaches_the_exception_handler(
    loop: asyncio.SelectorEventLoop,
) -> None:
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    handle = loop.call_soon(int, "no number")
    run_ready(loop)
    (context,) = told
    assert isinstance(context["exception"], ValueError)
    assert context["handle"] is handle


def test_a_closed_loop_refuses_callbacks(loop: asyncio.SelectorEventLoop) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon(print)


def test_debug_mode_finds_wrong_callbacks(loop: asyncio.SelectorEventLoop) -> None:
    async def work() -> None: ...

    loop.set_debug(True)
    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.call_soon(work)  # type: ignore[arg-type]
    for handle in (loop.call_soon(print), loop.call_at(loop.time(), print)):
        assert f"created at {__file__}" in repr(handle)


# -- timers -------------------------------------------------------------------------------------

Make = Callable[[asyncio.AbstractEventLoop, float, Callable[[], object]], asyncio.TimerHandle]


def standard_timer(
    loop: asyncio.AbstractEventLoop, when: float, fn: Callable[[], object]
) -> asyncio.TimerHandle:
    return loop.call_at(when, fn, context=contextvars.Context())


def fast_timer(loop: Any, when: float, fn: Callable[[], object]) -> asyncio.TimerHandle:
    from heapq import heappush

    timer = FastTimer(when, fn, loop, contextvars.Context())
    heappush(loop._scheduled, timer)  # as Timeout.enter does
    return timer


@pytest.fixture(params=[standard_timer, fast_timer], ids=["standard", "fast"])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
def plain_loop() -> Iterator[asyncio.SelectorEventLoop]:
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


def test_timers_fire_in_order_in_their_context(
    plain_loop: asyncio.SelectorEventLoop, make: Make
) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="empty")
    var.set("the caller's")
    now, seen = plain_loop.time() - 1, []
    make(plain_loop, now + 0.2, lambda: seen.append(("second", var.get())))
    make(plain_loop, now + 0.1, lambda: seen.append(("first", var.get())))
    make(plain_loop, now + 0.15, lambda: seen.append("cancelled")).cancel()
    late = make(plain_loop, now + 3600, lambda: seen.append("late"))
    run_ready(plain_loop)
    assert seen == [("first", "empty"), ("second", "empty")]
    assert late.when() == now + 3600 and not late.cancelled()


@pytest.mark.parametrize("now", [8.0, 2.0**53])  # at the second, 3.15 alone sees time pass
def test_a_timer_due_at_this_moment_fires_when_the_standard_one_does(
    plain_loop: asyncio.SelectorEventLoop, now: float
) -> None:
    plain_loop.time = lambda: now  # type: ignore[method-assign]
    seen: list[str] = []
    standard_timer(plain_loop, now, lambda: seen.append("standard"))
    fast_timer(plain_loop, now, lambda: seen.append("fast"))
    run_ready(plain_loop)
    assert seen in ([], ["standard", "fast"])
    assert seen or now > 8


def test_a_timer_has_all_slots_of_the_standard_one_with_the_same_values(
    plain_loop: asyncio.SelectorEventLoop,
) -> None:
    when = plain_loop.time() + 60
    theirs = standard_timer(plain_loop, when, print)
    ours = fast_timer(plain_loop, when, print)
    slots = {
        name for kind in asyncio.TimerHandle.__mro__ for name in getattr(kind, "__slots__", ())
    }
    slots -= {"__weakref__"}
    assert slots >= {"_when", "_callback", "_cancelled", "_scheduled"}
    for state in ("waiting", "cancelled"):
        differing = {
            name: (getattr(theirs, name), getattr(ours, name, "missing"))
            for name in slots - {"_context"}
            if getattr(ours, name, "missing") != getattr(theirs, name)
        }
        assert not differing, (state, differing)
        for one in (theirs, ours):
            one.cancel()


def test_a_timer_has_the_standard_repr(plain_loop: asyncio.SelectorEventLoop) -> None:
    when = plain_loop.time() + 60
    theirs, ours = standard_timer(plain_loop, when, print), fast_timer(plain_loop, when, print)
    assert repr(ours) == repr(theirs).replace("TimerHandle", "FastTimer")
    theirs.cancel()
    ours.cancel()
    assert repr(ours) == repr(theirs).replace("TimerHandle", "FastTimer")


def test_the_loop_clears_its_heap_of_cancelled_timers(
    plain_loop: asyncio.SelectorEventLoop, make: Make
) -> None:
    loop: Any = plain_loop
    now = plain_loop.time()
    first = make(plain_loop, now + 60, print)  # so that the cancelled ones are not at the head
    timers = [make(plain_loop, now + 61 + n, print) for n in range(300)]
    for timer in timers:
        timer.cancel()
        timer.cancel()  # counted once
    assert loop._timer_cancelled_count == 300
    run_ready(plain_loop)
    assert loop._scheduled == [first]
    assert loop._timer_cancelled_count == 0
    assert not timers[0]._scheduled  # type: ignore[attr-defined]


def test_the_loop_takes_cancelled_timers_from_the_head_of_its_heap(
    plain_loop: asyncio.SelectorEventLoop, make: Make
) -> None:
    loop: Any = plain_loop
    make(plain_loop, plain_loop.time() + 60, print).cancel()
    run_ready(plain_loop)
    assert loop._scheduled == []
    assert loop._timer_cancelled_count == 0


def test_debug_mode_gets_the_standard_timer() -> None:
    async def main() -> type:
        scope = timeout(60)
        async with scope:
            return type(scope._handle)

    with asyncio.Runner(debug=True, loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(main()) is asyncio.TimerHandle
