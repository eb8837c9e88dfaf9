"""Finds the engine for what a user passes as ``on=``."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.errors import did_you_mean
from asyncnb._offload.jobs import Engine

#: The names that ``on=`` takes besides an object.
NAMES = ("process",)


def engine_for(on: Any) -> Engine:
    """Return the engine for ``on``: "process", an Executor, a dask Client, an ipyparallel view.

    Raises TypeError or ValueError with a message that says what it may be.
    """
    if isinstance(on, str):
        if on == "process":
            from asyncnb._offload.engines.process import process_engine

            return process_engine()
        raise ValueError(
            f"on={on!r}: it takes 'process', or an executor, dask client or ipyparallel view "
            f"itself.{did_you_mean(on, NAMES)}"
        )
    kind: Any = type(on)
    return _finder(kind)(on)


# Reading all the names of a class and of those above it would be a tenth of a call's price.
@functools.lru_cache(maxsize=64)
def _finder(kind: type) -> Callable[[Any], Engine]:
    """Return what finds the engine for an instance of this class."""
    if _has_class(kind, "concurrent.futures.interpreter", "InterpreterPoolExecutor"):
        # It is a ThreadPoolExecutor, but would pickle the call. Its interpreters allow no daemon
        # threads either, which a connection for output and cancels needs.
        raise TypeError(
            f"on= takes no {kind.__name__}: work in another interpreter could not be "
            "cancelled, and its output would be lost. Use on='process', or pass a "
            "ThreadPoolExecutor or a ProcessPoolExecutor."
        )
    if issubclass(kind, concurrent.futures.ThreadPoolExecutor):
        from asyncnb._offload.engines.thread_pool import ThreadPoolEngine

        return ThreadPoolEngine
    if found := _of_a_cluster(kind):
        return found
    if issubclass(kind, concurrent.futures.Executor):
        from asyncnb._offload.engines.executor import executor_engine

        return executor_engine
    raise TypeError(
        f"on= takes 'process', a concurrent.futures.Executor, a dask Client or an ipyparallel "
        f"view, not {kind.__name__}."
    )


def _has_class(kind: type, module: str, name: str) -> bool:
    """Return whether ``kind`` is that class or a subclass, without importing it."""
    return any(c.__module__ == module and c.__name__ == name for c in kind.__mro__)


def _of_a_cluster(kind: type) -> Callable[[Any], Engine] | None:
    """Return what finds the engine if ``kind`` is dask's or ipyparallel's; import neither."""
    names = {(c.__module__.partition(".")[0], c.__name__) for c in kind.__mro__}
    if ("distributed", "ClientExecutor") in names or ("distributed", "Client") in names:
        from asyncnb._offload.engines.dask import dask_engine

        # dask's own executor hides what runs from its client
        inner = ("distributed", "ClientExecutor") in names
        return lambda on: dask_engine(on._client if inner else on)
    if any(
        module == "ipyparallel" and name in ("View", "ViewExecutor", "Client")
        for module, name in names
    ):
        from asyncnb._offload.engines.ipyparallel import ipyparallel_engine

        return lambda on: ipyparallel_engine(getattr(on, "view", on))
    return None
