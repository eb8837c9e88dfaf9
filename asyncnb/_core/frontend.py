"""FrontEnd: the single interface through which the core calls a shell.

Loading the extension attaches an object for the notebook; unloading and a fork detach it. Without
one, in plain Python, :class:`PlainFrontEnd` is used.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import sys
import threading
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from asyncnb._core.base.forks import at_fork

if TYPE_CHECKING:
    from asyncnb._core.introspection.handle import TaskHandle


class Foreground(NamedTuple):
    """The cell that the shell runs: n of ``In[n]``, the front end's id, when it began, its task.

    ``cell`` is 0 without history; ``since`` is a ``time.time()``; ``task`` is None unless the cell
    runs on the embedded loop, which it does if it awaits.
    """

    cell: int
    cell_id: str | None
    since: float
    task: Task[Any] | None


class FrontEnd(Protocol):
    """What a shell does with the tasks and the loop of the core.

    ``record`` is the ``TaskRecord`` of a launched task; the core's lower layers know it as a
    :class:`TaskHandle`.
    """

    #: Prefixes of paths whose frames are outside of the user's code in a cell or a thread; stacks
    #: omit them.
    outer_frame_paths: tuple[str, ...]

    def loop_starting(self, loop: Any) -> None:
        """Handle a new embedded loop before its thread starts. Called in the starting thread."""

    def belongs_here(self, record: Any) -> bool:
        """Return whether the current context is prepared for the task already.

        It is if ``record.origin``, which a task has from the task that launches it, is the one of
        this context. Then ``task_launching`` is not called.
        """
        ...

    def task_launching(self, record: Any) -> None:
        """Prepare the current context, which the task will run in. In the launching thread."""

    def task_ended(self, record: Any) -> None:
        """Show the end of a task, and call ``record.set_shown()``, now or later.

        Called in the loop's thread. If it raises, that is logged, and the task's failure is passed
        to the loop's exception handler, as in plain Python.
        """

    def other_loops(self) -> Sequence[AbstractEventLoop]:
        """Return the loops, except the embedded one, that run the user's tasks. Any thread."""
        ...

    def foreground(self) -> Foreground | None:
        """Return the cell that the main thread runs, or waits for; else None. Any thread."""
        ...

    def variables(self, pattern: str, limit: int) -> dict[str, Any]:
        """Return ``total`` and ``variables``: those of the user's namespace that match a glob.

        No code of their classes runs. Any thread.
        """
        ...

    def cell_of(self, filename: str) -> str | None:
        """Return the ``In[n]`` whose code has this file name, None if it is not a cell's."""
        ...

    def publish(self, data: dict[str, Any], metadata: dict[str, Any], **keywords: Any) -> None:
        """Display the mime bundle ``data`` in the current context, as ``display_pub.publish``."""

    def comm_awaited(self, comm_id: str) -> Callable[[], None]:
        """Handle the messages of a comm at once, as code waits for them; any thread.

        Return what ends that, once.
        """
        ...

    def shell_events(self) -> Sequence[str]:
        """Return the names of the events that ``observe_shell`` knows; none in plain Python."""
        ...

    def observe_shell(self, name: str, observer: Callable[..., None]) -> Callable[[], None]:
        """Call ``observer`` at each event ``name`` of the shell; return what removes it.

        The events of the cell that the calling code belongs to do not count. Raises RuntimeError
        in a cell for whose own end, or for a cell after it, the caller would wait.
        """
        ...

    def notify(self, notice: Any) -> None:
        """Show a ``Notice`` of the running code to the user. Any thread; returns at once."""


class PlainFrontEnd:
    """Plain Python: passes failures to the loop's exception handler and does nothing else."""

    outer_frame_paths: tuple[str, ...] = (
        threading.__file__,
        os.path.dirname(concurrent.futures.__file__) + os.sep,
    )

    def loop_starting(self, loop: Any) -> None:
        pass

    def belongs_here(self, record: Any) -> bool:
        return True

    def task_launching(self, record: Any) -> None:
        pass

    def task_ended(self, record: TaskHandle) -> None:
        record.report_failure()
        record.set_shown()

    def other_loops(self) -> Sequence[AbstractEventLoop]:
        return ()

    def foreground(self) -> Foreground | None:
        return None

    def variables(self, pattern: str, limit: int) -> dict[str, Any]:
        return {"total": 0, "variables": []}

    def cell_of(self, filename: str) -> str | None:
        return None

    def publish(self, data: dict[str, Any], metadata: dict[str, Any], **keywords: Any) -> None:
        print(data.get("text/plain", ""))

    def comm_awaited(self, comm_id: str) -> Callable[[], None]:
        return _nothing

    def shell_events(self) -> Sequence[str]:
        return ()

    def observe_shell(self, name: str, observer: Callable[..., None]) -> Callable[[], None]:
        raise RuntimeError(f"there is no shell with an event {name!r} here")

    def notify(self, notice: Any) -> None:
        print(notice.line(), file=sys.stderr, flush=True)


def _nothing() -> None:
    pass


PLAIN = PlainFrontEnd()

#: The current front end. Read it as ``frontend.current``, since it changes.
current: FrontEnd = PLAIN
_attached: list[FrontEnd] = []


def attach(front_end: FrontEnd) -> Callable[[], None]:
    """Use ``front_end`` from now on; return the function that detaches it.

    One is used at a time: the last one attached that has not been detached.
    """
    global current
    _attached.append(front_end)
    current = front_end
    return functools.partial(detach, front_end)


def detach(front_end: FrontEnd) -> None:
    """Stop using ``front_end``; do nothing if it is not attached."""
    global current
    _attached[:] = [each for each in _attached if each is not front_end]
    current = _attached[-1] if _attached else PLAIN


def _reset_after_fork() -> None:
    # The child has the parent's shell, but not the parent's front end.
    global current
    _attached.clear()
    current = PLAIN


at_fork(_reset_after_fork)
