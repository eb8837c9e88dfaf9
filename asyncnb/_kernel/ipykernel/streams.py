"""Makes ``sys.stdout``, ``sys.stderr`` and the like independent of what a cell has put there.

A cell that captures output (``%%capture``, ``redirect_stdout``, pytest) puts its object into
``sys``, for all threads, and ``%%capture`` also replaces the shell's ``display_pub`` and
``sys.displayhook``. While asyncnb is loaded, these names follow the context: a cell, and a plain
thread, see what was set last, as usual; a task sees the notebook's object, or what the task itself
has set.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from IPython.core.displayhook import CapturingDisplayHook

from asyncnb._core.base.visits import own_loop
from asyncnb._kernel.current_cell import current_record
from asyncnb._kernel.ipykernel.kernel import kernel_of
from asyncnb._kernel.undo import UndoStack


class TaskStreams:
    """The hooks in ``sys`` and in a shell; ``install`` adds them, ``uninstall`` removes them.

    ``sys`` and the shell get a class in which the names are properties.
    """

    def __init__(self) -> None:
        self._slots: list[_Slot] = []
        self._undo = UndoStack()

    def replaced(self) -> Iterator[Any]:
        """Yield the objects of the notebook that a cell has replaced by others."""
        for slot in self._slots:
            if slot.foreground is not slot.notebook_value:
                yield slot.notebook_value

    def any_may_be_replaced(self) -> bool:
        """Return whether ``replaced`` has to be called; this is quicker."""
        for slot in self._slots:  # noqa: SIM110 - any() takes twice as long
            if slot.values.get(slot.name) is not slot.notebook_value:
                return True
        return False

    def install(self) -> None:
        """Make the names in ``sys`` follow the context from now on."""
        names = {"stdout": _SysSlot, "stderr": _SysSlot, "displayhook": _HookSlot}
        slots = {name: kind(sys, name, vars(sys)[name]) for name, kind in names.items()}
        # cloudpickle, which sends functions that use sys, recognises a module by its exact class.
        members = {"__reduce_ex__": lambda sys, _: (importlib.import_module, ("sys",))}
        # With that of modules, code specialised by 3.14 reads the dict and bypasses the properties.
        members["__getattribute__"] = object.__getattribute__
        self._put_in(sys, slots, members, _ClassOfSys)

    def install_publisher(self, ip: Any) -> Any:
        """Make ``ip.display_pub`` follow the context as well; return the notebook's."""
        # The list has the one that the shell was created with, even if this cell captures.
        own = [each for each in ip.configurables if isinstance(each, ip.display_pub_class)]
        publisher = own[0] if own else ip.display_pub
        if "display_pub" in vars(ip):
            self._put_in(ip, {"display_pub": _Slot(ip, "display_pub", publisher)}, {})
        return publisher

    def hand_over(self, task: asyncio.Task[Any]) -> None:
        """Leave a cell that becomes a task its captures; call in the context of the cell."""
        for slot in self._slots:
            slot.hand_over(task)

    def uninstall(self) -> None:
        """Remove all hooks; the names keep what the foreground sees there."""
        self._undo.unwind()

    def _put_in(
        self,
        owner: Any,
        slots: dict[str, Any],
        members: dict[str, Any],
        meta: type[type] | None = None,
    ) -> None:
        for slot in slots.values():
            self._undo.push(slot.close)
            self._slots.append(slot)
        for name, slot in slots.items():
            members[name] = property(slot.get, slot.put, slot.remove)
        self._undo.give_class(owner, members, meta)


