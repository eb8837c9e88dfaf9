"""Outcome: the result or the exception of one item of a map."""

from __future__ import annotations

from asyncio import CancelledError
from typing import Generic, TypeVar, cast

from asyncnb._core.base.errors import format_exception_line
from asyncnb._core.base.text import brief

T = TypeVar("T")
R = TypeVar("R")


class Outcome(Generic[T, R]):
    """The outcome of one item of ``asyncnb.map``: its result or its exception. Any thread.

    ``index`` is the position of ``item`` among the items, from 0. ``key`` is what identifies it in
    a save file, None for a run without one. ``attempts`` is the number of calls made for it,
    0 if its result came from the file; then ``saved`` is True. ``seconds`` is the time from its
    first call to its end, with all retries and the waits between them.
    """

    __slots__ = ("_error", "_value", "attempts", "index", "item", "key", "saved", "seconds")

    def __init__(
        self,
        index: int,
        item: T,
        value: R | None = None,
        error: BaseException | None = None,
        *,
        key: str | None = None,
        attempts: int = 1,
        seconds: float = 0.0,
        saved: bool = False,
    ) -> None:
        self.index: int = index
        self.item: T = item
        self.key: str | None = key
        self.attempts: int = attempts
        self.seconds: float = seconds
        self.saved: bool = saved
        self._value = value
        self._error = error

    @property
    def ok(self) -> bool:
        """Whether the call returned a result."""
        return self._error is None

    def result(self) -> R:
        """Return the result of the call, or raise its exception."""
        if self._error is not None:
            raise self._error
        return cast("R", self._value)

    def exception(self) -> BaseException | None:
        """Return the exception of the call, or None if there is a result.

        A CancelledError means that the item was cancelled, not the run.
        """
        return self._error

    def __repr__(self) -> str:
        if self._error is None:
            end = brief(self._value, 40)
        elif isinstance(self._error, CancelledError):
            end = "cancelled"
        else:
            end = brief(format_exception_line(self._error), 80).strip("'\"")
        return f"<Outcome {self.index} of {brief(self.item, 40)}: {end}>"
