"""The object that a traced task's coroutine is wrapped in: each step passes through it."""

from __future__ import annotations

import asyncio
import types
from asyncio import CancelledError
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

from asyncnb._core.tracing.trace import Step, TaskTrace, trace_of

__asyncnb_frames__ = "launches"


def _innermost_code(coro: Any) -> types.CodeType | None:
    """Return the code of the innermost coroutine in which ``coro`` is suspended."""
    code: types.CodeType | None = None
    while True:
        kind = type(coro)
        if kind is types.CoroutineType:
            code, coro = coro.cr_code, coro.cr_await
        elif kind is types.GeneratorType:
            # The generator with which a future or FutureProxy is awaited tells a reader nothing.
            if coro.gi_code.co_name != "__await__":
                code = coro.gi_code
            coro = coro.gi_yieldfrom
        else:
            return code


def _steps(coro: Coroutine[Any, Any, Any], trace: TaskTrace) -> Generator[Any, Any, Any]:
    """Run ``coro`` step by step, as its task would, and record each step.

    A generator that receives a task's ``send`` directly: a method in between would double the cost.
    Its first ``yield`` comes before the first step, so that an exception thrown in before that step
    is caught here, too.
    """
    send, throw = coro.send, coro.throw
    recording = trace.recording
    clock, append = recording.clock, recording.steps.append
    error: BaseException | None = None
    new = tuple.__new__
    try:
        yield
    except BaseException as exc:
        error = exc
    trace.begin()
    while True:
        if error is not None and isinstance(error, CancelledError):
            trace.record_cancel(error, coro)
        if isinstance(error, GeneratorExit):
            # Closed or garbage-collected; the collector may have closed ``coro`` already.
            try:
                return coro.close()
            finally:
                trace.end(error)
        start = clock()
        try:
            if error is None:
                awaited = send(None)
            else:
                thrown, error = error, None
                try:
                    awaited = throw(thrown)
                finally:
                    del thrown  # its traceback holds this frame
        except BaseException as exc:
            end = clock()
            trace.steps += 1
            trace.seconds += end - start
            append(new(Step, (trace, start, end, None, None)))
            if isinstance(exc, StopIteration):
                trace.end(None)
                return exc.value
            trace.end(exc)
            raise
        end = clock()
        trace.steps += 1
        trace.seconds += end - start
        if trace.stopping:
            trace.record_recovery(end)
        if awaited is None:
            append(new(Step, (trace, start, end, None, None)))
        else:
            children = getattr(awaited, "_children", None)  # of a gather() future
            if children is not None:
                trace.note_gather(awaited, children)
                children = None
            source = getattr(awaited, "source", awaited)  # of a FutureProxy
            on = trace_of(source) if isinstance(source, asyncio.Task) else None
            append(
                new(Step, (trace, start, end, _innermost_code(coro), None if on is None else on.id))
            )
            del source, on
        try:
            yield awaited
        except BaseException as exc:
            error = exc
        awaited = None


class TracedCoroutine(Coroutine[Any, Any, Any]):
    """A coroutine that records its steps; to introspection it looks like the one that it wraps."""

    # As slots, `send` and the others are the generator's own methods: no call in between.
    __slots__ = (
        "__name__",
        "__qualname__",
        "__weakref__",
        "close",
        "send",
        "throw",
        "trace",
        "traced",
    )
    if TYPE_CHECKING:
        send: Any
        throw: Any
        close: Any

    def __init__(self, coro: Coroutine[Any, Any, Any], trace: TaskTrace) -> None:
        self.traced: Coroutine[Any, Any, Any] = coro
        self.trace: TaskTrace = trace
        self.__name__: str = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", self.__name__)
        steps = _steps(coro, trace)
        next(steps)
        self.send, self.throw, self.close = steps.send, steps.throw, steps.close

    def __await__(self) -> Generator[Any, Any, Any]:
        raise RuntimeError("a traced coroutine belongs to its task: await the task instead")

    def __getattr__(self, name: str) -> Any:
        # cr_frame, cr_await, cr_running, cr_code...: stacks and graphs see the wrapped coroutine.
        return getattr(self.traced, name)
