"""Find the event loop that a worker thread's function runs itself, and cancel what it runs.

``uvicorn.run``, ``asyncio.run``, ``anyio.run``, ``trio.run``: such a loop sleeps in its selector,
where no exception reaches its thread, and it logs and drops an exception that surfaces in one of
its callbacks. So the loop is asked to cancel what it runs, in the way in which each kind of loop
accepts calls from other threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any


class LeaveLoop(KeyboardInterrupt):
    """Raised in a callback to leave ``run_forever()``, as Ctrl-C does: loops propagate it."""


class InnerLoop:
    """The loop that one thread runs, and whether it has handled the cancel.

    ``loops`` has several elements where only the loops themselves can tell which of them it is.
    """

    def __init__(
        self,
        ident: int,
        loops: list[Any],
        within: types.FrameType,
        *,
        main: asyncio.Future[Any] | None = None,
        trio: bool = False,
        is_certain: bool = True,
    ) -> None:
        self.loops = loops
        self.is_certain = is_certain
        self._ident = ident
        self._main = main
        self._trio = trio
        #: Where the loop runs: once the thread is elsewhere, the loop has been left.
        self._position = (within, within.f_lasti)
        #: Whether what the loop runs has been cancelled.
        self.accepted = False
        self._withdrawn = False
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Request the cancel; the loop handles it in its next iteration. Any thread."""
        for loop in self.loops:
            # The loop may have ended by now; trio's RunFinishedError is a RuntimeError, too.
            with contextlib.suppress(RuntimeError):
                if self._trio:
                    loop.entry_queue.run_sync_soon(self._cancel_trio, loop)
                else:
                    loop.call_soon_threadsafe(self._cancel_asyncio, loop)

    def withdraw(self) -> bool:
        """Withdraw the request; return whether it was withdrawn in time."""
        with self._lock:
            self._withdrawn = not self.accepted
            return self._withdrawn

    def interrupt_step(self, send: Callable[[], bool]) -> bool:
        """Call ``send`` to raise an exception in the step that blocks the loop; return its result.

        In a step of the main task the exception replaces the request: a second cancellation would
        disturb the task's cleanup.
        """
        current = None if self._trio else asyncio.current_task(self.loops[0])
        if current is None or self._main not in (None, current):
            return send()
        if not self.withdraw():
            return False
        sent = send()
        if not sent:
            with self._lock:
                self._withdrawn = False
            self.cancel()  # again: the first request may have been dropped in the meantime
        return sent

    def _accept(self) -> bool:
        with self._lock:
            if self.accepted or self._withdrawn:
                return False
            self.accepted = True
            return True

    def _cancel_trio(self, runner: Any) -> None:
        nursery = runner.main_task.parent_nursery
        if nursery is not None and self._accept():
            nursery.cancel_scope.cancel()

    def _cancel_asyncio(self, loop: Any) -> None:
        """Cancel what ``loop`` runs, on its thread, if that is the right thread."""
        if threading.get_ident() != self._ident:
            return
        if not self._accept():
            return
        if self._main is not None and not self._main.done():
            self._main.cancel()
            return
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        ending = asyncio.gather(*tasks, return_exceptions=True)
        ending.add_done_callback(lambda _: loop.call_soon(self._leave_loop))

    def _leave_loop(self) -> None:
        """End ``run_forever()`` with an exception: the caller would not notice any other end."""
        frame, at = self._position
        if frame.f_lasti == at and any(each is frame for each in _outer_frames(sys._getframe())):
            raise LeaveLoop


def inner_loop(ident: int, frame: types.FrameType | None) -> InnerLoop | None:
    """Return the loop that runs in thread ``ident``, whose innermost frame is ``frame``, if any.

    uvloop's loops run in C, without frames: where no ``Runner`` (``asyncio.run``) surrounds them,
    all running uvloop loops in the local variables of the thread's functions are candidates.
    """
    found: InnerLoop | None = None
    for each in _outer_frames(frame):
        code = each.f_code
        if code.co_name in ("run_until_complete", "run_forever"):
            loop = each.f_locals.get("self")
            main = each.f_locals.get("future")
            if not _is_loop(loop) or hasattr(loop, "thread"):
                continue  # an embedded loop runs in its own thread; this thread only waits for it
            if isinstance(main, asyncio.Future):
                return InnerLoop(ident, [loop], each, main=main)
            if found is None or not found.is_certain:
                found = InnerLoop(ident, [loop], each)
        elif code.co_qualname == "Runner.run":
            main = each.f_locals.get("task")
            if isinstance(main, asyncio.Future):
                return InnerLoop(ident, [main.get_loop()], each, main=main)
        elif code.co_name == "run" and each.f_globals.get("__name__") == "trio._core._run":
            runner = each.f_locals.get("runner")
            if runner is not None:
                return found or InnerLoop(ident, [runner], each, trio=True)
        elif found is None:
            loops = [it for it in list(each.f_locals.values()) if _may_run_in_c(it)]
            if loops:
                found = InnerLoop(ident, loops, each, is_certain=False)
    return found


def _outer_frames(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_loop(value: object) -> bool:
    # By its type: isinstance() reads an attribute of the value, which may be a proxy that refuses.
    return issubclass(type(value), asyncio.AbstractEventLoop)


def _may_run_in_c(value: Any) -> bool:
    # A loop written in Python has frames, and an embedded loop has its own thread.
    return (
        _is_loop(value)
        and not issubclass(type(value), asyncio.BaseEventLoop)
        and not hasattr(value, "thread")
        and value.is_running()
    )


def ended_by_cancel(exc: BaseException) -> bool:
    """Return whether ``exc`` is what an inner loop raises when its work has been cancelled."""
    kinds: tuple[type[BaseException], ...] = (asyncio.CancelledError, LeaveLoop)
    trio_cancelled = getattr(sys.modules.get("trio"), "Cancelled", None)
    if trio_cancelled is not None:
        kinds += (trio_cancelled,)
    if isinstance(exc, BaseExceptionGroup):
        # Of both kinds where one step of a nursery had to be left by an exception.
        return exc.split(kinds)[1] is None
    return isinstance(exc, kinds)
