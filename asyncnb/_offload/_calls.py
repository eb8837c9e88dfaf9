"""Functions and coroutines, run elsewhere as tasks of the embedded loop."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asyncnb._core import _launch
from asyncnb._core._registry import TaskRecord
from asyncnb._core._tasks import Task
from asyncnb._offload._engines import engine_for
from asyncnb._offload._jobs import Engine, Job
from asyncnb._offload._packing import pack_call
from asyncnb._offload._said import Speaker


async def run_job(
    record: TaskRecord,
    engine: Engine,
    kind: str,
    payload: bytes,
    local: Callable[[], Any] | None = None,
) -> Any:
    """Run one job on ``engine`` and return what it gives; the record says how it goes.

    A cancel stops the work. Raises what the work raised, or OffloadError.
    """
    loop = asyncio.get_running_loop()
    record.worker, record.started = "", None  # it waits for a worker
    speaker = Speaker(contextvars.copy_context())

    def told(kind: str, *data: Any) -> None:
        if kind == "started":
            loop.call_soon_threadsafe(_started, record, data[0])
        elif kind == "progress":
            loop.call_soon_threadsafe(speaker.progress, *data)
        else:
            speaker.say(kind, *data)

    job = Job(loop, kind, payload, tell=told, name=record.task.get_name(), local=local)
    engine.submit(job)
    return await job.wait(engine)


def _started(record: TaskRecord, worker: str) -> None:
    record.worker = worker
    record.started = time.time()


def offload(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    on: Any,
    name: str | None = None,
    group: Any = None,
    timeout: float | None = None,
) -> Task[Any]:
    """See ``asyncnb.offload``."""
    if not callable(function):
        hint = ""
        if inspect.iscoroutine(function):
            function.close()
            hint = f" A coroutine: asyncnb.launch({function.__name__}(...), on=...)."
        raise TypeError(
            f"offload() takes a function and its arguments, not {type(function).__name__}.{hint}"
        )
    engine = engine_for(on)
    local, payload = None, b""
    if engine.in_process:
        local = functools.partial(function, *args, **(kwargs or {}))
    else:
        payload = pack_call(function, args, kwargs or {})
    record = TaskRecord(kind=engine.kind)
    record.worker = ""
    return _launch.launch_checked(
        record,
        run_job(record, engine, "call", payload, local),
        name=name or getattr(function, "__name__", None),
        group=group,
        timeout=timeout,
    )


def launch_on(
    work: Any, *, on: Any, name: str | None, group: Any, timeout: float | None
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
    return offload(function, args, kwargs, on=on, name=name, group=group, timeout=timeout)


def call_of(
    coro: types.CoroutineType[Any, Any, Any],
) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
    """Return the call that made the not yet started ``coro``: its function and arguments.

    A coroutine cannot be pickled; one that has not started is its code and its arguments. Raises
    TypeError for one that has.
    """
    if inspect.getcoroutinestate(coro) != inspect.CORO_CREATED:
        raise TypeError(
            f"The coroutine {coro.__qualname__!r} has started, so it cannot be sent away any more. "
            "Call the function again for a new one."
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
