"""What ``sys.stdout`` and ``sys.stderr`` are for a task, whatever a cell has put there.

A cell that captures (``%%capture``, ``redirect_stdout``, pytest) puts its object into ``sys``, for
all threads. While asyncnb is loaded, ``sys`` has a class in which both names follow the context: a
cell, and a plain thread, see what was put there last, as ever; a task sees the stream of the
notebook, or what the task itself has put there. ``print()`` reads the dict of ``sys``, so that
holds an object which chooses at each write.
"""

from __future__ import annotations

import contextvars
import sys
import types
from typing import Any

from asyncnb._core._info import current_record


class TaskStreams:
    """The hook in ``sys``; ``install`` puts it in, ``uninstall`` takes it out."""

    def __init__(self) -> None:
        self._class: type[types.ModuleType] | None = None
        self._slots: dict[str, _Slot] = {}

    def replaced(self) -> list[Any]:
        """Return the streams of the notebook in whose place a cell has put something else."""
        return [s.stream for s in self._slots.values() if s.foreground is not s.stream]

    def install(self) -> None:
        """Let ``sys.stdout`` and ``sys.stderr`` follow the context from now on."""
        if self._class is not None:
            return
        self._slots = {name: _Slot(name) for name in ("stdout", "stderr")}
        self._class = type(sys)
        properties = {name: property(slot.get, slot.put) for name, slot in self._slots.items()}
        sys.__class__ = type("module", (self._class,), properties)

    def uninstall(self) -> None:
        """Put back the class of ``sys``, with what the foreground sees there."""
        if self._class is None:
            return
        seen = {name: slot.foreground for name, slot in self._slots.items()}
        sys.__class__ = self._class
        vars(sys).update(seen)
        self._class = None
        self._slots = {}


class _Slot:
    """One of the two names."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: The notebook's own, for tasks.
        self.stream = self.foreground = vars(sys)[name]
        #: What a task has put there, with all that it starts.
        self.own: contextvars.ContextVar[tuple[Any] | None] = contextvars.ContextVar(
            f"asyncnb_{name}", default=None
        )

    def get(self, _: types.ModuleType | None = None) -> Any:
        if current_record.get() is None:
            return self.foreground
        own = self.own.get()
        return self.stream if own is None else own[0]

    def put(self, _: types.ModuleType, value: Any) -> None:
        if current_record.get() is not None:
            self.own.set(None if value is self.stream else (value,))
            if value is not self.stream and vars(sys)[self.name] is self.stream:
                vars(sys)[self.name] = _Chooser(self)
            return
        self.foreground = value
        vars(sys)[self.name] = value if value is self.stream else _Chooser(self)


class _Chooser:
    """What ``print()`` finds: writes to what ``sys.stdout`` is for the running code.

    No ``io.TextIOBase``, whose end would close the stream.
    """

    def __init__(self, slot: _Slot) -> None:
        self._slot = slot

    def write(self, text: str) -> int:
        """Write to the stream of the running code."""
        target = self._slot.get()
        # None, which print() passes over, may be there for some: pythonw has it.
        return len(text) if target is None else target.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slot.get(), name)
