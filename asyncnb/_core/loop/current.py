"""The embedded loop of this process: started when first needed, ended with the process."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  # its exit hook must be registered before ours
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncnb._core import frontend
from asyncnb._core.base.errors import THREADS
from asyncnb._core.base.forks import at_fork, before_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.loop.prerequisites import prepare_start

if TYPE_CHECKING:
    from asyncnb._core.loop.embedded import EmbeddedLoop

logger = logging.getLogger("asyncnb")

#: Seconds after which the loop is started in advance: the cell that asks for it has returned by
#: then, and rarely has the next one begun.
_EARLY_SECONDS = 0.05

_lock = fork_safe_lock()
_current: EmbeddedLoop | None = None
#: The loop that is about to become the embedded loop.
_starting: EmbeddedLoop | None = None
_early: _EarlyStart | None = None


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
    _import_what_it_needs()  # not under our lock: this takes those of the modules
    with _lock:
        if _current is not None and _current.alive:
            return _current
        # What follows may be interrupted by a finaliser or a signal handler that calls this, too:
        # it then already holds the lock, as it runs in this thread.
        return _starting or _start_loop()


def _import_what_it_needs() -> None:
    if THREADS:
        from asyncnb._core.loop import embedded  # noqa: F401
    prepare_start()


def _start_loop() -> EmbeddedLoop:
    global _current, _starting
    if THREADS:
        from asyncnb._core.loop.embedded import EmbeddedLoop

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


class _EarlyStart:
    """The start of the embedded loop on a separate thread, before anything needs the loop."""

    def __init__(self, then: Callable[[], object]) -> None:
        self._then = then
        self._cancelled = False
        self._pause = threading.Lock()
        self._pause.acquire()
        self.thread = threading.Thread(target=self._main, name="asyncnb start", daemon=True)

    def _main(self) -> None:
        try:
            self._pause.acquire(timeout=_EARLY_SECONDS)
            if not self._cancelled:
                embedded_loop()
                self._then()
        except Exception:
            # The next use of the loop tries again, and raises if that fails as well.
            logger.debug("The embedded loop was not started in advance", exc_info=True)

    def finish(self, *, cancel: bool = False) -> None:
        """Start the loop now, or not at all if ``cancel``; return when the thread has ended."""
        self._cancelled = self._cancelled or cancel
        try:
            self._pause.release()
        except RuntimeError:  # by an earlier call
            pass
        if self.thread is not threading.current_thread():
            self.thread.join(2.0)


def start_early(then: Callable[[], object]) -> None:
    """Start the embedded loop on another thread in a moment, and call ``then`` there.

    Returns at once. If the loop is needed earlier, it is started then. Raises RuntimeError at the
    system's limit of threads.
    """
    global _early
    new = _EarlyStart(then)
    new.thread.start()
    _early = new


def _finish_early_start(*, cancel: bool = False) -> None:
    global _early
    early, _early = _early, None
    if early is not None:
        early.finish(cancel=cancel)


def running_or_starting_loop() -> EmbeddedLoop | None:
    """Return the embedded loop if one is alive or about to be started early, else None.

    In the latter case, return when it runs.
    """
    early = _early
    if early is not None and early.thread.is_alive():
        return embedded_loop()
    return running_embedded_loop()


def running_embedded_loop() -> EmbeddedLoop | None:
    """Return the embedded loop if one is alive, else None; never start one."""
    loop = _current
    return loop if loop is not None and not loop._state.ending else None  # see embedded_loop()


def is_embedded(loop: object) -> bool:
    """Return whether ``loop`` is an EmbeddedLoop, without importing that class."""
    module = sys.modules.get("asyncnb._core.loop.embedded")
    kind = getattr(module, "EmbeddedLoop", None)  # its import may be under way
    return kind is not None and isinstance(loop, kind)


def shutdown(timeout: float | None = None) -> bool:
    """Shut down the embedded loop if it runs; see EmbeddedLoop.shutdown. Idempotent."""
    _finish_early_start(cancel=True)
    loop = _current
    return loop is None or loop.shutdown(timeout)


def forget(loop: object) -> None:
    """Forget ``loop``: the next call of embedded_loop() starts another one."""
    global _current
    if _current is loop:
        _current = None


def _after_fork_in_child() -> None:
    global _current, _early, _starting
    loop, _current, _early, _starting = _current, None, None, None
    if loop is not None:
        loop._stop_after_fork()


at_fork(_after_fork_in_child)
# A child forked during an import of another thread could never import that module. What that thread
# imports must not itself set hooks that run before a fork: concurrent.futures.thread does.
before_fork(_finish_early_start)

# concurrent.futures shuts down its threads in an exit hook that runs before every atexit
# function, and after that a cleanup that calls to_thread() fails (cpython#99704). Hooks of that
# kind run last in, first out, and concurrent.futures.thread is imported above: ours runs first.
getattr(threading, "_register_atexit", atexit.register)(shutdown)
