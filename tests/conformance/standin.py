"""Put asyncnb in asyncio's place, for the interpreter's own tests to run against it.

Only in the process of :mod:`run_suite`: modules that answer for ``asyncio`` and its submodules,
with asyncnb's names over the standard ones. The real modules are not changed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import types
import unittest.async_case  # noqa: F401 - keeps the real asyncio for the runner of its tests
from pathlib import Path
from typing import Any

from asyncnb._core import (
    _all_tasks,
    _as_completed,
    _futures,
    _gather,
    _graph,
    _groups,
    _shield,
    _tasks,
    _threads,
    _timeouts,
    _waiting,
)

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
    "create_task": _tasks.create_task,
    "create_eager_task_factory": _tasks.create_eager_task_factory,
    "eager_task_factory": _tasks.eager_task_factory,
    "current_task": _tasks.current_task,
    "all_tasks": _all_tasks.all_tasks,
    "shield": _shield.shield,
    "ensure_future": _futures.ensure_future,
    "run_coroutine_threadsafe": _threads.run_coroutine_threadsafe,
    "sleep": _waiting.sleep,
    "wait": _waiting.wait,
    "wait_for": _waiting.wait_for,
    "gather": _gather.gather,
    "as_completed": _as_completed.as_completed,
}
TIMEOUTS = {name: getattr(_timeouts, name) for name in ("Timeout", "timeout", "timeout_at")}
GROUPS = {"TaskGroup": _groups.TaskGroup}
THREADS = {"to_thread": _threads.to_thread}
RUNNERS = {"run": _threads.run, "Runner": _threads.Runner}
GRAPH = {name: getattr(_graph, name) for name in _graph.__all__}

OVERLAYS: dict[str, dict[str, Any]] = {
    "asyncio.futures": FUTURES,
    "asyncio.coroutines": COROUTINES,
    "asyncio.tasks": TASKS,
    "asyncio.timeouts": TIMEOUTS,
    "asyncio.taskgroups": GROUPS,
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
    if sys.version_info < (3, 13):  # what 3.13's files name besides
        TASKS.setdefault("_py_current_task", asyncio.current_task)
    real = dict(sys.modules)
    everything: dict[str, Any] = {}
    for overlay in (*OVERLAYS.values(), GRAPH):
        everything |= {name: value for name, value in overlay.items() if name[0] != "_"}
    if not hasattr(asyncio, "EventLoop"):  # 3.13's name for the platform's default
        everything["EventLoop"] = type(asyncio.new_event_loop())
    fake = _StandIn(asyncio, everything)
    for name, overlay in OVERLAYS.items():
        module = _StandIn(real[name], overlay)
        sys.modules[name] = module
        setattr(fake, name.rpartition(".")[2], module)
    sys.modules["asyncio"] = fake
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


def load_tests(suite: str, library: Path | None) -> types.ModuleType:
    """Import ``test.test_asyncio.<suite>``, of the interpreter at hand or of *library*.

    *library* is the ``lib/python3.x`` of another interpreter, whose files then run here.
    """
    if library is None:
        return importlib.import_module(f"test.test_asyncio.{suite}")
    package = importlib.import_module("test.test_asyncio")
    module: types.ModuleType | None = None
    for name in ("utils", suite):
        full = f"test.test_asyncio.{name}"
        spec = importlib.util.spec_from_file_location(
            full, library / "test" / "test_asyncio" / f"{name}.py"
        )
        assert spec is not None and spec.loader is not None, full
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        setattr(package, name, module)
        spec.loader.exec_module(module)
    assert module is not None
    return module
