"""The terminal as a screen: its keys one at a time, and lines that are drawn where they changed.

Escape sequences and the standard library alone: curses is not there on Windows, and rich reads no
keys.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Callable
from typing import Any, Final

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # other screen, no cursor, no wrapping
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"

#: What terminals send for keys that are no characters.
_SEQUENCES: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\r": "enter",
    "\n": "enter",
    "\x1b": "escape",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x03": "ctrl-c",
    "\x04": "ctrl-c",
}
#: The same for what Windows' console returns after a first "\xe0" or "\0".
_WINDOWS: Final = {
    "H": "up",
    "P": "down",
    "I": "page up",
    "Q": "page down",
    "G": "home",
    "O": "end",
}
_KEY: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)


def keys_in(text: str) -> list[str]:
    """Return the keys that a terminal sends as ``text``: names such as ``up``, or characters."""
    return [_SEQUENCES.get(found, found) for found in _KEY.findall(text)]


class Terminal:
    """The terminal, while this is entered: an empty screen; what was there before comes back."""

    def __init__(self) -> None:
        self._undo: Callable[[], object] = bool
        self._shown: list[str] = []
        self._size = (0, 0)
        self._decoder: Any = codecs.getincrementaldecoder("utf-8")("replace")

    def __enter__(self) -> Terminal:
        self._undo = _raw()
        self._write(_ENTER)
        return self

    def __exit__(self, *exc: object) -> None:
        self._write(_LEAVE)
        self._undo()

    def size(self) -> tuple[int, int]:
        """Return columns and lines."""
        try:
            found = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 80, 24
        return max(20, found.columns), max(5, found.lines)

    @property
    def polled(self) -> int | None:
        """What can be polled for keys; None where nothing can (Windows)."""
        return None if sys.platform == "win32" else sys.stdin.fileno()

    def pressed(self) -> list[str]:
        """Return the keys that have been pressed; without one, none at once."""
        return _pressed(self._decoder)

    def draw(self, lines: list[str]) -> None:
        """Show these lines; only what differs from before is written."""
        size = self.size()
        if size != self._size:
            self._size, self._shown = size, []
            self._write("\x1b[2J")
        lines = lines[: size[1]]
        parts = []
        for row in range(max(len(lines), len(self._shown))):
            line = lines[row] if row < len(lines) else ""
            if row >= len(self._shown) or self._shown[row] != line:
                parts.append(f"\x1b[{row + 1};1H{line}\x1b[0m\x1b[K")
        self._shown = lines
        self._write("".join(parts))

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()


if sys.platform == "win32":
    import ctypes
    import msvcrt

    def _raw() -> Callable[[], object]:
        """Have the console follow escape sequences; return what undoes that."""
        windows = ctypes.windll.kernel32
        handle = windows.GetStdHandle(-11)
        before = ctypes.c_uint32()
        windows.GetConsoleMode(handle, ctypes.byref(before))
        windows.SetConsoleMode(handle, before.value | 4)
        return lambda: windows.SetConsoleMode(handle, before.value)

    def _pressed(decoder: Any) -> list[str]:
        found = []
        while msvcrt.kbhit():
            key = msvcrt.getwch()
            if key in "\0\xe0":
                found.append(_WINDOWS.get(msvcrt.getwch(), ""))
            else:
                found.append(_SEQUENCES.get(key, key))
        return found

else:
    import select
    import termios
    import tty

    def _raw() -> Callable[[], object]:
        """Have keys arrive one at a time; return what undoes that."""
        stdin = sys.stdin.fileno()
        before = termios.tcgetattr(stdin)
        tty.setcbreak(stdin)
        now = termios.tcgetattr(stdin)
        now[3] &= ~termios.ISIG  # Ctrl-C is a key here, and Ctrl-Z would leave the other screen
        termios.tcsetattr(stdin, termios.TCSADRAIN, now)
        return lambda: termios.tcsetattr(stdin, termios.TCSADRAIN, before)

    def _pressed(decoder: Any) -> list[str]:
        stdin = sys.stdin.fileno()
        text = ""
        while select.select([stdin], [], [], 0)[0]:
            data = os.read(stdin, 4096)
            if not data:  # the terminal is gone
                return ["ctrl-c"]
            text += decoder.decode(data)
        return keys_in(text)
