"""The C task of 3.11 and 3.12, brought to what 3.13's does. Goes when 3.12 does.

A pure-Python task could do all of it, at 1.5 to 3 times the cost of each task. The C one lacks
three things, and each has a way in:

* ``uncancel()`` to zero withdraws a cancellation that was not delivered yet. The flag is
  read-only, but ``Task.__init__`` clears it. So a task is initialised anew, with the step it wants
  to schedule thrown away and its callbacks, name and count put back. It happens only when there
  is a request to withdraw.
* eager start (3.11): the first step, which the constructor hands to ``loop.call_soon``, is caught
  and run on the spot, with the current task left meanwhile.
* ``get_context()`` (3.11), and ``get_coro()`` after an eager end, which is a segmentation fault
  on 3.12.0 to 3.12.4 (gh-122332).
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import types
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from asyncnb._core._call_soon import call_soon_lock, replaced_call_soon
from asyncnb._core._futures import iscoroutine

_T = TypeVar("_T")
_init: Callable[..., None] = asyncio.Task.__init__
_uncancel = asyncio.Task.uncancel
_current_tasks: dict[AbstractEventLoop, Any] = vars(asyncio.tasks)["_current_tasks"]
_HAS_EAGER = sys.version_info >= (3, 12)


class BackportedTask(asyncio.Task[_T]):
    """``asyncio.Task`` of 3.11 and 3.12 with the semantics of 3.13's."""

    _coro: Any  # attributes of the C task
    _must_cancel: bool
    _log_destroy_pending: bool
    _first_step: Callable[[], None] | None

    __slots__ = () if _HAS_EAGER else ("_context", "_ended_eagerly", "_first_step")

    def uncancel(self) -> int:
        count = _uncancel(self)
        if count == 0 and self._must_cancel:
            self._withdraw_cancel()
        return count

    def _withdraw_cancel(self) -> None:
        callbacks = self._callbacks or ()
        log_pending = self._log_destroy_pending
        loop = self.get_loop()
        context = self.get_context()
        init_args = {"loop": loop, "name": self.get_name()}
        with replaced_call_soon(loop, _drop(self)):
            # Twice, the first time in an empty context: __init__ forgets to release the context
            # that it replaces (unless it makes one), so let it lose an empty one.
            contextvars.Context().run(lambda: _init(self, self._coro, **init_args))
            _init(self, self._coro, context=context, **init_args)
        self._log_destroy_pending = log_pending
        for fn, fn_context in callbacks:
            asyncio.Task.add_done_callback(self, fn, context=fn_context)

    if _HAS_EAGER:

        def get_coro(self) -> Any:
            return self._coro

    else:

        def __init__(
            self,
            coro: Coroutine[Any, Any, _T],
            *,
            loop: AbstractEventLoop | None = None,
            name: str | None = None,
            context: contextvars.Context | None = None,
            eager_start: bool | None = False,
        ) -> None:
            if type(coro) is not types.CoroutineType and not iscoroutine(coro):
                raise TypeError(f"a coroutine was expected, got {coro!r}")
            if context is None:
                context = contextvars.copy_context()
            self._context = context
            self._ended_eagerly = False
            if eager_start and loop is not None and loop.is_running():
                self._start_eagerly(coro, loop, name, context)
            else:
                _init(self, coro, loop=loop, name=name, context=context)

        def _start_eagerly(
            self,
            coro: Coroutine[Any, Any, _T],
            loop: AbstractEventLoop,
            name: str | None,
            context: contextvars.Context,
        ) -> None:
            with call_soon_lock:
                attributes = loop.__dict__
                saved = attributes.get("call_soon")
                self._first_step = None
                attributes["call_soon"] = self._catch_first_step
                try:
                    _init(self, coro, loop=loop, name=name, context=context)
                finally:
                    if saved is None:
                        del attributes["call_soon"]
                    else:
                        attributes["call_soon"] = saved
            step, self._first_step = self._first_step, None
            assert step is not None  # else the C task schedules its steps in another way
            current = _current_tasks.pop(loop, None)
            try:
                context.run(step)
            except RuntimeError:
                # The context is entered already (gh-157301): nothing ran, nothing is pending.
                self._log_destroy_pending = False
                asyncio.tasks._unregister_task(self)
                raise
            finally:
                if current is not None:
                    _current_tasks[loop] = current
            self._ended_eagerly = self.done()

        def _catch_first_step(self, fn: Any, *args: Any, context: Any = None) -> Any:
            if getattr(fn, "__self__", None) is self:
                self._first_step = fn
                return None
            # Somebody else's: a finaliser of this thread, or another thread at the same moment.
            loop = self.get_loop()
            if asyncio._get_running_loop() is loop:
                return type(loop).call_soon(loop, fn, *args, context=context)
            return loop.call_soon_threadsafe(fn, *args, context=context)

        def get_coro(self) -> Any:
            return None if self._ended_eagerly else self._coro

        def get_context(self) -> contextvars.Context:
            return self._context


def _drop(task: asyncio.Task[Any]) -> Callable[..., bool]:
    def is_step_of_task(fn: Any, context: Any) -> bool:
        return getattr(fn, "__self__", None) is task

    return is_step_of_task
