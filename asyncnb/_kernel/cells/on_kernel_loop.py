"""``--on kernel``: runs a task on the kernel's own loop, which is on the main thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__asyncnb_frames__ = "waits"


async def on_loop(
    loop: asyncio.AbstractEventLoop, start: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    """Run a coroutine as a task of ``loop``, in this context; return its result.

    A cancellation is passed on to that task, and the wait continues until the task has ended.
    ``loop`` may be any loop, in any thread. Raises what the coroutine raised.
    """
    here = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[Any, BaseException | None]] = here.create_future()
    inner: list[asyncio.Task[Any]] = []

    async def guarded() -> tuple[Any, BaseException | None]:
        try:
            return await start(), None
        except BaseException as exc:
            # KeyboardInterrupt and SystemExit too: in a task they would end the kernel's loop.
            return None, exc

    def report(task: asyncio.Task[tuple[Any, BaseException | None]]) -> None:
        # The task itself is cancelled only if it never started.
        outcome = (None, asyncio.CancelledError()) if task.cancelled() else task.result()
        here.call_soon_threadsafe(ended.set_result, outcome)

    def begin() -> None:
        inner.append(loop.create_task(guarded()))
        inner[0].add_done_callback(report)

    def cancel() -> None:
        inner[0].cancel()

    loop.call_soon_threadsafe(begin)
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            loop.call_soon_threadsafe(cancel)
    value, error = ended.result()
    try:
        if error is not None:
            raise error
    finally:
        del error
    return value
