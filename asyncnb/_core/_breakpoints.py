"""Whether a debugger has stopped a thread: it stands still because a person looks at it."""

from __future__ import annotations

import os
import types

#: A thread that waits has few frames above that one, and more where it evaluates something.
_MOST_FRAMES = 50


def is_at_breakpoint(frame: types.FrameType | None) -> bool:
    """Return whether ``frame``, the innermost of a thread, is one of pydevd's that waits.

    pydevd is the debugger of Jupyter, VS Code and PyCharm. What is evaluated at a breakpoint runs
    in the same frame.
    """
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return False
        code = frame.f_code
        if code.co_name == "do_wait_suspend" and os.path.basename(code.co_filename) == "pydevd.py":
            return True
        frame = frame.f_back
    return False
