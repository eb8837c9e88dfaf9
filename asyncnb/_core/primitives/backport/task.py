"""The C task of 3.11 and 3.12 with the behaviour of 3.13's. To be removed with support for 3.12.

A pure-Python task could do all of this, at 1.5 to 3 times the cost of each task. The C task lacks
three things, and there is a way to add each:

* ``uncancel()`` to zero withdraws a cancellation that was not delivered yet. The flag is
  read-only, but ``Task.__init__`` clears it. So the task is initialised again; the step that this
  schedules is dropped, and the callbacks, name and count are restored. This happens only if there
  is a request to withdraw.
* eager start (3.11): see ``backport.eager``.
* ``get_context()`` (3.11), and ``get_coro()`` after an eager end, which is a segmentation fault
  on 3.12.0 to 3.12.4 (gh-122332).
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import operator
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from asyncnb._core.base.call_soon_hook import replaced_call_soon

_T = TypeVar("_T")
_init: Callable[..., None] = asyncio.Task.__init__
_uncancel = asyncio.Task.uncancel
_get_name: Callable[..., str | None] = asyncio.Task.get_name
#: False where nest_asyncio has replaced asyncio's Task by the pure-Python one.
_IS_C = hasattr(asyncio.Task, "_coro")
_c_coro: Callable[[Any], Any] = (
    asyncio.Task._coro.__get__ if _IS_C else operator.attrgetter("_coro")  # type: ignore[attr-defined]
)
_HAS_EAGER = sys.version_info >= (3, 12)

if not _HAS_EAGER:
    from asyncnb._core.primitives.backport.eager import next_name


class BackportedTask(asyncio.Task[_T]):
    """``asyncio.Task`` of 3.11 and 3.12 with the semantics of 3.13's."""

    _must_cancel: bool  # attributes of the C task
    _log_destroy_pending: bool

    __slots__ = () if _HAS_EAGER else ("_eager",)

    def uncancel(self) -> int:
        count = _uncancel(self)
        if count == 0 and self._must_cancel:
            self._withdraw_cancel()
        return count

    def _withdraw_cancel(self) -> None:
        if _c_coro(self) is None:
            return  # the task is in its eager step, which checks the count when it ends
        callbacks = self._callbacks or ()
        log_pending = self._log_destroy_pending
        loop = self.get_loop()
        context = self.get_context()
        init_args = {"loop": loop, "name": self.get_name()}
        with replaced_call_soon(loop, _drop(self)):
            # Twice, the first time in an empty context: __init__ leaks the context that it replaces
            # (unless it creates one), so let it leak an empty one.
            contextvars.Context().run(lambda: _init(self, _c_coro(self), **init_args))
            _init(self, _c_coro(self), context=context, **init_args)
        self._log_destroy_pending = log_pending
        for fn, fn_context in callbacks:
            asyncio.Task.add_done_callback(self, fn, context=fn_context)

    if _HAS_EAGER:

        def get_coro(self) -> Any:
            return _c_coro(self)

    elif TYPE_CHECKING:

        def __init__(
            self,
            coro: Coroutine[Any, Any, _T],
            *,
            loop: Any = None,
            name: str | None = None,
            context: contextvars.Context | None = None,
            eager_start: bool | None = False,
        ) -> None: ...

        def get_context(self) -> contextvars.Context: ...

    elif _IS_C:
        #: Set on a task that was started eagerly: its coroutine (None if it ended in the eager
        #: step), its context, and the coroutine for its repr.
        _eager: tuple[Any, contextvars.Context, Any]

        @property
        def _coro(self) -> Any:
            try:
                return self._eager[2]
            except AttributeError:
                return _c_coro(self)

        def get_coro(self) -> Any:
            try:
                coro = self._eager[0]
            except AttributeError:
                return _c_coro(self)
            return None if self.done() and _c_coro(self) is None else coro

        def get_context(self) -> contextvars.Context:
            try:
                return self._eager[1]
            except AttributeError:
                # The first object a C task refers to; there is no other way to get it.
                return next(x for x in gc.get_referents(self) if type(x) is contextvars.Context)

        def get_name(self) -> str:
            name: str | None = _get_name(self)
            if name is None:
                name = next_name()
                self.set_name(name)
            return name

    else:

        def get_coro(self) -> Any:
            return None if getattr(self, "_eager", (self,))[0] is None else self._coro

        def get_context(self) -> contextvars.Context:
            return self._context


def _drop(task: asyncio.Task[Any]) -> Callable[..., bool]:
    def is_step_of_task(fn: Any, context: Any) -> bool:
        return getattr(fn, "__self__", None) is task

    return is_step_of_task
