"""Explains errors of objects and calls that are bound to one thread, and how to avoid them.

Cells without ``await`` run in the main thread, cells with ``await`` on the embedded loop's thread,
so what looks like one program to its author is two threads to sqlite3, to ``threading.local`` and
to ``signal.signal``.
"""

from __future__ import annotations

import re
import threading
from typing import Any

from asyncnb._core.base.errors import safe_str
from asyncnb._core.loop.current import running_embedded_loop

_THREADS = (
    "Cells without `await` run in the main thread, cells with `await` on the embedded loop's thread"
)
_SQLITE = (
    "The object was created {maker} and used {user}. {threads}. Either write "
    "`sqlite3.connect(..., check_same_thread=False)`, in SQLAlchemy `create_engine(..., "
    "connect_args={{'check_same_thread': False}}, poolclass=StaticPool)`, and it works in both "
    "kinds of cell; or create and use it in one kind of cell."
)
_MEMORY = (
    "SQLAlchemy creates one in-memory SQLite database per thread, and this thread's has no "
    f"tables. {_THREADS}. Either write `create_engine('sqlite://', connect_args="
    "{'check_same_thread': False}, poolclass=StaticPool)`, and all threads share one database; or "
    "use the engine in one kind of cell."
)
_LOCAL = (
    f"A threading.local has different attributes in each thread. {_THREADS}. Either keep the value "
    "in a plain variable, or in `types.SimpleNamespace()`; or set it in the kind of cell that "
    "reads it."
)
_SIGNAL = (
    f"Python accepts signal handlers only in the main thread. {_THREADS}. Either write "
    "`signal.signal(...)` in a cell without `await`, or `loop.add_signal_handler(...)`, which "
    "works in every cell. Where a library does it in a coroutine, `%%atask --on kernel` runs the "
    "cell on the kernel's own loop, in the main thread."
)
_SIGNAL_OF_LOOP = (
    "Only a loop in the main thread accepts signal handlers, and this one runs in a worker thread, "
    "as in every background cell without `await`. Tell the library to set none, in aiohttp by "
    "`web.run_app(..., handle_signals=False)`: `%tasks cancel` ends what the loop runs."
)

_IDS = re.compile(r"created in thread id (\d+) and this is thread id (\d+)")


def explanation(exc: BaseException) -> str | None:
    """Return what to write instead, if *exc* was raised because code ran in another thread."""
    if isinstance(exc, AttributeError):
        return _LOCAL if isinstance(exc.obj, threading.local) else None
    kind = type(exc).__name__
    if kind == "ProgrammingError":  # sqlite3's, and SQLAlchemy's around it; neither is imported
        ids = _IDS.search(safe_str(exc))
        if ids is not None:
            maker, user = (_named(int(ident)) for ident in ids.groups())
            return _SQLITE.format(maker=maker, user=user, threads=_THREADS)
    elif kind == "OperationalError":
        if "no such table" in safe_str(exc) and _has_database_per_thread(exc):
            return _MEMORY
    elif kind == "ValueError" and "only works in main thread" in safe_str(exc):
        return _SIGNAL
    elif kind == "RuntimeError" and "set_wakeup_fd only works in main" in safe_str(exc):
        return _SIGNAL_OF_LOOP
    return None


def _named(ident: int) -> str:
    if ident == threading.main_thread().ident:
        return "in the main thread"
    loop = running_embedded_loop()
    if loop is not None and ident == loop.thread.ident:
        return "on the embedded loop's thread"
    # Not by name: the thread may have ended, and a new one may have the same number.
    return "in another thread (each background cell without `await` has its own)"


def _has_database_per_thread(exc: BaseException) -> bool:
    """Return whether SQLAlchemy raised *exc* for an engine with a connection for each thread."""
    tb = exc.__traceback__
    while tb is not None:
        connection: Any = tb.tb_frame.f_locals.get("self")
        pool = getattr(getattr(connection, "engine", None), "pool", None)
        if type(pool).__name__ == "SingletonThreadPool":
            return True
        tb = tb.tb_next
    return False
