"""The contracts of ``offload`` and ``map``; ``_offload``, imported on first use, does the work."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from asyncnb._core.launched.open_group import OpenGroup
    from asyncnb._core.primitives.tasks import Task

T = TypeVar("T")


def offload(
    fn: Callable[..., T],
    /,
    *args: Any,
    on: Any = "process",
    name: str | None = None,
    group: str | OpenGroup | None = None,
    timeout: float | None = None,
    **kwargs: Any,
) -> Task[T]:
    """Call ``fn(*args, **kwargs)`` elsewhere, as a task of the embedded loop; return the Task.

    ``on`` is "process" (worker processes that the kernel starts), a
    ``concurrent.futures.Executor``, a dask ``Client`` or an ipyparallel view. An executor must run
    its work in threads or processes: an ``InterpreterPoolExecutor`` is refused, and so is work that
    an executor would run inside ``submit``. The function is sent with cloudpickle, so it may be
    defined in the notebook; a coroutine function runs on a new event loop there. Its output appears
    in the launching cell while it runs.

    Cancelling the task stops the work. Work that is still waiting never starts. Running work has
    CancelledError raised in it, so its ``finally`` blocks run; if it has not ended after 5 s, its
    worker process is killed. (Workers of an executor are not killed; work that none of them has
    begun by then is abandoned.) ``name``, ``group`` and ``timeout`` (in seconds, including the time
    spent waiting) are those of ``launch``; to pass keyword arguments with these names to ``fn``,
    use ``functools.partial``.

    Raises OffloadError if something cannot be pickled or exceeds the size limit (256 MB, or the
    value of the option ``offload_limit`` or of the environment variable ASYNCNB_OFFLOAD_LIMIT), and
    TypeError or ValueError for an invalid ``on`` or option; nothing is started then. The task fails
    with the function's exception, with WorkerLostError if its worker is gone, and with OffloadError
    if the worker lacks a module or the result cannot be sent back. From any thread.
    """
    start: Callable[..., Task[T]] = _calls().offload
    return start(fn, args, kwargs, on=on, name=name, group=group, timeout=timeout)


def map(
    fn: Callable[[Any], Any],
    iterable: Iterable[Any] | AsyncIterable[Any],
    *,
    on: Any = None,
    limit: int | None = None,
    ordered: bool = True,
    return_exceptions: bool = False,
    chunksize: int | None = None,
) -> AsyncGenerator[Any, None]:
    """Call ``fn`` on each item and yield the results: ``async for result in map(...)``.

    With ``on=None``, ``fn`` is an ``async def`` function and runs on the running loop; otherwise it
    runs where ``on`` says, as for ``offload``. At most ``limit`` items are in progress: taken from
    the iterable and not yet yielded (by default 100 on the loop, 64 per worker elsewhere, 512 per
    worker of a cluster). So memory stays bounded for any number of items, and a slow consumer slows
    down the rest. Results come in the order of the items, or as they are ready with
    ``ordered=False``.

    The first item that fails raises its exception here, and everything that runs is stopped; with
    ``return_exceptions=True``, the exception is yielded in place of the result. Leaving the loop
    early stops everything, too; ``aclose()`` or ``contextlib.aclosing`` does so at once.

    Elsewhere, items are sent in chunks of about 0.05 s of work, or of ``chunksize`` items. If a
    worker is lost, all items of its chunk fail with WorkerLostError. Raises TypeError or ValueError
    for invalid arguments and OffloadError for a function that cannot be sent, before anything
    starts. On any running loop.
    """
    from asyncnb._offload.map import check_map, stream

    engine, count, chunk = check_map(fn, iterable, on, limit, chunksize)
    return stream(fn, iterable, engine, count, chunk, ordered, return_exceptions)


def launch_on(work: Any, **options: Any) -> Any:
    """``launch(work, on=..., **options)``."""
    return _calls().launch_on(work, **options)


@functools.cache
def _calls() -> Any:
    import asyncnb._offload.calls as calls

    return calls
