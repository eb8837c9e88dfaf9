"""Which tasks are paused.

A task of asyncnb has an attribute for its pause. A task of asyncio's own class takes no attributes,
so its loop has a dict of the pauses of these, while there are any.
"""

from __future__ import annotations

from typing import Any


def pause_of(task: Any) -> Any:
    """Return the ``Pause`` of ``task``, of any class, or None. Any thread."""
    pause = getattr(task, "_pause", None)
    if pause is not None or hasattr(task, "_pause"):
        return pause
    pauses: dict[Any, Any] | None = getattr(task.get_loop(), "_asyncnb_pauses", None)
    return None if pauses is None else pauses.get(task)


def set_pause(task: Any, pause: Any) -> None:
    """Note the pause of ``task``, or with None that it has ended. The thread of its loop."""
    if hasattr(task, "_pause"):
        task._pause = pause
        return
    loop: Any = task.get_loop()
    pauses = loop.__dict__.setdefault("_asyncnb_pauses", {})
    if pause is not None:
        pauses[task] = pause
        return
    pauses.pop(task, None)
    if not pauses:
        del loop.__dict__["_asyncnb_pauses"]
