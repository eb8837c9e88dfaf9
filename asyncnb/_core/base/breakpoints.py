"""Detect a thread that runs a debugger's code, or is paused there while the user inspects it.

pydevd is the debugger of Jupyter, VS Code and PyCharm.
"""

from __future__ import annotations

import os
import types

#: A waiting thread has few frames above pydevd's, and more while it evaluates an expression.
_MAX_FRAMES = 50


def is_at_breakpoint(frame: types.FrameType | None) -> bool:
    """Return whether the thread with the innermost ``frame`` is waiting in pydevd.

    Expressions evaluated at a breakpoint run above the same frame of pydevd.
    """
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return False
        code = frame.f_code
        if code.co_name == "do_wait_suspend" and os.path.basename(code.co_filename) == "pydevd.py":
            return True
        frame = frame.f_back
    return False


def is_debugger_code(code: types.CodeType) -> bool:
    """Return whether ``code`` belongs to pydevd, which traces before, during and after a stop."""
    return "pydevd" in code.co_filename
