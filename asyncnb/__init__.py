"""asyncnb: structured concurrency for notebooks.

``%load_ext asyncnb`` starts the embedded loop, an asyncio event loop on its own thread, and adds
the magics ``%%atask``, ``%%agroup``, ``%%amap``, ``%tasks`` and ``%asyncnb``. In Python::

    import asyncnb

    task = asyncnb.launch(fetch(url), name="page")   # from any thread and any loop
    page = await task                                 # or task.join() in sync code
    asyncnb.cancel("page*")

With ``import asyncnb as aio`` it is a drop-in replacement for asyncio's tasks, futures, groups,
timeouts and waiting functions, with the semantics of the newest Python on every supported one.

Map of the package: ``_core`` is plain Python (the loop, tasks, their registry), ``_kernel`` is the
IPython side (cells, output, magics), and ``_extension`` is the one module that connects them.
"""

from __future__ import annotations

import gc
import importlib
from asyncio import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenBarrierError,
    CancelledError,
    InvalidStateError,
    QueueEmpty,
    QueueFull,
    TimeoutError,
    get_running_loop,
)
from typing import TYPE_CHECKING, Any

from asyncnb._core.loop import prerequisites as _prerequisites

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._core.base.errors import (
        EmbeddedLoopError,
        ItemsFailedError,
        NotRunError,
        OffloadError,
        RemoteError,
        ResultDroppedError,
        SaveError,
        TaskNotFoundError,
        TasksFailedError,
        WorkerLostError,
        WrongThreadError,
    )
    from asyncnb._core.base.progress import track
    from asyncnb._core.events.occurrence import Occurrence, SourceClosedError
    from asyncnb._core.events.values import Values
    from asyncnb._core.events.waiting import changed, event, values
    from asyncnb._core.introspection.call_graph import (
        capture_call_graph,
        format_call_graph,
        print_call_graph,
    )
    from asyncnb._core.introspection.info import CallsInfo, CellRef, TaskInfo
    from asyncnb._core.launched.launch import cancel, launch, task, tasks
    from asyncnb._core.launched.named_groups import open_group
    from asyncnb._core.launched.notices import notify
    from asyncnb._core.launched.run import run
    from asyncnb._core.loop.current import embedded_loop
    from asyncnb._core.loop.embedded import EmbeddedLoop
    from asyncnb._core.loop.statistics import LoopStatistics
    from asyncnb._core.mapping.counts import MapCounts
    from asyncnb._core.mapping.outcome import Outcome
    from asyncnb._core.mapping.run import MapRun
    from asyncnb._core.mapping.save import Save
    from asyncnb._core.pacing.policy import Retry
    from asyncnb._core.pacing.rate import Rate
    from asyncnb._core.primitives.all_tasks import all_tasks
    from asyncnb._core.primitives.as_completed import as_completed
    from asyncnb._core.primitives.create_task import (
        create_eager_task_factory,
        create_task,
        eager_task_factory,
        ensure_future,
    )
    from asyncnb._core.primitives.futures import (
        Future,
        iscoroutine,
        iscoroutinefunction,
        isfuture,
        wrap_future,
    )
    from asyncnb._core.primitives.gather import gather
    from asyncnb._core.primitives.groups import TaskGroup, current_deadline
    from asyncnb._core.primitives.shield import shield
    from asyncnb._core.primitives.sync.barrier import Barrier
    from asyncnb._core.primitives.sync.condition import Condition
    from asyncnb._core.primitives.sync.event import Event
    from asyncnb._core.primitives.sync.lock import Lock
    from asyncnb._core.primitives.sync.queues import (
        LifoQueue,
        PriorityQueue,
        Queue,
        QueueShutDown,
    )
    from asyncnb._core.primitives.sync.semaphores import BoundedSemaphore, Semaphore
    from asyncnb._core.primitives.tasks import Task, current_task
    from asyncnb._core.primitives.threads import (
        Runner,
        new_event_loop,
        run_coroutine_threadsafe,
        to_thread,
    )
    from asyncnb._core.primitives.timeouts import Timeout, timeout, timeout_at
    from asyncnb._core.primitives.waiting import sleep, wait, wait_for
    from asyncnb._core.profiling.choose import profile
    from asyncnb._core.profiling.profile import Profile
    from asyncnb._core.timeline.timeline import Timeline, export_trace, record, timeline
    from asyncnb._offloading import map, offload

