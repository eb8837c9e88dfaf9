"""What an embedded loop is to be built on, and what has to be imported before one starts.

``import asyncnb`` and ``%load_ext asyncnb`` import neither: a wrong choice is refused at once, and
the rest is imported when a loop is first needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from asyncnb._core.base.errors import EmbeddedLoopError

#: The fast loop of this platform, which is used if it is installed.
FAST = "winloop" if sys.platform == "win32" else "uvloop"


def _chosen() -> str:
    """Return what ``ASYNCNB_LOOP`` names: "asyncio", "uvloop", "winloop"; "" for no choice.

    Raises EmbeddedLoopError for any other value, and for a loop that is not installed.
    """
    wanted = os.environ.get("ASYNCNB_LOOP", "").strip().lower()
    if wanted not in ("", "asyncio", "uvloop", "winloop"):
        raise EmbeddedLoopError(
            f"ASYNCNB_LOOP={wanted!r} is not a known loop: set ASYNCNB_LOOP=asyncio or "
            "ASYNCNB_LOOP=uvloop, or leave it unset."
        )
    if wanted in ("uvloop", "winloop"):
        from importlib.util import find_spec  # only if a loop was chosen

        if find_spec(FAST) is None:
            raise EmbeddedLoopError(
                f"ASYNCNB_LOOP={wanted}, but {FAST} is not installed: run "
                "`pip install 'asyncnb[fast]'`."
            )
    return wanted


CHOSEN = _chosen()

_preparations: list[Callable[[], object]] = []


def before_start(prepare: Callable[[], object]) -> None:
    """Call ``prepare``, which imports something, before each start of a loop. Any thread.

    It cannot be removed. Several threads may call it at a time.
    """
    _preparations.append(prepare)


def prepare_start() -> None:
    """Import what has to be there before a loop starts. Any thread; holds no lock meanwhile."""
    for prepare in _preparations:
        prepare()
