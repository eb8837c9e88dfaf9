"""The embedded loop of this process: started when first needed, ended with the process."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  # its exit hook must be registered before ours
import threading

from asyncnb._core import frontend
from asyncnb._core.base.errors import THREADS
from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.loop.embedded import EmbeddedLoop

_lock = fork_safe_lock()
_current: EmbeddedLoop | None = None
#: The loop that is about to become the embedded loop.
_starting: EmbeddedLoop | None = None


def embedded_loop() -> EmbeddedLoop:
    """Return the process's embedded loop; start it, or a new one after a crash, if needed.

    May be called from any thread. In a forked child this is a new loop: a child never runs its
    parent's. Where there are no threads (Pyodide) it is the loop that is already running; raises
    EmbeddedLoopError there if none is.
    """
    loop = _current
    # Half of the checks of `alive` are enough here: a loop that ends, in whatever way, sets
    # `ending`, and a fork resets `_current`.
    if loop is not None and not loop._state.ending:
        return loop
    if loop is not None and loop.dead:
        # Its thread was killed before it could do this. Not under our lock: this takes others.
        loop._end_everything()
    starting = _starting
    if starting is not None and starting.is_being_started_here():
        return starting  # a finaliser on that thread, while the starting thread waits for it
    with _lock:
        if _current is not None and _current.alive:
            return _current
        # What follows may be interrupted by a finaliser or a signal handler that calls this, too:
        # it then already holds the lock, as it runs in this thread.
        return _starting or _start_loop()


def _start_loop() -> EmbeddedLoop:
    global _current, _starting
    if THREADS:
        loop = EmbeddedLoop()
    else:
        from asyncnb._core.loop.hosted import adopt

        loop = adopt(forget)
    if _current is not None and _current.alive:
        loop.close()
        return _current
    _starting = loop
    try:
        frontend.current.loop_starting(loop)
        if THREADS:
            loop.start()
        _current = loop
    finally:
        _starting = None
    return loop


def running_embedded_loop() -> EmbeddedLoop | None:
    """Return the embedded loop if one is alive, else None; never start one."""
    loop = _current
    return loop if loop is not None and not loop._state.ending else None  # see embedded_loop()


def shutdown(timeout: float | None = None) -> bool:
    """Shut down the embedded loop if it runs; see EmbeddedLoop.shutdown. Idempotent."""
    loop = _current
    return loop is None or loop.shutdown(timeout)


def forget(loop: object) -> None:
    """Forget ``loop``: the next call of embedded_loop() starts another one."""
    global _current
    if _current is loop:
        _current = None


def _after_fork_in_child() -> None:
    global _current, _starting
    loop, _current, _starting = _current, None, None
    if loop is not None:
        loop._stop_after_fork()


at_fork(_after_fork_in_child)

# concurrent.futures shuts down its threads in an exit hook that runs before every atexit
# function, and after that a cleanup that calls to_thread() fails (cpython#99704). Hooks of that
# kind run last in, first out, and concurrent.futures.thread is imported above: ours runs first.
getattr(threading, "_register_atexit", atexit.register)(shutdown)
