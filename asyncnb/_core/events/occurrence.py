"""Occurrence: the facts about one event; and the error for a source that is closed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias


class Occurrence(NamedTuple):
    """One event of a widget, of another object with traits, of a comm or of IPython.

    ``source`` is the object that was awaited, or the name of the IPython event. ``kind`` is
    ``"click"``, ``"message"``, ``"change"`` or ``"ipython"``. ``value`` is the new value of a
    trait, the content of a message, what IPython passes to callbacks of this event (an
    ``ExecutionInfo``, an ``ExecutionResult`` or None), and for a click the button. ``name`` is the
    name of the trait or of the IPython event, ``""`` for others; ``buffers`` are the binary buffers
    of a message; ``time`` is the ``time.time()`` at which the event arrived.
    """

    source: Any
    kind: str
    value: Any
    name: str
    buffers: tuple[Any, ...]
    time: float


class SourceClosedError(RuntimeError):
    """The awaited widget or comm was closed: no more events will come from it."""


#: Receives an occurrence. Any thread; never raises.
Emit: TypeAlias = Callable[[Occurrence], None]
#: Receives the sentence that says why no further occurrence will come. Any thread.
Lost: TypeAlias = Callable[[str], None]
Disconnect: TypeAlias = Callable[[], None]


def occurrence(
    source: Any, kind: str, value: Any, *, name: str = "", buffers: Any = None
) -> Occurrence:
    """Return an Occurrence of now."""
    return Occurrence(source, kind, value, name, tuple(buffers or ()), time.time())
