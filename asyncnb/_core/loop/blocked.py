"""Blocked: a step that blocks the loop, described from outside while it does."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import types
from typing import Any, NamedTuple

from asyncnb._core.base.frames import is_asyncio_frame, is_idle_frame, is_internal_frame
from asyncnb._core.introspection.calls import find_call, users_frame
from asyncnb._core.introspection.info import CellRef
from asyncnb._core.introspection.places import Place, place, strip_outer_frames

_MAX_FRAMES = 30


class Blocked(NamedTuple):
    """A step that blocks all other work of the loop, as observed at one moment.

    ``seconds`` is the time since it was first seen, which is up to half the threshold late;
    ``task_id`` and ``cell`` are those of the launched task it belongs to, None for other tasks and
    callbacks; ``where`` is its current line, the one in a cell if the stack contains one;
    ``frames`` are lines of text, outermost first. ``call`` is the source of the call in that line
    which does not return, ``inside`` that of the call in a library that it comes to; both are
    empty where no single call does, and in code without its source.
    """

    seconds: float
    task_id: int | None
    name: str
    cell: CellRef | None
    where: str
    frames: tuple[str, ...]
    call: str = ""
    inside: str = ""


class Looks:
    """The looks at one step: is it one call that takes long, or code that runs and runs?"""

    def __init__(self) -> None:
        self._points: set[tuple[int, int]] = set()
        #: Whether Python code was executed before this look, and before how many, of how many.
        self._ran_python = False
        self._python = self._all = 0

    def before(self, late: float, cpu_share: float) -> None:
        """Note of a look by how many seconds it is late, and how busy the loop's thread was.

        A look that comes late by the switch interval of the GIL had to wait for a thread that
        executes Python code; one that comes later, for C code that keeps the GIL: that is one call.
        """
        # A share of a tenth, since the machine may be busy; code that sleeps has much less.
        self._ran_python = cpu_share > 0.1 and 0.8 * sys.getswitchinterval() < late < 0.25

    def begin(self) -> None:
        """Forget the looks so far: another step begins, or another part of this one."""
        self._points.clear()
        self._python = self._all = 0

    def note(self, task: asyncio.Task[Any] | None, top: types.FrameType) -> None:
        """Note where in your code the step is, which was the same at the last look."""
        frames = frames_of(task, top)
        frame = frames[users_frame(frames)] if frames else top
        self._points.add((id(frame), frame.f_lasti))
        self._python += self._ran_python
        self._all += 1

    def describe(
        self,
        task: asyncio.Task[Any] | None,
        context: contextvars.Context | None,
        top: types.FrameType,
        seconds: float,
    ) -> Blocked:
        """Describe the step, with its call if it is a single one since ``begin``; begin anew."""
        found = describe(task, context, top, seconds)
        if len(self._points) > 1 or 2 * self._python > self._all:
            found = found._replace(call="", inside="")
        self.begin()
        return found


def name_of(task: asyncio.Task[Any] | None, frame: types.FrameType | None) -> str:
    if task is not None:
        return task.get_name()
    return f"callback {frame.f_code.co_qualname}" if frame is not None else "callback"


def frames_of(task: asyncio.Task[Any] | None, top: types.FrameType) -> list[types.FrameType]:
    """Return the frames of the running step, outermost first, without loop and cell runners."""
    coro: Any = None if task is None else task.get_coro()
    outermost = getattr(coro, "cr_frame", None)
    frames: list[types.FrameType] = []
    frame: types.FrameType | None = top
    while frame is not None:
        if task is None and is_idle_frame(frame):
            break  # a callback's frames begin here or after a few frames of asyncio
        frames.append(frame)
        if frame is outermost:
            break
        frame = frame.f_back
    frames.reverse()
    while task is None and frames and is_asyncio_frame(frames[0]):
        del frames[0]
    return frames


def describe(
    task: asyncio.Task[Any] | None,
    context: contextvars.Context | None,
    top: types.FrameType,
    seconds: float,
) -> Blocked:
    from asyncnb._core.introspection.handle import current_record

    frames = frames_of(task, top)
    shown = [
        frame for frame in strip_outer_frames(frames) if not is_internal_frame(frame)
    ] or frames
    places = [place(frame) for frame in shown]
    in_cells = [at for at in places if at.where.startswith("In[")]
    record = None if context is None else context.get(current_record)
    own = record if record is not None and record.task is task else None
    cell = None if record is None else record.cell
    if cell is None and in_cells and in_cells[0].where[3:-1].isdigit():
        cell = CellRef(int(in_cells[0].where[3:-1]))
    call = find_call(shown)
    return Blocked(
        seconds=seconds,
        task_id=None if own is None else own.id,
        name=name_of(task, frames[0]),
        cell=cell,
        where=f"{call.where}, line {call.line}",
        call=call.text,
        inside=call.inside,
        frames=tuple(_line(at) for at in places[-_MAX_FRAMES:]),
    )


def _line(at: Place) -> str:
    name = f", in {at.function}" if at.function else ""
    return f"{at.where}, line {at.line}{name}" + (f": {at.source}" if at.source else "")
