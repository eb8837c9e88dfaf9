"""Retries as an object of tenacity says, through what tenacity documents. Imported with one."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from asyncnb._core.pacing.policy import Retry
from asyncnb._core.pacing.retries import Holdable, RunRetries

__asyncnb_frames__ = "waits"

T = TypeVar("T")


class TenacityRetries(RunRetries):
    """The retries of one run, as a ``Retrying`` or ``AsyncRetrying`` object of tenacity decides.

    Its ``stop``, ``wait``, ``retry``, ``before``, ``after``, ``before_sleep``, ``reraise`` and
    ``retry_error_callback`` are used as they are, so a call that is given up raises ``RetryError``
    unless ``reraise=True``. A ``Retrying``, which is for plain code, would block the loop while it
    waits: its parts are passed to an ``AsyncRetrying``.
    """

    def __init__(self, retrying: Any) -> None:
        super().__init__(Retry())
        tenacity: Any = sys.modules["tenacity"]  # where the object is from
        if not isinstance(retrying, tenacity.AsyncRetrying):
            retrying = tenacity.AsyncRetrying(
                stop=retrying.stop,
                wait=retrying.wait,
                retry=retrying.retry,
                before=retrying.before,
                after=retrying.after,
                before_sleep=retrying.before_sleep,
                reraise=retrying.reraise,
                retry_error_cls=retrying.retry_error_cls,
                retry_error_callback=retrying.retry_error_callback,
            )
        self._retrying = retrying.copy(
            retry=functools.partial(_never_after_a_cancel, retrying.retry)
        )

    def after(self, exc: BaseException, attempt: int) -> float | None:
        """Not for these: tenacity decides in ``call``."""
        raise NotImplementedError("tenacity decides about retries in call()")

    async def call(
        self,
        attempt: Callable[[Any], Awaitable[T]],
        item: Any,
        *,
        rate: Holdable | None = None,
        on_retry: Callable[[Exception, float], object] | None = None,
    ) -> T:
        """See RunRetries. The callbacks of tenacity find the item in ``retry_state.args``."""
        attempts, failure = 0, None

        async def once(item: Any) -> T:
            nonlocal attempts, failure
            attempts += 1
            self.count += attempts > 1
            try:
                return await attempt(item)
            except Exception as exc:
                failure = exc
                if rate is not None:
                    self.hold(exc, rate)
                raise

        async def sleep(seconds: float) -> None:
            if on_retry is not None and failure is not None:
                on_retry(failure, float(seconds))
            slept = own_sleep(seconds)
            if inspect.isawaitable(slept):
                await slept

        own_sleep = self._retrying.sleep
        # A copy for each call: an object of tenacity keeps the state of the call that it makes.
        result: T = await self._retrying.copy(sleep=sleep)(once, item)
        return result


async def _never_after_a_cancel(retry: Any, state: Any) -> Any:
    """Return what ``retry`` says of a failure; False for a cancellation, whatever it says."""
    outcome = state.outcome
    if outcome.failed and not isinstance(outcome.exception(), Exception):
        return False
    wanted = retry(state)
    return await wanted if inspect.isawaitable(wanted) else wanted
