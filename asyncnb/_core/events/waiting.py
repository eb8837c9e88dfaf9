"""event, changed, values: await what a widget, a trait, a comm or IPython does.

Nothing is polled: the object's own callbacks wake the waiting task, from whatever thread they run
in. The callbacks are attached while something waits, and no longer.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.text import brief_value, duration
from asyncnb._core.events.choose import sources_of, trait_source
from asyncnb._core.events.occurrence import Disconnect, Occurrence, SourceClosedError
from asyncnb._core.events.sources import Source
from asyncnb._core.events.values import AwaitedEvent, Values
from asyncnb._core.primitives.timeouts import timeout as time_limit

__asyncnb_frames__ = "waits"


def event(
    *sources: Any, kind: str | None = None, timeout: float | None = None
) -> Coroutine[Any, Any, Occurrence]:
    """Wait for the next event of ``sources``; return it as an :class:`Occurrence`.

    ``(await asyncnb.event(yes, no)).source is yes`` says which of two buttons was clicked.

    A source is a widget, another object with traits, a comm, or the name of an event of IPython
    such as ``"post_run_cell"``. The event of a button is a click; that of a widget with a ``value``
    (an Output's ``outputs``, a Tab's ``selected_index``) is a change of it; that of any other
    widget, such as an anywidget, is a custom message; that of any other object is a change of one
    of its traits. ``kind`` overrides this: ``"click"``, ``"message"`` or the name of a trait. Among
    IPython's events, the end of the cell in which the waiting code was started does not count.

    Only what happens while it waits counts; use ``values()`` to miss nothing in between. The wait
    begins when the coroutine is awaited or its task starts, and its callbacks are removed when it
    ends, however it ends. Any loop; the event may come from any thread. While a notebook waits for
    a widget, its messages are handled on the embedded loop, so that a blocked cell does not delay
    them (with ipykernel 7; ipykernel 6 receives nothing while a cell blocks).

    Raises TypeError or ValueError, before it waits, for an object that is not a source, a trait
    that does not exist, a closed widget or an invalid timeout. While it waits, it raises
    TimeoutError after ``timeout`` seconds, and SourceClosedError when the last open source is
    closed.
    """
    found = sources_of("event", sources, kind)
    return _first(found, check_timeout(timeout))


def changed(
    source: Any, name: str = "value", *, timeout: float | None = None
) -> Coroutine[Any, Any, Any]:
    """Wait until the trait ``name`` of a widget or another object changes; return its new value.

    Otherwise like ``event(source, kind=name)``, with the same exceptions.
    """
    found = trait_source("changed", source, name)
    if reason := found.closed():
        raise ValueError(f"changed(): {reason}, so nothing will happen there any more.")
    return _value([found], check_timeout(timeout))


def values(
    *sources: Any, kind: str | None = None, initial: bool = True, buffer: int | None = None
) -> Values[Any]:
    """Return an asynchronous iterator over what happens to ``sources``.

    ``async for value in values(slider)`` gets the current value first, unless ``initial`` is False,
    and then each new one. If a trait had several values while the loop's body was running, only the
    latest is delivered, so a slow body never falls behind. Clicks, messages and IPython's events
    have no current value, and are all delivered in order: up to 65,536 may wait to be read, then
    the oldest are dropped with a warning. ``buffer`` sets, for all kinds, how many may wait; then
    every value of a trait counts.

    With one source the iterator yields the ``value`` of each :class:`Occurrence`: the value of the
    trait, the content of the message, the button of a click, what IPython passes to its callbacks.
    With several sources it yields Occurrences. The sources and ``kind`` are those of ``event()``.

    The callbacks are attached with the first iteration. They are removed by ``aclose()``, at the
    end of ``async with``, and when the loop over it ends, breaks, fails or is cancelled (if the
    iterator was not assigned to a variable). Any loop; events may come from any thread.

    The call raises TypeError and ValueError as ``event()`` does; the iteration raises
    SourceClosedError when the last open source is closed.
    """
    found = sources_of("values", sources, kind)
    if buffer is not None:
        if isinstance(buffer, bool) or not isinstance(buffer, int):
            raise TypeError(f"buffer must be a whole number or None, not {brief_value(buffer)}.")
        if buffer < 1:
            raise ValueError(f"buffer must be 1 or more, or None for the default, not {buffer}.")
    whole = len(found) > 1 or len(getattr(found[0], "names", [""])) > 1
    return Values(found, _itself if whole else _value_of, initial=bool(initial), buffer=buffer)


def _itself(found: Occurrence) -> Occurrence:
    return found


def _value_of(found: Occurrence) -> Any:
    return found.value


async def _value(sources: Sequence[Source], seconds: float | None) -> Any:
    return (await _first(sources, seconds)).value


async def _first(sources: Sequence[Source], seconds: float | None) -> Occurrence:
    what = " or ".join(source.describe() for source in sources)
    waiter = AwaitedEvent(what)
    left = len(sources)

    def settle(found: Occurrence | None, reason: str | None) -> None:
        nonlocal left
        if found is None:
            left -= 1
        if waiter.done() or (found is None and left):
            return
        if found is not None:
            waiter.set_result(found)
        else:
            waiter.set_exception(SourceClosedError(f"{reason}; there is no further {what}."))

    def post(found: Occurrence | None, reason: str | None = None) -> None:
        if waiter.done():
            return
        loop = waiter.get_loop()
        try:
            loop.call_soon_threadsafe(settle, found, reason)
        except RuntimeError:
            if not loop.is_closed():
                raise
            leave()  # nothing waits there any more, and nothing else would end this

    connections: list[Disconnect] = []

    def leave() -> None:
        for disconnect in connections:
            disconnect()

    limit = time_limit(seconds)
    try:
        try:
            for source in sources:
                connections.append(source.connect(post, lambda reason: post(None, reason)))
        except BaseException:
            waiter.cancel()  # what has happened already must not be settled on it
            raise
        async with limit:
            return await waiter  # type: ignore[no-any-return]
    except TimeoutError:
        if not limit.expired() or seconds is None:
            raise
        raise TimeoutError(f"no {what} within {duration(seconds)}") from None
    finally:
        # Nothing else here: after the end of the loop this runs in a finaliser, and the loop's
        # futures cannot be cancelled any more.
        leave()
