"""Put asyncnb in asyncio's place, for the interpreter's own tests to run against it.

Only in the process of :mod:`run_suite`: modules that answer for ``asyncio`` and its submodules,
with asyncnb's names over the standard ones. The real modules are not changed.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
import unittest.async_case
from typing import Any

from asyncnb._core.introspection import call_graph as _graph
from asyncnb._core.primitives import all_tasks as _all_tasks
from asyncnb._core.primitives import as_completed as _as_completed
from asyncnb._core.primitives import create_task as _create_task
from asyncnb._core.primitives import futures as _futures
from asyncnb._core.primitives import gather as _gather
from asyncnb._core.primitives import groups as _groups
from asyncnb._core.primitives import shield as _shield
from asyncnb._core.primitives import tasks as _tasks
from asyncnb._core.primitives import threads as _threads
from asyncnb._core.primitives import timeouts as _timeouts
from asyncnb._core.primitives import waiting as _waiting
from asyncnb._core.primitives.sync import barrier as _barrier
from asyncnb._core.primitives.sync import condition as _condition
from asyncnb._core.primitives.sync import event as _event
from asyncnb._core.primitives.sync import lock as _lock
from asyncnb._core.primitives.sync import queues as _queues
from asyncnb._core.primitives.sync import semaphores as _semaphores

FUTURES = {
    "Future": _futures.Future,
    "_CFuture": _futures.Future,
    "isfuture": _futures.isfuture,
    "wrap_future": _futures.wrap_future,
}
COROUTINES = {
    "iscoroutine": _futures.iscoroutine,
    "iscoroutinefunction": _futures.iscoroutinefunction,
}
TASKS = {
    "Task": _tasks.Task,
    "_CTask": _tasks.Task,
    "_PyTask": _tasks.Task,
    "create_task": _create_task.create_task,
    "create_eager_task_factory": _create_task.create_eager_task_factory,
    "eager_task_factory": _create_task.eager_task_factory,
    "current_task": _tasks.current_task,
    "all_tasks": _all_tasks.all_tasks,
    "shield": _shield.shield,
    "ensure_future": _create_task.ensure_future,
    "run_coroutine_threadsafe": _threads.run_coroutine_threadsafe,
    "sleep": _waiting.sleep,
    "wait": _waiting.wait,
    "wait_for": _waiting.wait_for,
    "gather": _gather.gather,
    "as_completed": _as_completed.as_completed,
}
# By these names the tests reach the bookkeeping of either kind of task. Ours is built on the C one,
# so that is where it is found; as static methods, since the tests put them into classes.
for _plumbing in ("register_task", "unregister_task", "enter_task", "leave_task"):
    _real = getattr(asyncio.tasks, f"_{_plumbing}")
    TASKS |= {f"_{kind}_{_plumbing}": staticmethod(_real) for kind in ("c", "py")}
for _kind in ("c", "py"):
    TASKS[f"_{_kind}_current_task"] = staticmethod(_tasks.current_task)
    TASKS[f"_{_kind}_all_tasks"] = staticmethod(_all_tasks.all_tasks)
TIMEOUTS = {name: getattr(_timeouts, name) for name in ("Timeout", "timeout", "timeout_at")}
GROUPS = {"TaskGroup": _groups.TaskGroup}
LOCKS = {
    "Lock": _lock.Lock,
    "Event": _event.Event,
    "Condition": _condition.Condition,
    "Semaphore": _semaphores.Semaphore,
    "BoundedSemaphore": _semaphores.BoundedSemaphore,
    "Barrier": _barrier.Barrier,
}
QUEUES = {
    name: getattr(_queues, name)
    for name in ("Queue", "PriorityQueue", "LifoQueue", "QueueShutDown")
}
THREADS = {"to_thread": _threads.to_thread}
RUNNERS = {"run": _threads.run, "Runner": _threads.Runner}
GRAPH = {name: getattr(_graph, name) for name in _graph.__all__}

if sys.version_info < (3, 14):
    # 3.15's tests of call graphs name these, and skip themselves without. They record nothing:
    # our graphs do not need them.
    for _name in ("future_add_to_awaited_by", "future_discard_from_awaited_by"):
        FUTURES |= {f"{_kind}{_name}": lambda _, __: None for _kind in ("", "_c_", "_py_")}

    def _capture_call_graph(future: Any = None, /, *, depth: int = 1, limit: Any = None) -> Any:
        graph = _graph.capture_call_graph(future, depth=depth + 1, limit=limit)
        return graph and _with_generators(graph)

    GRAPH["capture_call_graph"] = _capture_call_graph


def _with_generators(graph: _graph.FutureCallGraph) -> Any:
    """Give the frames of a graph ``f_generator``, which came with 3.14; their code says it, too."""
    return types.SimpleNamespace(
        future=graph.future,
        call_stack=tuple(
            types.SimpleNamespace(frame=_FrameWithGenerator(entry.frame))
            for entry in graph.call_stack
        ),
        awaited_by=[_with_generators(parent) for parent in graph.awaited_by],
    )


class _FrameWithGenerator:
    def __init__(self, frame: types.FrameType) -> None:
        code = self.f_code = frame.f_code
        kinds = {inspect.CO_COROUTINE: "cr_code", inspect.CO_ASYNC_GENERATOR: "ag_code"}
        found = {name: code for flag, name in kinds.items() if code.co_flags & flag}
        self.f_generator = types.SimpleNamespace(**found) if found else None


OVERLAYS: dict[str, dict[str, Any]] = {
    "asyncio.futures": FUTURES,
    "asyncio.coroutines": COROUTINES,
    "asyncio.tasks": TASKS,
    "asyncio.timeouts": TIMEOUTS,
    "asyncio.taskgroups": GROUPS,
    "asyncio.locks": LOCKS,
    "asyncio.queues": QUEUES,
    "asyncio.threads": THREADS,
    "asyncio.runners": RUNNERS,
}


def install(suite: str) -> types.ModuleType:
    """Make ``import asyncio`` give asyncnb, for the modules that are imported from now on.

    The pure-Python Future stays the standard one, for the tests that mix it with our tasks; only
    the suite that is about futures gets ours for it.
    """
    if suite.startswith("test_futures"):
        FUTURES["_PyFuture"] = _futures.Future
    real = dict(sys.modules)
    everything: dict[str, Any] = {}
    for overlay in (*OVERLAYS.values(), GRAPH):
        everything |= {name: value for name, value in overlay.items() if name[0] != "_"}
    fake = _StandIn(asyncio, everything)
    for name, overlay in OVERLAYS.items():
        module = _StandIn(real[name], overlay)
        sys.modules[name] = module
        setattr(fake, name.rpartition(".")[2], module)
    sys.modules["asyncio"] = fake
    # It runs tests that are coroutines: in a task of ours, which isinstance(task, asyncio.Task) is.
    unittest.async_case.asyncio = fake  # type: ignore[attr-defined]
    return fake


class _StandIn(types.ModuleType):
    """asyncnb's names over a real module; what a test patches goes through to the real one."""

    def __init__(self, real: types.ModuleType, overlay: dict[str, Any]) -> None:
        super().__init__(real.__name__, real.__doc__)
        self.__dict__.update(overlay, _real=real, __path__=getattr(real, "__path__", None))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_real"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ or isinstance(value, _StandIn):
            self.__dict__[name] = value
        else:
            setattr(self._real, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            del self.__dict__[name]
        else:
            delattr(self._real, name)