#: The modules of the public names. Each is imported when one of its names is first used, so that
#: `import asyncnb` and `%load_ext asyncnb` do not wait for what they do not need.
_MODULES = {
    "asyncnb._core.base.errors": (
        "EmbeddedLoopError ItemsFailedError OffloadError RemoteError ResultDroppedError SaveError "
        "EmbeddedLoopError NotRunError OffloadError RemoteError ResultDroppedError "
        "TaskNotFoundError TasksFailedError WorkerLostError WrongThreadError"
    ),
    "asyncnb._core.base.progress": "track",
    "asyncnb._core.events.occurrence": "Occurrence SourceClosedError",
    "asyncnb._core.events.values": "Values",
    "asyncnb._core.events.waiting": "changed event values",
    "asyncnb._core.introspection.call_graph": (
        "capture_call_graph format_call_graph print_call_graph"
    ),
    "asyncnb._core.introspection.info": "CallsInfo CellRef TaskInfo",
    "asyncnb._core.launched.launch": "cancel launch task tasks",
    "asyncnb._core.launched.named_groups": "open_group",
    "asyncnb._core.launched.notices": "notify",
    "asyncnb._core.launched.run": "run",
    "asyncnb._core.loop.current": "embedded_loop",
    "asyncnb._core.loop.embedded": "EmbeddedLoop",
    "asyncnb._core.loop.statistics": "LoopStatistics",
    "asyncnb._core.mapping.counts": "MapCounts",
    "asyncnb._core.mapping.outcome": "Outcome",
    "asyncnb._core.mapping.run": "MapRun",
    "asyncnb._core.mapping.save": "Save",
    "asyncnb._core.pacing.rate": "Rate",
    "asyncnb._core.pacing.policy": "Retry",
    "asyncnb._core.primitives.all_tasks": "all_tasks",
    "asyncnb._core.primitives.as_completed": "as_completed",
    "asyncnb._core.primitives.create_task": (
        "create_eager_task_factory create_task eager_task_factory ensure_future"
    ),
    "asyncnb._core.primitives.futures": (
        "Future iscoroutine iscoroutinefunction isfuture wrap_future"
    ),
    "asyncnb._core.primitives.gather": "gather",
    "asyncnb._core.primitives.groups": "TaskGroup current_deadline",
    "asyncnb._core.primitives.shield": "shield",
    "asyncnb._core.primitives.sync.barrier": "Barrier",
    "asyncnb._core.primitives.sync.condition": "Condition",
    "asyncnb._core.primitives.sync.event": "Event",
    "asyncnb._core.primitives.sync.lock": "Lock",
    "asyncnb._core.primitives.sync.queues": "LifoQueue PriorityQueue Queue QueueShutDown",
    "asyncnb._core.primitives.sync.semaphores": "BoundedSemaphore Semaphore",
    "asyncnb._core.primitives.tasks": "Task current_task",
    "asyncnb._core.primitives.threads": (
        "Runner new_event_loop run_coroutine_threadsafe to_thread"
    ),
    "asyncnb._core.primitives.timeouts": "Timeout timeout timeout_at",
    "asyncnb._core.primitives.waiting": "sleep wait wait_for",
    "asyncnb._core.profiling.choose": "profile",
    "asyncnb._core.profiling.profile": "Profile",
    "asyncnb._core.timeline.timeline": "Timeline export_trace record timeline",
    "asyncnb._offloading": "map offload",
}
_LATER = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import the names that ``_LATER`` lists on first use (PEP 562)."""
    if name not in _LATER:
        raise AttributeError(f"module 'asyncnb' has no attribute {name!r}")
    if name == "launch":
        _prepare_launching()
    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = [
    "ALL_COMPLETED",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "CancelledError",
    "CallsInfo",
    "CellRef",
    "Condition",
    "EmbeddedLoop",
    "EmbeddedLoopError",
    "Event",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Future",
    "InvalidStateError",
    "ItemsFailedError",
    "LifoQueue",
    "Lock",
    "LoopStatistics",
    "MapCounts",
    "MapRun",
    "NotRunError",
    "Occurrence",
    "OffloadError",
    "Outcome",
    "Profile",
    "Rate",
    "PriorityQueue",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "RemoteError",
    "ResultDroppedError",
    "Retry",
    "Runner",
    "Save",
    "SaveError",
    "Semaphore",
    "SourceClosedError",
    "Task",
    "TaskGroup",
    "TaskInfo",
    "TaskNotFoundError",
    "TasksFailedError",
    "Timeline",
    "Timeout",
    "TimeoutError",
    "Values",
    "WorkerLostError",
    "WrongThreadError",
    "all_tasks",
    "as_completed",
    "cancel",
    "capture_call_graph",
    "changed",
    "create_eager_task_factory",
    "create_task",
    "current_deadline",
    "current_task",
    "dashboard",
    "eager_task_factory",
    "embedded_loop",
    "ensure_future",
    "event",
    "export_trace",
    "format_call_graph",
    "gather",
    "get_running_loop",
    "iscoroutine",
    "iscoroutinefunction",
    "isfuture",
    "launch",
    "map",
    "new_event_loop",
    "notify",
    "offload",
    "open_group",
    "print_call_graph",
    "profile",
    "record",
    "run",
    "run_coroutine_threadsafe",
    "shield",
    "sleep",
    "task",
    "tasks",
    "timeline",
    "timeout",
    "timeout_at",
    "to_thread",
    "track",
    "values",
    "wait",
    "wait_for",
    "wrap_future",
]


def _launch_elsewhere(work: Any, **options: Any) -> Any:
    from asyncnb._offloading import launch_on  # imports many modules

    return launch_on(work, **options)


def _prepare_launching() -> None:
    from asyncnb._core.launched import launch  # imports what ends tasks when a loop dies

    launch.use_for_on(_launch_elsewhere)


_prerequisites.before_start(_prepare_launching)


def dashboard(**options: Any) -> Any:
    """Return a live dashboard of all tasks; display it as the last expression of a cell.

    ``height`` is the height of its task list in pixels. You can cancel, pause and rename tasks and
    set their time limits in it, even while a cell is running. Where widgets cannot be shown, a
    table appears instead. Main thread.

    Raises RuntimeError unless ``%load_ext asyncnb`` was run, and TypeError or TraitError for an
    unknown option or an invalid value.
    """
    from asyncnb._extension import dashboard

    return dashboard(**options)


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Start the embedded loop and hook into this shell, for ``%load_ext asyncnb``."""
    # Loading makes thousands of objects that stay, and the collector would look through those of
    # the whole kernel for each few thousand: a tenth of the time.
    collecting = gc.isenabled()
    try:
        gc.disable()
        from asyncnb._extension import load

        load(ip)
    finally:
        if collecting:
            gc.enable()


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """End the background tasks and restore the shell, for ``%unload_ext asyncnb``."""
    from asyncnb._extension import unload

    unload(ip)
