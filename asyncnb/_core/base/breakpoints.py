"""Whether a thread is in a debugger's code, or stands still there because a person looks at it.

pydevd is the debugger of Jupyter, VS Code and PyCharm.
"""

from __future__ import annotations

import os
import types

#: A thread that waits has few frames above that one, and more where it evaluates something.
_MOST_FRAMES = 50


def is_at_breakpoint(frame: types.FrameType | None) -> bool:
    """Return whether ``frame``, the innermost of a thread, is one of pydevd's that waits.

    What is evaluated at a breakpoint runs in the same frame.
    """
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return False
        code = frame.f_code
        if code.co_name == "do_wait_suspend" and os.path.basename(code.co_filename) == "pydevd.py":
            return True
        frame = frame.f_back
    return False


def is_debuggers(code: types.CodeType) -> bool:
    """Return whether ``code`` is of pydevd, which traces: before a stop, in it, and after it."""
    return "pydevd" in code.co_filename
