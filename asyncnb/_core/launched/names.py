"""What can name a task, and renaming one."""

from __future__ import annotations

from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import TaskRegistry


def invalid_name_reason(text: str, what: str = "task") -> str | None:
    """Return why ``text`` cannot name a ``what``, as a sentence; None if it can."""
    if not text.strip() or text != text.strip():
        return f"a {what}'s name cannot be empty or begin or end with a space."
    for char in "*?[]":
        if char in text:
            return (
                f"{text!r} is no name for a {what}: {char!r} makes it a pattern. "
                f"Write, say, {text.translate(dict.fromkeys(map(ord, '*?[]'), '_'))!r}."
            )
    if not text.isprintable():
        return f"a {what}'s name must be printable, not {text!r}."
    return None


def rename(registry: TaskRegistry, record: TaskRecord, new: str) -> None:
    """Give the task of ``record`` another name. Any thread.

    Raises ValueError for what cannot be a name, and for that of another living task.
    """
    if problem := invalid_name_reason(new):
        raise ValueError(problem)
    if any(r is not record and r.name == new for r in registry.living()):
        raise ValueError(f"another living task is called {new!r}.")
    record.task.set_name(new)
