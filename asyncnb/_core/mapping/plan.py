"""Plan: the checked arguments of a map, and what makes them a driver."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from operator import length_hint
from typing import Any

from asyncnb._core.base.errors import THREADS, did_you_mean, no_threads
from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.text import brief_value
from asyncnb._core.mapping.loop_calls import LoopCalls, describe
from asyncnb._core.primitives.futures import iscoroutinefunction
from asyncnb._core.primitives.limiter import check_limit

#: How many calls run on the loop at the same time, unless ``limit`` is given.
LOOP_LIMIT = 100
ON_ERROR = ("continue", "cancel")


@dataclass(slots=True)
class Plan:
    """The checked arguments of one ``map()``."""

    function: Callable[[Any], Any]
    items: Any
    name: str
    label: str | None
    limit: int
    total: int | None
    pacer: Any
    #: Returns what repeats the calls of one run that fail, or None.
    retries: Callable[[], Any]
    timeout: float | None
    #: The save file and what identifies the function in it, or None.
    save: tuple[Any, Any] | None
    key: Any
    ordered: bool
    raises: bool
    return_exceptions: bool
    #: Makes a driver: LoopCalls, ThreadCalls, or what an engine has.
    driver: Callable[..., Any]


def check_map(
    function: Any,
    items: Any,
    *,
    limit: Any,
    rate: Any,
    retry: Any,
    timeout: Any,
    save: Any,
    progress: Any,
    name: Any,
    key: Any,
    ordered: Any,
    on_error: Any,
    return_exceptions: Any,
    driver: Callable[..., Any] | None = None,
) -> Plan:
    """Return the plan for a map. Raises TypeError or ValueError that says what to write instead.

    With ``driver``, the calls are made elsewhere, and ``limit`` is for what makes them.
    """
    check_function(function)
    total = check_items(items)
    for what, text in (("name", name), ("progress", progress)):
        if text is not None and not isinstance(text, str):
            hint = f"; write progress={describe(function)[:-2]!r}" if text is True else ""
            raise TypeError(f"map({what}=...) must be a str or None, not {brief_value(text)}{hint}")
    if key is not None and save is None:
        raise ValueError(
            "map(key=...) says what identifies an item in a save file: pass save=, too, or omit key"
        )
    if on_error not in ON_ERROR:
        hint = did_you_mean(on_error, ON_ERROR) if isinstance(on_error, str) else ""
        raise ValueError(f"map(on_error=...) is 'continue' or 'cancel', not {on_error!r}.{hint}")
    if return_exceptions and on_error == "cancel":
        raise ValueError(
            "map(on_error='cancel') raises the first failure, so return_exceptions=True would "
            "return none: omit one of them"
        )
    if driver is None:
        driver = LoopCalls
        limit = LOOP_LIMIT if limit is None else check_limit("map", limit)
    pacer = None
    retries: Callable[[], Any] = _no_retries
    if rate is not None:
        from asyncnb._core.pacing.rate import as_pacer  # seldom needed

        pacer = as_pacer(rate)
    if retry is not None:
        from asyncnb._core.pacing.retry import as_retry  # seldom needed

        as_retry(retry)  # refuses what makes no sense
        retries = functools.partial(as_retry, retry)
    saved = None
    if save is not None:
        from asyncnb._core.mapping.keys import check_key  # seldom needed
        from asyncnb._core.mapping.save import check_save

        check_key(key)
        saved = check_save(save, function)
    return Plan(
        function=function,
        items=items,
        name=name or progress or describe(function)[:-2].rpartition(".")[2],
        label=progress,
        limit=limit,
        total=total,
        pacer=pacer,
        retries=retries,
        timeout=check_timeout(timeout, what="map(timeout=...)"),
        save=saved,
        key=key,
        ordered=bool(ordered),
        raises=on_error == "cancel",
        return_exceptions=bool(return_exceptions),
        driver=driver,
    )


def _no_retries() -> None:
    return None


def check_items(items: Any) -> int | None:
    """Return how many items there are, None if they have no length; TypeError for no iterable."""
    if not hasattr(items, "__iter__") and not hasattr(items, "__aiter__"):
        hint = f"; write range({items})" if isinstance(items, int) else ""
        raise TypeError(f"map() takes an iterable of items, not {type(items).__name__}{hint}")
    found = length_hint(items, -1)
    return None if found < 0 or hasattr(items, "__aiter__") else found


def check_function(function: Any) -> None:
    """Raise TypeError unless ``function`` can be called on items."""
    if not callable(function):
        hint = ""
        if inspect.iscoroutine(function):
            function.close()
            hint = f": pass the function, {function.__name__}, without calling it"
        raise TypeError(
            f"map() takes a function and its items, not {type(function).__name__}{hint}"
        )
    if inspect.isasyncgenfunction(function):
        raise TypeError(
            f"map() calls a function that returns one result, and {describe(function)} is an async "
            "generator: write an `async def` function that returns a list"
        )


def runs_in_threads(function: Any) -> bool:
    """Return whether ``map`` calls ``function`` in threads: it is no ``async def`` function.

    Nor a partial or an object that is one. Raises TypeError if it cannot be called on items, and
    RuntimeError where threads are not available (Pyodide).
    """
    check_function(function)
    call = getattr(type(function), "__call__", None)  # noqa: B004
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if any(iscoroutinefunction(each) for each in (function, inner, call)):
        return False
    if not THREADS:
        raise no_threads("map() of a plain function", "use an `async def` function")
    return True
