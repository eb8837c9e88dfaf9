"""FrontEnd: the one port through which the core tells a shell things, and asks it things.

Loading attaches an object for the notebook, unloading and a fork detach it. Without one, in plain
Python, :class:`PlainFrontEnd` answers.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from asyncnb._core.base.forks import at_fork
from asyncnb._core.introspection.info import TaskHandle


class FrontEnd(Protocol):
    """What a shell does with the tasks and the loop of the core.

    ``record`` is the ``TaskRecord`` of a launched task; the core's lower floors know it as a
    :class:`TaskHandle`.
    """

    #: Folders and files, as prefixes, whose frames stand above the user's code in a cell or a
    #: thread; stacks leave them out.
    outer_frame_paths: tuple[str, ...]

    def loop_starting(self, loop: Any) -> None:
        """Handle a new embedded loop, before its thread starts. The thread that starts it."""

    def task_launching(self, record: Any) -> None:
        """Prepare the running context, which the task is going to run in. The launching thread."""

    def task_ended(self, record: Any) -> None:
        """Show the end of a task, and call ``record.set_shown()``, now or later.

        The loop's thread. Where it raises, that is logged, and the failure of the task goes to the
        loop's exception handler, as in plain Python.
        """

    def other_loops(self) -> Sequence[AbstractEventLoop]:
        """Return the loops besides the embedded one whose tasks are the user's. Any thread."""
        ...

    def cell_of(self, filename: str) -> str | None:
        """Return the ``In[n]`` that the code of a file name came from, None if it is no cell."""
        ...

    def publish(self, data: dict[str, Any], metadata: dict[str, Any], **keywords: Any) -> None:
        """Display the mime bundle ``data``, in the running context, as ``display_pub.publish``."""


class PlainFrontEnd:
    """Plain Python: a failure goes to the loop's exception handler, all else needs nothing."""

    outer_frame_paths: tuple[str, ...] = (
        threading.__file__,
        os.path.dirname(concurrent.futures.__file__) + os.sep,
    )

    def loop_starting(self, loop: Any) -> None:
        pass

    def task_launching(self, record: Any) -> None:
        pass

    def task_ended(self, record: TaskHandle) -> None:
        record.report_failure()
        record.set_shown()

    def other_loops(self) -> Sequence[AbstractEventLoop]:
        return ()

    def cell_of(self, filename: str) -> str | None:
        return None

    def publish(self, data: dict[str, Any], metadata: dict[str, Any], **keywords: Any) -> None:
        print(data.get("text/plain", ""))


PLAIN = PlainFrontEnd()

#: The front end of now. To be read as ``frontend.current``, since it changes.
current: FrontEnd = PLAIN
_attached: list[FrontEnd] = []


def attach(front_end: FrontEnd) -> Callable[[], None]:
    """Use ``front_end`` from now on; return the function that detaches it.

    One at a time is used, the last that was attached and not detached.
    """
    global current
    _attached.append(front_end)
    current = front_end
    return functools.partial(detach, front_end)


def detach(front_end: FrontEnd) -> None:
    """Use ``front_end`` no longer; nothing happens when it is not attached."""
    global current
    _attached[:] = [each for each in _attached if each is not front_end]
    current = _attached[-1] if _attached else PLAIN


def _reset_after_fork() -> None:
    # The child has the parent's shell, but not its front end.
    global current
    _attached.clear()
    current = PLAIN


at_fork(_reset_after_fork)
