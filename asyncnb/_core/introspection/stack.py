"""The stack of a task down to what it waits for, who waits for it, and the time it has used.

Read when somebody asks, without asking the loop: the answer comes at once while the loop is
blocked, and tells by what. Any thread; a task that moves meanwhile gives the moment before.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
import types
from typing import Any

from asyncnb._core.base.frames import is_internal_frame
from asyncnb._core.base.worker_thread import Worker
from asyncnb._core.introspection import places as _places
from asyncnb._core.introspection import waiting_on as _waits
from asyncnb._core.introspection.call_graph import awaited_by, frames_of_coroutine, running_frames
from asyncnb._core.introspection.places import Place

__all__ = ["Place", "await_chain", "awaited_by", "waiting_on", "worker_of"]


def await_chain(task: asyncio.Task[Any]) -> tuple[Place, ...]:
    """Return where ``task`` stands: its outermost coroutine first, the primitive it awaits last.

    Of a task that runs: the frames of its thread too, plain functions included. Of one that runs
    in a worker thread: that thread's frames. Of one that failed: its traceback. Frames of asyncnb
    are left out. Any thread, at any time; a snapshot.
    """
    error = getattr(task, "_exception", None)
    if error is not None:
        entries = [
            (frame, line)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if not is_internal_frame(frame)
        ]
        return tuple(_places.place(frame, line) for frame, line in entries)
    frames = _places.strip_outer_frames(_frames(_followed(task)))
    return tuple(_places.place(frame) for frame in frames if not is_internal_frame(frame))


def _followed(task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """Return the task that does the work of ``task``: another one with ``--on kernel``."""
    for frame in frames_of_coroutine(task.get_coro()):
        name = str(frame.f_globals.get("__name__", ""))
        if frame.f_code.co_qualname == "on_loop" and name.startswith("asyncnb."):
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
    """Return the frames that a thread is in now, outermost first; none if it has ended."""
    frame = sys._current_frames().get(ident or 0)
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def worker_of(task: asyncio.Task[Any]) -> Worker | None:
    """Return the worker thread that runs the code of ``task``, if one does."""
    return _worker_in(frames_of_coroutine(task.get_coro()))


def _worker_in(frames: list[types.FrameType]) -> Worker | None:
    for frame in reversed(frames):
        if frame.f_code is Worker.run.__code__:
            worker = frame.f_locals.get("self")
            return worker if isinstance(worker, Worker) else None
    return None


def waiting_on(task: asyncio.Task[Any]) -> str | None:
    """Return in a few words what ``task`` waits for; None when it runs or has ended.

    ``sleep, 3.2 s left``; ``Queue.get (0 of 10)``; ``task 'dl'``; ``socket 127.0.0.1:8080 to
    read``; ``gather, 3 of 10 done``; ``its turn`` when only the loop has to get to it. Any thread.
    """
    if task.done():
        return None
    task = _followed(task)
    coro: Any = task.get_coro()
    if coro is None or getattr(coro, "cr_running", getattr(coro, "gi_running", False)):
        return None
    frames = frames_of_coroutine(coro)
    if _worker_in(frames[-1:]) is not None:
        return None
    return _waits.describe(task, frames)
