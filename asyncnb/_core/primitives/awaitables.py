"""Awaitables: distinguish coroutines, futures and other objects that can be awaited."""

from __future__ import annotations

import asyncio
import collections.abc
import inspect
import types
from asyncio import isfuture
from collections.abc import Coroutine
from typing import Any, TypeGuard

__all__ = ["iscoroutine", "iscoroutinefunction", "isfuture"]


_coroutine_types: set[type] = {types.CoroutineType}


def iscoroutine(obj: object) -> TypeGuard[Coroutine[Any, Any, Any]]:
    """Return whether *obj* is a coroutine object.

    True for native coroutines and for instances of :class:`collections.abc.Coroutine` (Cython's,
    for example); False for plain generators, on 3.11 too. Never raises; any thread.
    Source: CPython 3.15 (gh-102748).
    """
    if type(obj) in _coroutine_types:
        return True
    if isinstance(obj, collections.abc.Coroutine):
        # isinstance() with an ABC is slow: cache the type, but not so many that classes are leaked.
        if len(_coroutine_types) < 100:
            _coroutine_types.add(type(obj))
        return True
    return False


def iscoroutinefunction(func: object) -> bool:
    """Return whether calling *func* returns a coroutine.

    True for ``async def`` functions (also inside ``functools.partial``), for those marked with
    ``inspect.markcoroutinefunction`` and for those marked the old way with
    ``asyncio.coroutines._is_coroutine``. Never raises; any thread. Source: CPython 3.15; no
    deprecation warning, unlike ``asyncio.iscoroutinefunction`` on 3.14.
    """
    if inspect.iscoroutinefunction(func):
        return True
    marker = getattr(asyncio.coroutines, "_is_coroutine", None)
    return marker is not None and getattr(func, "_is_coroutine", None) is marker


class close_refused:
    """A context manager that closes an unstarted coroutine if its block raises.

    Nothing will await the coroutine then. The exception propagates unchanged. For code that rarely
    runs.
    """

    __slots__ = ("_awaitable",)

    def __init__(self, awaitable: object) -> None:
        self._awaitable = awaitable

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: object, tb: object) -> None:
        if exc is not None:
            close_unstarted(self._awaitable)
        self._awaitable = None


def close_unstarted(awaitable: object) -> None:
    """Close a coroutine that has not started, so that no "never awaited" warning is issued."""
    if (
        type(awaitable) is types.CoroutineType
        and inspect.getcoroutinestate(awaitable) == inspect.CORO_CREATED
    ):
        awaitable.close()


async def _await_it(awaitable: Any) -> Any:
    return await awaitable


def as_coroutine(awaitable: Any) -> Coroutine[Any, Any, Any]:
    """Return *awaitable* as a coroutine; ``TypeError`` if it cannot be awaited. Any thread."""
    if iscoroutine(awaitable):
        return awaitable
    if inspect.isawaitable(awaitable):
        return _await_it(awaitable)
    hint = ""
    if iscoroutinefunction(awaitable):
        hint = f": call it, {getattr(awaitable, '__name__', 'f')}()"
    elif awaitable is None:
        hint = ": that call has already run and returned None; did you mean `async def`?"
    raise TypeError(
        f"An asyncio.Future, a coroutine or an awaitable is required, got {awaitable!r}{hint}"
    )
