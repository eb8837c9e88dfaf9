"""``offload`` and ``map``: their contracts. The work is done in ``_offload``, imported on use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from asyncnb._core import _launch

if TYPE_CHECKING:
    from asyncnb._core._open_groups import OpenGroup
    from asyncnb._core._tasks import Task

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
    a dask ``Client`` or an ipyparallel view. The function goes with cloudpickle, so it may be one
    of the notebook; a coroutine function runs on a loop of its own there. What it prints lands in
    the launching cell while it runs. Cancelling the task stops the work: one that waits never
    starts, one that runs has CancelledError raised in it, so that its ``finally`` blocks run, and
    its worker process is killed if it has not ended after 5 s. ``name``, ``group`` and ``timeout``
    (seconds, waiting included) are those of ``launch``; for keywords of these names use
    ``functools.partial``.

    Raises OffloadError if something cannot be pickled or is larger than the limit (256 MB, or what
    the environment variable ASYNCNB_OFFLOAD_LIMIT says), TypeError or ValueError for a wrong
    ``on`` or option; nothing is started then. The task fails with what the function raised, with
    WorkerLostError if its worker is gone, and with OffloadError if the worker lacks a module or
    the result cannot be sent back. From any thread.
    """
    from asyncnb._offload._calls import offload as start

    return start(fn, args, kwargs, on=on, name=name, group=group, timeout=timeout)


def _launch_on(work: Any, **options: Any) -> Any:
    from asyncnb._offload._calls import launch_on

    return launch_on(work, **options)


_launch.elsewhere = _launch_on
