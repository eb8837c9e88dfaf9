"""``offload`` and ``map``: their contracts. The work is done in ``_offload``, imported on use."""

from __future__ import annotations

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

    ``on`` is "process" (worker processes of the kernel's own), a ``concurrent.futures.Executor``,
    a dask ``Client`` or an ipyparallel view. An executor has to run its work in threads or
    processes: an ``InterpreterPoolExecutor`` is refused, and so is work by an executor that would
    run it inside of ``submit``. The function goes with cloudpickle, so it may be one of the
    notebook; a coroutine function runs on a loop of its own there. What it prints lands in the
    launching cell while it runs. Cancelling the task stops the work: one that waits never starts,
    one that runs has CancelledError raised in it, so that its ``finally`` blocks run, and its
    worker process is killed if it has not ended after 5 s. (Those of an executor are left alone;
    work that none of them has begun by then is given up.) ``name``, ``group`` and ``timeout``
    (seconds, waiting included) are those of ``launch``; for keywords of these names use
    ``functools.partial``.

    Raises OffloadError if something cannot be pickled or is larger than the limit (256 MB, or what
    the option ``offload_limit`` or the variable ASYNCNB_OFFLOAD_LIMIT says), TypeError or
    ValueError for a wrong ``on`` or option; nothing is started then. The task fails with what the
    function raised, with WorkerLostError if its worker is gone, and with OffloadError if the worker
    lacks a module or the result cannot be sent back. From any thread.
    """
    from asyncnb._offload.calls import offload as start

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
    """Call ``fn`` with each item and iterate over the results: ``async for r in map(...)``.

    With ``on=None`` an ``async def`` function runs on the running loop; else ``fn`` runs where
    ``on`` says, as for ``offload``. At most ``limit`` items are taken from the iterable and not yet
    given out (100 on the loop, 64 for each worker elsewhere, 512 on a cluster), so that memory
    stays bounded however many there are, and whoever is slow to take results slows down the rest.
    Results come in the order of the items, or with ``ordered=False`` as they are ready.

    The first item that fails raises its exception here, and all that runs is stopped; with
    ``return_exceptions=True`` the exception takes the place of the result. Leaving the iteration
    early stops what runs, too; ``aclose()``, or ``contextlib.aclosing``, does so at once.

    Elsewhere items travel in chunks: as many as take about 0.05 s, or ``chunksize``. If a worker
    is lost, all items of its chunk fail with WorkerLostError. Raises TypeError or ValueError for
    wrong arguments and OffloadError for a function that cannot be sent, before anything starts.
    On any running loop.
    """
    from asyncnb._offload.map import check_map, stream

    engine, most, chunk = check_map(fn, iterable, on, limit, chunksize)
    return stream(fn, iterable, engine, most, chunk, ordered, return_exceptions)


def launch_on(work: Any, **options: Any) -> Any:
    """``launch(work, on=..., **options)``."""
    from asyncnb._offload.calls import launch_on as start

    return start(work, **options)
