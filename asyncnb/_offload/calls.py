"""Runs functions and coroutines elsewhere, as tasks of the embedded loop."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asyncnb._core.base.visits import runs_here
from asyncnb._core.launched.launch import launch_checked
from asyncnb._core.launched.record import Placement, TaskRecord
from asyncnb._core.loop.current import embedded_loop
from asyncnb._core.primitives.tasks import Task
from asyncnb._offload.engines.choose import engine_for
from asyncnb._offload.jobs import Engine, Job
from asyncnb._offload.packing import pack_call
from asyncnb._offload.relay import OutputRelay


class JobRunner:
    """Runs a job for a task, and passes reports on to the task's record and its cell.

    Most jobs are short, so nothing is done that no one would see: the start of a job is recorded
    together with its end, unless it is still running a moment later.
    """

    def __init__(
        self,
        record: TaskRecord,
        engine: Engine,
        kind: str,
        payload: bytes,
        local: Callable[[], Any] | None = None,
    ) -> None:
        self.record = record
        self.engine = engine
        self.job = Job(embedded_loop(), kind, payload, report=self._on_report, local=local)
        self._relay: OutputRelay | None = None
        self._awaited = False
        #: The coroutine that the task runs.
        self.waiting = self._wait()

    def submit(self) -> None:
        """Submit the job to its engine. From any thread, once the record has its task."""
        self.job.name = self.record.task.get_name()
        self.engine.submit(self.job)

    def submit_early(self) -> None:
        """Submit the job before the task's first step; ``before_start`` of ``launch_checked``."""
        self.record.body = self  # a task cancelled before that step never runs ``waiting``
        try:
            self.submit()
        except Exception as exc:  # such as no memory for a thread: the task fails with it
            self.job.end_with("failed", exc)

    async def _wait(self) -> Any:
        """Return the result of the job; see ``Job.wait``."""
        record, job = self.record, self.job
        record.placement.worker, record.started = "", None  # it is waiting for a worker
        self._awaited = True
        self._started()
        try:
            return await job.wait(self.engine)
        finally:
            self._started()

    def close(self) -> None:
        """Stop the work of a task that ended before it began."""
        self.waiting.close()
        if not self._awaited:
            self.job.cancel_requested = True
            self.engine.cancel(self.job)

    def _on_report(self, kind: str, *data: Any) -> None:
        if kind == "started":
            if self._awaited:
                self.job.loop.call_soon_threadsafe(self._started)
            return
        if kind == "profile":
            from asyncnb._core.profiling.sampler import add_far  # it asked for it

            add_far(self.record, data[0])
            return
        if self._relay is None:
            self._relay = OutputRelay(self.record.task.get_context().copy())
        if kind == "progress":
            self.job.loop.call_soon_threadsafe(self._relay.progress, *data)
        else:
            self._relay.emit(kind, *data)

    def _started(self) -> None:
        if self.job.began is not None and not self.record.task.done():
            self.record.placement.worker, self.record.started = self.job.began
            self.record.changed()


async def run_job(
    record: TaskRecord,
    engine: Engine,
    kind: str,
    payload: bytes,
    local: Callable[[], Any] | None = None,
) -> Any:
    """Run one job on ``engine`` and return its result; reports go to the record.

    A cancel stops the work. Raises the exception of the work, or OffloadError.
    """
    runner = JobRunner(record, engine, kind, payload, local)
    runner.submit()
    return await runner.waiting


def offload(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    on: Any,
    name: str | None = None,
    group: Any = None,
    timeout: float | None = None,
    trace: bool = False,
) -> Task[Any]:
    """See ``asyncnb.offload``."""
    if not callable(function):
        hint = ""
        if inspect.iscoroutine(function):
            function.close()
            hint = f" For a coroutine, use asyncnb.launch({function.__name__}(...), on=...)."
        raise TypeError(
            f"offload() takes a function and its arguments, not {type(function).__name__}.{hint}"
        )
    engine = engine_for(on)
    local, payload = None, b""
    if engine.in_process:
        local = functools.partial(function, *args, **(kwargs or {}))
    else:
        payload = pack_call(function, args, kwargs or {})
    record = TaskRecord()
    record.placement = Placement(engine.kind, worker="")
    before_start = None
    if runs_here(embedded_loop()):
        work = run_job(record, engine, "call", payload, local)
    else:
        runner = JobRunner(record, engine, "call", payload, local)
        work, before_start = runner.waiting, runner.submit_early
    return launch_checked(
        record,
        work,
        name=name or getattr(function, "__name__", None),
        group=group,
        timeout=timeout,
        before_start=before_start,
        trace=trace,
    )


def launch_on(
    work: Any,
    *,
    on: Any,
    name: str | None,
    group: Any,
    timeout: float | None,
    trace: bool = False,
) -> Task[Any]:
    """See ``asyncnb.launch``: ``work`` is a coroutine that has not started, or a function."""
    if inspect.iscoroutine(work):
        try:
            function, args, kwargs = call_of(work)
        finally:
            work.close()
        name = name or function.__name__
    elif callable(work):
        function, args, kwargs = work, [], {}
    else:
        raise TypeError(
            f"launch(..., on={on!r}) takes a coroutine that has not started, or a function "
            f"without arguments, not {type(work).__name__}."
        )
    return offload(
        function, args, kwargs, on=on, name=name, group=group, timeout=timeout, trace=trace
    )


def call_of(
    coro: types.CoroutineType[Any, Any, Any],
) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
    """Return the call that made ``coro``, which has not started: its function and arguments.

    A coroutine cannot be pickled, but one that has not started is no more than its code and its
    arguments. Raises TypeError if it has started.
    """
    if inspect.getcoroutinestate(coro) != inspect.CORO_CREATED:
        raise TypeError(
            f"The coroutine {coro.__qualname__!r} has started, so it can no longer be sent to "
            "another process. Call the function again to get a new one."
        )
    frame = coro.cr_frame
    assert frame is not None
    code, values = frame.f_code, frame.f_locals
    cells = tuple(types.CellType(values[free]) for free in code.co_freevars)
    function = types.FunctionType(code, frame.f_globals, code.co_name, None, cells)
    positional, total = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    args = [values[name] for name in code.co_varnames[:positional]]
    kwargs = {name: values[name] for name in code.co_varnames[positional:total]}
    if code.co_flags & inspect.CO_VARARGS:
        args += values[code.co_varnames[total]]
        total += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        kwargs |= values[code.co_varnames[total]]
    return function, args, kwargs
