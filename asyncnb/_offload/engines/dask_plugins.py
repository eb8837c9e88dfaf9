"""What asyncnb installs on a dask cluster: plugins for its scheduler and its workers."""

from __future__ import annotations

from typing import Any

from asyncnb._offload.far.install import far_package, installer

#: The prefix of the keys of asyncnb's tasks; the plugins, which are pickled by value, repeat it.
PREFIX = "asyncnb-"


def scheduler_plugin() -> Any:
    """Return a plugin that keeps the scheduler from retrying asyncnb's tasks when a worker dies.

    It also installs the far end: a scheduler in another process unpickles what it passes on.
    """
    from distributed.diagnostics.plugin import SchedulerPlugin

    def start(self: Any, scheduler: Any) -> None:
        self.install(*self.far)

    def update_graph(self: Any, scheduler: Any, *, keys: Any, **_: Any) -> None:
        for key in keys:
            if isinstance(key, str) and key.startswith("asyncnb-"):
                task = scheduler.tasks.get(key)
                if task is not None:
                    task.suspicious = scheduler.allowed_failures

    # Pickled by value: the scheduler may not have asyncnb.
    start.__module__ = update_graph.__module__ = "__main__"
    far = far_package("dask")
    body = {
        "start": start,
        "update_graph": update_graph,
        "name": f"{far[0]}-no-retry",
        "idempotent": True,  # another client may have registered the same
        "far": far,
        "install": staticmethod(installer()),
        "__module__": "__main__",
    }
    return type("NoRetryPlugin", (SchedulerPlugin,), body)()


def clear_failure_count() -> Any:
    """Return a function for the scheduler: asyncnb ends a worker, and its waiting tasks survive."""

    def clear(dask_scheduler: Any, worker: str, key: Any) -> None:
        state = dask_scheduler.workers.get(worker)
        for task in () if state is None else state.processing:
            if task.key != key:
                task.suspicious -= 1

    clear.__module__ = "__main__"
    return clear


def worker_plugin() -> Any:
    """Return a plugin that installs the far end on each worker, including those that join later.

    It also stops functions whose result is no longer wanted: when a client is closed or its process
    dies, dask forgets its keys and leaves their functions running.
    """
    from distributed.diagnostics.plugin import WorkerPlugin

    far = far_package("dask")

    def setup(self: Any, worker: Any) -> None:
        self.install(*self.far)

    def transition(self: Any, key: Any, start: str, finish: str, **_: Any) -> None:
        ended = start in ("executing", "long-running") and finish in ("cancelled", "released")
        if ended and isinstance(key, str) and key.startswith("asyncnb-"):
            import sys

            sys.modules[f"{self.name}.dask"].stop(key)

    setup.__module__ = transition.__module__ = "__main__"
    body = {
        "setup": setup,
        "transition": transition,
        "name": far[0],
        "far": far,
        "install": staticmethod(installer()),
        "__module__": "__main__",
    }
    return type("FarEndPlugin", (WorkerPlugin,), body)()
