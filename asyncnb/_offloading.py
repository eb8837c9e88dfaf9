"""The contracts of ``offload`` and ``map``; ``_offload``, imported on first use, does the work."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from asyncnb._core.launched.open_group import OpenGroup
    from asyncnb._core.mapping.run import MapRun
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
    fn: Callable[[T], Any],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | None = None,
    rate: Any = None,
    retry: Any = None,
    timeout: float | None = None,
    save: Any = None,
    progress: str | None = None,
    name: str | None = None,
    on: Any = None,
    key: Callable[[T], Any] | None = None,
    ordered: bool = True,
    on_error: Literal["continue", "cancel"] = "continue",
    return_exceptions: bool = False,
    chunksize: int | None = None,
) -> MapRun[T, Any]:
    """Return a run that calls ``fn`` on each item, at most ``limit`` at a time; start nothing yet.

    ``results = await asyncnb.map(fn, items)`` is the list of results in the order of the items, and
    ``async for item, outcome in asyncnb.map(fn, items)`` gives each item with its ``Outcome``,
    in order too, or with ``ordered=False`` as they end. Then at most ``limit`` outcomes wait to be
    taken: a slow loop body slows down the calls, and memory stays bounded for any number of items.
    ``MapRun.start`` runs it in the background.

    * ``fn`` is an ``async def`` function, which runs on the running loop (``limit`` is 100 unless
      given), or a plain one, which runs in threads (32). ``on`` sends it elsewhere, as for
      ``offload``: in chunks of about 0.05 s of work, or of ``chunksize`` items; ``limit`` is then
      how many items are sent and not back (64 per worker, 512 per worker of a cluster).
    * ``items`` is any iterable or asynchronous iterable; it is advanced as items can start.
    * ``rate`` limits how often calls start: "60/min", "5/s", "1000/h", a number per second, or an
      ``aiolimiter.AsyncLimiter``.
    * ``retry`` repeats a call that fails: a number of times, an ``asyncnb.Retry`` or an object of
      tenacity. ``timeout`` is the limit of each call in seconds; then it fails with TimeoutError.
    * ``save`` (a path or an ``asyncnb.Save``) writes each outcome to a file: when the run has been
      stopped, for whatever reason, the same call makes only the calls that are missing there.
      ``key`` is a function that returns what identifies an item.
    * ``progress="label"`` shows a bar in the cell. ``name`` is the name of the task, by default
      that label or the name of the function.

    A failed item (after its retries) does not stop the others: ``await`` then raises
    ItemsFailedError, which counts them, ``run.failed`` lists them and ``run.retry()`` runs them
    again. ``on_error="cancel"`` raises the first failure and stops the rest;
    ``return_exceptions=True`` puts exceptions into the list. While a run is iterated, the
    outcomes say what failed and nothing is raised, except with ``on_error="cancel"``. What the
    iterable raises is raised here once the items in progress have ended; KeyboardInterrupt and
    SystemExit in a call stop the run. Leaving the ``async for`` loop early stops everything;
    ``aclose()`` or ``contextlib.aclosing`` does so at once.

    >>> async def square(number):
    ...     return number * number
    >>> await asyncnb.map(square, range(4))
    [0, 1, 4, 9]

    Raises TypeError or ValueError for invalid arguments, and OffloadError for a function that
    cannot be sent; nothing is started then. Any thread.
    """
    from asyncnb._core.mapping.plan import check_map, runs_in_threads
    from asyncnb._core.mapping.run import MapRun

    driver = None
    if on is not None:
        from asyncnb._offload.map import check_engine

        driver, limit = check_engine(fn, on, limit, chunksize)
    elif chunksize is not None:
        raise ValueError("map(chunksize=...) is only for work sent elsewhere with on=...")
    elif runs_in_threads(fn):
        from asyncnb._offload.map import check_threads

        driver, limit = check_threads(limit)
    plan = check_map(
        fn,
        items,
        limit=limit,
        rate=rate,
        retry=retry,
        timeout=timeout,
        save=save,
        progress=progress,
        name=name,
        key=key,
        ordered=ordered,
        on_error=on_error,
        return_exceptions=return_exceptions,
        driver=driver,
    )
    return MapRun(plan)


def launch_on(work: Any, **options: Any) -> Any:
    """``launch(work, on=..., **options)``."""
    return _calls().launch_on(work, **options)


@functools.cache
def _calls() -> Any:
    import asyncnb._offload.calls as calls

    return calls