class _ClassOfSys(type):
    """Makes the class of ``sys`` behave as code expects of ``type(sys)``: as the class of modules.

    importlib creates every module by ``type(sys)(name)``.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if _ClassOfSys._is_one(cls):
            return types.ModuleType(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def __instancecheck__(cls, value: object) -> bool:
        return super().__instancecheck__(value) or (
            _ClassOfSys._is_one(cls) and isinstance(value, types.ModuleType)
        )

    def __subclasscheck__(cls, kind: type) -> bool:
        return super().__subclasscheck__(kind) or (
            _ClassOfSys._is_one(cls) and issubclass(kind, types.ModuleType)
        )

    def _is_one(cls) -> bool:
        return "__reduce_ex__" in vars(cls)  # not a class that other code has derived from it


def _no_task() -> None:
    return None


def _running_task() -> Callable[[], asyncio.Task[Any] | None]:
    """Return a weak reference to the asyncio task that runs here."""
    running = asyncio._get_running_loop() is not None
    task = asyncio.current_task() if running else None
    return _no_task if task is None else weakref.ref(task)


class _Slot:
    """One name of ``owner``, whose dict holds what the foreground sees."""

    def __init__(self, owner: Any, name: str, notebook_value: Any) -> None:
        self.name = name
        self.values: dict[str, Any] = vars(owner)
        #: What tasks see.
        self.notebook_value = notebook_value
        #: What a task has set, also for everything that it starts.
        self.own: contextvars.ContextVar[tuple[Any] | None] = contextvars.ContextVar(
            f"asyncnb_{name}", default=None
        )
        #: The asyncio task of the cell that has set the current value.
        self.by: Callable[[], asyncio.Task[Any] | None] = _no_task
        self.closed = False

    @property
    def foreground(self) -> Any:
        """What all code but tasks sees; None if it was deleted."""
        return self.values.get(self.name)

    def get(self, owner: Any = None) -> Any:
        """Return what the running code sees."""
        if self.closed or current_record.get() is None:
            try:
                return self.values[self.name]
            except KeyError:
                raise AttributeError(self.name) from None
        own = self.own.get()
        return self.notebook_value if own is None else own[0]

    def put(self, owner: Any, value: Any) -> None:
        """Set what the running code sees."""
        if self.closed or current_record.get() is None:
            self.values[self.name] = value
            self.by = _running_task()
        else:
            self.own.set(None if value is self.notebook_value else (value,))

    def hand_over(self, task: asyncio.Task[Any]) -> None:
        """Make the value the task's own if ``task``, until now a cell's, has set it."""
        value = self.foreground
        if value is not self.notebook_value and self.by() is task:
            self.own.set((value,))
            self.values[self.name] = self.notebook_value

    def remove(self, owner: Any) -> None:
        """Delete the name, for all code but tasks."""
        self.values.pop(self.name, None)

    def close(self) -> None:
        """Become a plain attribute, also in a class derived from the one with this slot."""
        self.closed = True


class _SysSlot(_Slot):
    """A name that the interpreter, for example ``print()``, looks up in the dict of ``sys``.

    So the dict holds a _ContextProxy as soon as anything but the notebook's object has been set.
    """

    #: Whether a task has ever set something, which may last longer than what a cell sets.
    set_by_tasks = False

    @property
    def foreground(self) -> Any:
        value = self.values.get(self.name)
        return value.foreground if isinstance(value, _ContextProxy) else value

    def get(self, owner: Any = None) -> Any:
        value = super().get()
        return value.foreground if isinstance(value, _ContextProxy) else value

    def put(self, owner: Any, value: Any) -> None:
        if isinstance(value, _ContextProxy):  # mock.patch saves what the dict holds
            value = value.foreground
        self._put(value, self.closed or current_record.get() is None)

    def hand_over(self, task: asyncio.Task[Any]) -> None:
        super().hand_over(task)
        if self.own.get() is not None:
            self.set_by_tasks = True
            self._show(self.foreground)

    def _put(self, value: Any, by_cell: bool) -> None:
        if by_cell:
            self.by = _running_task()
        else:
            self.own.set(None if value is self.notebook_value else (value,))
            self.set_by_tasks, value = True, self.foreground
        self._show(value)

    def _show(self, value: Any) -> None:
        plain = self.closed or (value is self.notebook_value and not self.set_by_tasks)
        before = [self.values.get(self.name)]
        self.values[self.name] = value if plain else _make_proxy(self, value)
        _retire(before)

    def remove(self, owner: Any) -> None:
        before = [self.values.get(self.name)]
        super().remove(owner)
        _retire(before)

    def close(self) -> None:
        super().close()
        if self.name in self.values:
            self._show(self.foreground)


class _HookSlot(_SysSlot):
    """``sys.displayhook``, which IPython sets for each cell: not every new value is a capture."""

    def _put(self, value: Any, by_cell: bool) -> None:
        if not isinstance(value, CapturingDisplayHook) and (by_cell or self.own.get() is None):
            self.notebook_value = value
            if not by_cell and isinstance(self.foreground, CapturingDisplayHook):
                value = self.foreground
            by_cell = True
        elif not by_cell and not isinstance(value, CapturingDisplayHook):
            value = self.notebook_value  # the task's capture is over
        super()._put(value, by_cell)


class _ContextProxy:
    """What the interpreter finds in ``sys``: uses what the running code should see there.

    Not an ``io.TextIOBase``, whose finaliser would close the stream.
    """

    _slot: _SysSlot
    foreground: Any

    def write(self, text: str) -> int:
        """Write to the stream of the running code."""
        target = self._slot.get()
        # It may be None, as in pythonw; print() then does nothing.
        return len(text) if target is None else target.write(text)

    def __call__(self, value: Any) -> Any:
        return self._slot.get()(value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slot.get(), name)


#: Proxies that are not in use now. They are reused and never freed: until 3.13, ``print()`` holds
#: no reference to what it has found in ``sys``, and calls its ``write`` several times; if another
#: thread replaced it meanwhile, the process would crash.
_retired: deque[_ContextProxy] = deque()


def _make_proxy(slot: _SysSlot, foreground: Any) -> _ContextProxy:
    found = None
    for _ in range(len(_retired)):
        with contextlib.suppress(IndexError):  # another thread was faster
            found = _retired.popleft()
            if _references(found) <= _UNSAVED:
                break
            _retired.append(found)  # held by mock.patch, for example, which will restore it
    else:
        found = _ContextProxy()
    found._slot, found.foreground = slot, foreground
    return found


def _retire(holder: list[Any]) -> None:
    """Remove the value from ``holder``, and keep it if it is a proxy."""
    value = holder.pop()
    if isinstance(value, _ContextProxy):
        if _references(value) <= _UNSAVED:
            value.foreground = None  # do not keep it alive
        _retired.append(value)


def _references(value: object) -> int:
    return sys.getrefcount(value)


def _of_one_variable() -> int:
    value = _ContextProxy()
    return _references(value)


#: What ``_references`` returns for a value that only a variable of the caller holds.
_UNSAVED = _of_one_variable()


def when_no_cell_runs(action: Callable[[], None]) -> None:
    """Call ``action`` when the running cell has ended; at once if that moment is not known.

    IPython replaces ``sys.stdout.write`` while a cell without await runs, and then restores what it
    found: a hook that the cell itself adds or removes would be lost.
    """
    loop = own_loop()
    if loop is None:
        action()
    else:
        loop.call_soon(action)


def use_one_timer(undo: UndoStack) -> None:
    """Make each of ipykernel's streams in ``sys`` keep one timer at a time."""
    for stream in (sys.stdout, sys.stderr):
        if all(hasattr(stream, name) for name in ("_schedule_flush", "_io_loop", "pub_thread")):
            undo.set(stream, "_schedule_flush", _one_timer(stream))


