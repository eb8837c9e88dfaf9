"""Text on where a task is, and where the main thread is: of ``%tasks stack``, ``asyncnb stack``."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import types
from collections.abc import Iterable
from typing import Any, Final

from asyncnb._core import frontend
from asyncnb._core.base.frames import is_asyncio_frame, is_internal_frame
from asyncnb._core.base.text import duration
from asyncnb._core.introspection.info import ENDED, CellRef, TaskInfo
from asyncnb._core.introspection.places import Place, cell_of, place
from asyncnb._core.introspection.stack import await_chain, awaited_by, frames_of_thread, worker_of
from asyncnb._core.loop.current import running_embedded_loop

#: Frames of the main thread that are shown, from the innermost outwards.
MAX_FRAMES: Final = 60


def describe_stack(task: asyncio.Task[Any], info: TaskInfo) -> str:
    """Return the text for ``task``. Any thread; the loop may be blocked."""
    places = await_chain(task)
    lines = [_head(info)]
    if info.state not in ENDED and worker_of(task) is not None:
        lines.append("its thread is at:")
    elif info.error is not None and places:
        lines.append("failed at:")
    lines += _indented(places)
    if not places and info.state not in ENDED:
        lines.append("  none of your code is in its stack")
    if info.waiting_on is not None:
        lines.append(f"waits for: {info.waiting_on}")
    waiters = [repr(waiter.get_name()) for waiter in awaited_by(task)]
    if waiters:
        lines.append(f"awaited by: {', '.join(waiters)}")
    return "\n".join(lines)


def _head(info: TaskInfo) -> str:
    now = time.time()
    parts = [f"{info.name}: {info.state}"]
    if info.error:
        parts[0] += f" ({info.error.partition(chr(10))[0]})"
    if info.ended is not None:
        parts.append(f"{duration(now - info.ended)} ago")
    elif info.started is not None:
        parts.append(f"started {duration(now - info.started)} ago")
    if info.cell is not None and str(info.cell):
        parts.append(f"{'launched' if info.id > 0 else 'created'} by {info.cell}")
    return ", ".join(parts)


def _indented(places: Iterable[Place]) -> list[str]:
    return [f"  {line}" for at in places for line in str(at).splitlines()]


def describe_foreground() -> str:
    """Return what the main thread does: its cell, if it runs one, and where that is. Any thread."""
    foreground = frontend.current.foreground()
    lines = []
    if foreground is not None:
        cell = str(CellRef(foreground.cell)) or "a cell"
        passed = duration(max(0.0, time.time() - foreground.since))
        lines.append(f"main thread: {cell} runs since {passed}")
    places = foreground_places()
    if foreground is not None and foreground.task is not None:
        waits = f", and awaits {wait}" if (wait := _wait_of(foreground.task)) else ""
        lines[0] += f" on the loop's thread{waits}"
    elif foreground is None:
        lines.append("main thread: no cell runs; it is at:" if places else "main thread: idle")
    lines += _indented(places)
    loop = running_embedded_loop()
    blocked = None if loop is None else loop.blocked
    if blocked is not None:
        lines.append(
            f"the loop is blocked for {duration(blocked.seconds)} by {blocked.name} at "
            f"{blocked.where}"
        )
        lines += [f"  {line}" for line in blocked.frames]
    return "\n".join(lines)


def _wait_of(task: asyncio.Task[Any]) -> str | None:
    from asyncnb._core.introspection.stack import waiting_on

    return waiting_on(task)


def foreground_places() -> tuple[Place, ...]:
    """Return where the code is that the main thread runs, or waits for; nothing while it is idle.

    Of a cell, from its own code on; else from the callback that the kernel's loop runs.
    """
    foreground = frontend.current.foreground()
    if foreground is not None and foreground.task is not None:
        return await_chain(foreground.task)[-MAX_FRAMES:]
    frames = frames_of_thread(threading.main_thread().ident)
    if foreground is None and (not frames or _waits_for_events(frames[-1])):
        return ()
    return tuple(
        place(frame) for frame in _from_code(frames)[-MAX_FRAMES:] if not is_internal_frame(frame)
    )


def _waits_for_events(frame: types.FrameType) -> bool:
    return is_asyncio_frame(frame) or os.path.basename(frame.f_code.co_filename) == "selectors.py"


def _from_code(frames: list[types.FrameType]) -> list[types.FrameType]:
    """Return the frames from the first of a cell on; without one, those below the shell's."""
    outer = frontend.current.outer_frame_paths
    after = 0
    for number, frame in enumerate(frames):
        if cell_of(frame.f_code.co_filename):
            return frames[number:]
        if frame.f_code.co_filename.startswith(outer) or is_asyncio_frame(frame):
            after = number + 1
    return frames[after:] or frames[-5:]
