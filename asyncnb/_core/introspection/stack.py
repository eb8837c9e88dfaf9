"""The stack of a task down to what it waits for, the tasks that wait for it, and its worker thread.

This is read on request and without involving the loop: while the loop is blocked, the answer comes
at once and shows what blocks it. Any thread; for a task that runs at the same time, the answer may
be a moment out of date.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
import types
from typing import Any

from asyncnb._core.base.frames import is_internal_frame
from asyncnb._core.base.worker_thread import Worker
from asyncnb._core.introspection.call_graph import awaited_by, frames_of_coroutine, running_frames
from asyncnb._core.introspection.places import Place, place, strip_outer_frames
from asyncnb._core.introspection.waiting_on import describe_wait

__all__ = ["Place", "await_chain", "awaited_by", "waiting_on", "worker_of"]


def await_chain(task: asyncio.Task[Any]) -> tuple[Place, ...]:
    """Return the stack of ``task``, from its outermost coroutine to the primitive it awaits.

    For a running task, include the frames of its thread, regular functions too. For a task in a
    worker thread, return that thread's frames; for a failed task, its traceback. Omit frames of
    asyncnb. Any thread, at any time; a snapshot.
    """
    error = getattr(task, "_exception", None)
    if error is not None:
        entries = [
            (frame, line)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if not is_internal_frame(frame)
        ]
        return tuple(place(frame, line) for frame, line in entries)
    working = working_task(task, frames_of_coroutine(task.get_coro()))
    frames = strip_outer_frames(_frames(working))
    return tuple(place(frame) for frame in frames if not is_internal_frame(frame))


def working_task(task: asyncio.Task[Any], frames: list[types.FrameType]) -> asyncio.Task[Any]:
    """Return the task that does the work of ``task``: with ``--on kernel``, a different one.

    ``frames`` are those of its coroutine.
    """
    for frame in frames:
        if frame.f_code.co_qualname == "on_loop" and is_internal_frame(frame):
            for inner in frame.f_locals.get("inner") or ():
                return inner if isinstance(inner, asyncio.Task) else task
    return task


def _frames(task: asyncio.Task[Any]) -> list[types.FrameType]:
    coro: Any = task.get_coro()
    frames = frames_of_coroutine(coro)
    worker = _worker_in(frames)
    if worker is not None:
        return frames_of_thread(worker.thread.ident)
    if frames and getattr(coro, "cr_running", getattr(coro, "gi_running", False)):
        return running_frames(frames[0])
    return frames


def frames_of_thread(ident: int | None) -> list[types.FrameType]:
    """Return the current frames of a thread, outermost first; none if the thread has ended."""
    frame = sys._current_frames().get(ident or 0)
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def worker_of(task: asyncio.Task[Any]) -> Worker | None:
    """Return the worker that runs the code of ``task`` in a thread, or None."""
    return _worker_in(frames_of_coroutine(task.get_coro()))


def job_of(task: asyncio.Task[Any]) -> tuple[Any, Any]:
    """Return the engine that runs the code of ``task`` elsewhere, and the job; else two None."""
    for frame in reversed(frames_of_coroutine(task.get_coro())):
        if frame.f_code.co_qualname == "Job.wait" and is_internal_frame(frame):
            return frame.f_locals.get("engine"), frame.f_locals.get("self")
    return None, None


def _worker_in(frames: list[types.FrameType]) -> Worker | None:
    for frame in reversed(frames):
        if frame.f_code is Worker.run.__code__:
            worker = frame.f_locals.get("self")
            return worker if isinstance(worker, Worker) else None
    return None


def waiting_on(task: asyncio.Task[Any]) -> str | None:
    """Return in a few words what ``task`` waits for; None if it is running or has ended.

    ``sleep, 3.2 s left``; ``Queue.get (0 of 10)``; ``task 'dl'``; ``socket 127.0.0.1:8080 to
    read``; ``gather, 3 of 10 done``; ``its turn`` if the task is ready to run and only waits for
    the loop to run it. Any thread.
    """
    if task.done():
        return None
    coro: Any = task.get_coro()
    frames = frames_of_coroutine(coro)
    working = working_task(task, frames)
    if working is not task:
        task, coro = working, working.get_coro()
        frames = frames_of_coroutine(coro)
    if coro is None or getattr(coro, "cr_running", getattr(coro, "gi_running", False)):
        return None
    if _worker_in(frames[-1:]) is not None:
        return None
    return describe_wait(task, frames)