def _one_timer(stream: Any) -> Callable[[], None]:
    """Return a ``_schedule_flush`` for ipykernel's ``stream`` that keeps one timer at a time.

    ipykernel's own one forgets at each ``flush()`` that a timer is running, and the next write
    starts another. If a task prints all the time, every cell, which flushes at its end, would add
    more of them, and each continues as long as the printing does: dozens of messages a second.
    """
    waiting = False

    def schedule() -> None:
        nonlocal waiting
        if not waiting:
            waiting = True
            stream.pub_thread.schedule(start)

    def start() -> None:
        stream._io_loop.call_later(stream.flush_interval, end)

    def end() -> None:
        nonlocal waiting
        waiting = False  # first: what is written from now on gets a new timer
        stream._flush()

    return schedule


NO_INPUT = (
    "input() is not available in a background task: its prompt would appear under a finished "
    "cell. Ask in a cell, and pass the answer to the task."
)


def refuse_input_in_tasks(undo: UndoStack, ip: Any) -> None:
    """Make ``input()`` and ``getpass()`` of ``ip``'s kernel raise RuntimeError in a task."""
    kernel = kernel_of(ip)
    for name in ("raw_input", "getpass"):
        if hasattr(kernel, name):
            undo.set(kernel, name, _refused_in_tasks(getattr(kernel, name)))


def _refused_in_tasks(ask: Callable[..., str]) -> Callable[..., str]:
    """Wrap ipykernel's ``input()``: in a task it would block the loop until the user answers."""

    def ask_or_refuse(*args: Any, **kwargs: Any) -> str:
        if current_record.get() is not None:
            raise RuntimeError(NO_INPUT)
        return ask(*args, **kwargs)

    return ask_or_refuse
