"""Changes to a shell and its kernel that can be undone: all of them are made, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MISSING = object()


class UndoStack:
    """Undoes the changes made so far.

    An undo is pushed before its change is made. So a change that fails halfway, or an interrupt
    between the two, leaves nothing behind. An undo must therefore be harmless if its change was
    never made.
    """

    def __init__(self) -> None:
        self._undos: list[Callable[[], object]] = []

    def push(self, undo: Callable[[], object]) -> None:
        """Schedule ``undo`` for ``unwind``, before all that was pushed earlier."""
        self._undos.append(undo)

    def unwind(self) -> None:
        """Undo all changes, the last one first, each once.

        An undo that raises prevents none of the others; at the end, a BaseExceptionGroup of all
        exceptions is raised.
        """
        failed = []
        while self._undos:
            try:
                self._undos.pop()()
            except BaseException as exc:
                failed.append(exc)
        if failed:
            raise BaseExceptionGroup("not every change could be undone", failed)

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute of an instance or a module; restored later, unless replaced again."""
        before = vars(owner).get(name, _MISSING)

        def undo() -> None:
            if vars(owner).get(name) is not value:
                return
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

        self.push(undo)
        setattr(owner, name, value)

    def give_class(
        self, owner: Any, members: dict[str, Any], meta: type[type] | None = None
    ) -> None:
        """Give an instance or a module a subclass of its class, with ``members``.

        The class is restored later, unless the owner has been given another one since. It is of
        type ``meta``, or else that of the class before.
        """
        before = type(owner)
        members = {"__module__": before.__module__, "__doc__": before.__doc__} | members
        # Without what traitlets does for a new class: it looks at each attribute of a shell three
        # times, a twentieth of the time of loading, to find the traits that are inherited anyway.
        kind = type.__new__(meta or type(before), before.__name__, (before,), members)

        def undo() -> None:
            if type(owner) is kind:
                owner.__class__ = before

        self.push(undo)
        owner.__class__ = kind

    def append(self, entries: list[Any], entry: Any) -> None:
        """Append to a list, from which this same object is removed later, if it is still there."""

        def undo() -> None:
            entries[:] = [each for each in entries if each is not entry]

        self.push(undo)
        entries.append(entry)


def leaves(failed: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions of a group, and of the groups in it, in order."""
    found: list[BaseException] = []
    for each in failed.exceptions:
        found += leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found
