"""The observers of progress: they display what ``progress.py`` reports.

In a separate file, since ``%load_ext`` adds an observer and few notebooks report progress.
"""

from __future__ import annotations

import contextvars
import itertools
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock

logger = logging.getLogger("asyncnb")
_numbers = itertools.count(1)

#: Called with a ``Progress``.
Observer: TypeAlias = Callable[[Any], object]
#: Every observer with an object that identifies its registration: a function may observe twice.
_observers: tuple[tuple[object, Observer], ...] = ()
_lock = fork_safe_lock()
#: The observer of the job that the running code belongs to. Only this observer receives the job's
#: reports: it relays them to the kernel, which displays them and may be this very process.
job_observer: contextvars.ContextVar[Observer | None] = contextvars.ContextVar(
    "asyncnb_job_observer", default=None
)
#: The ids of work whose report made an observer raise; nothing more is reported for these.
_failed: set[int] = set()


def observe_progress(observer: Observer) -> Callable[[], None]:
    """Call ``observer`` with every Progress from now on; return a function that ends this.

    The observer is called in the thread, task and context of the work, once per item, so it must be
    quick and select what it shows. If it raises, the error is logged once and this piece of work
    reports nothing more; other work continues to report. Any number of observers may be registered,
    and removed in any order; without one, reporting costs next to nothing. Any thread.
    """
    global _observers
    entry = (object(), observer)
    with _lock:
        _observers += (entry,)

    def end() -> None:
        global _observers
        with _lock:
            _observers = tuple(each for each in _observers if each is not entry)

    return end


def _reset_after_fork() -> None:
    global _observers
    _observers = ()  # their front end belongs to the parent process
    _failed.clear()


at_fork(_reset_after_fork)


def next_progress_id() -> int:
    """Return a new id for the reports of another piece of work."""
    return next(_numbers)


def report(progress: Any) -> None:
    """Report to the job's observer, or without one to all observers, in the current context."""
    job = job_observer.get()
    if job is None and not _observers:
        return
    if progress.id in _failed:
        if progress.ended:
            _failed.discard(progress.id)
        return
    for observer in [job] if job is not None else [each for _, each in _observers]:
        try:
            observer(progress)
        except Exception:
            # A failing bar must make neither its work nor any other bar fail.
            logger.exception("The progress of %r could not be shown", progress.label)
            if not progress.ended:
                _failed.add(progress.id)
