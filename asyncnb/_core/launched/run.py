"""run: an awaitable run to completion from synchronous code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from asyncnb._core.base.errors import THREADS, cannot_block, would_deadlock
from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.text import brief_value
from asyncnb._core.base.visits import own_loop, runs_here
from asyncnb._core.launched.start import as_coroutine
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.primitives import threads as _threads
from asyncnb._core.primitives.awaitables import close_unstarted
from asyncnb._core.primitives.futures import isfuture
from asyncnb._core.primitives.joining import blocking_wait
from asyncnb._core.primitives.tasks import Task
from asyncnb._core.primitives.threads import run_on
from asyncnb._core.primitives.timeouts import timeout as timeout_after
from asyncnb._core.primitives.waiting import wait_for

__asyncnb_frames__ = "launches"

T = TypeVar("T")


def run(
    awaitable: Awaitable[T],
    *,
    timeout: float | None = None,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run ``awaitable`` to completion from synchronous code and return its result.

    While the embedded loop runs (in a notebook), the work is done there and the calling thread
    waits, even inside another running loop; nothing is patched. Ctrl-C cancels the work, waits for
    its cleanup and raises KeyboardInterrupt; launched tasks that it waited for keep running. After
    ``timeout`` seconds the work is cancelled and TimeoutError is raised.

    >>> def plain():
    ...     return asyncnb.run(asyncio.sleep(0.01, "done"))
    >>> plain()
    'done'

    Without an embedded loop (plain Python), or with a ``loop_factory``, this is ``asyncio.run``.

    Raises TypeError for anything that cannot be awaited, TypeError or ValueError for a timeout
    that is not a number of seconds, and WrongThreadError on the embedded loop's own thread and for
    a task of the loop that this thread runs: write ``await`` there. A coroutine is closed then. In
    Pyodide, whose only thread is the loop's, this waits only where the browser can switch stacks.
    """
    loop = running_embedded_loop()
    try:
        if timeout is not None:
            timeout = check_timeout(timeout)
        if loop_factory is not None and not callable(loop_factory):
            raise TypeError(
                f"loop_factory must be callable or None, not {brief_value(loop_factory)}."
            )
        if THREADS:
            if loop is not None and runs_here(loop):
                raise would_deadlock("asyncnb.run()", "await ...")
            if isfuture(awaitable) and awaitable.get_loop() is own_loop() and not awaitable.done():
                # This thread would have to run the task.
                raise would_deadlock("asyncnb.run()", "await task")
    except BaseException:
        close_unstarted(awaitable)
        raise
    coro = as_coroutine(awaitable, caller="run")
    if not THREADS and asyncio._get_running_loop() is not None:
        return _run_on_this_loop(coro, timeout=timeout, name="asyncnb.run")
    if loop is not None and loop_factory is None and debug is None:
        return run_on(loop, coro, timeout=timeout, name="asyncnb.run")
    if timeout is not None:
        coro = wait_for(coro, timeout)
    if asyncio._get_running_loop() is None:
        return _threads.run(coro, debug=debug, loop_factory=loop_factory)
    return _run_in_thread(coro, debug=debug, loop_factory=loop_factory or asyncio.new_event_loop)


def _run_in_thread(
    coro: Coroutine[Any, Any, T],
    *,
    debug: bool | None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> T:
    """Run ``coro`` as ``asyncio.run`` does, but in another thread: a loop runs in this one."""
    runner = _threads.Runner(debug=debug, loop_factory=loop_factory)
    try:
        loop = runner.get_loop()
    except BaseException:
        coro.close()
        raise

    def live() -> None:
        with runner:  # its exit cancels what is left and waits for the cleanup
            loop.run_forever()

    thread = threading.Thread(target=live, name="asyncnb run", daemon=True)
    thread.start()
    try:
        return run_on(loop, coro)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _run_on_this_loop(coro: Coroutine[Any, Any, T], *, timeout: float | None, name: str) -> T:
    """Run ``coro`` on the running loop to completion, if this browser can wait for that.

    Raises WrongThreadError if it cannot, and TimeoutError after ``timeout`` seconds.
    """
    wait = blocking_wait()
    if wait is None:
        coro.close()
        raise cannot_block("asyncnb.run()", "await ...")

    async def limited() -> T:
        async with timeout_after(timeout):
            return await coro

    loop = asyncio.get_running_loop()
    return cast("T", wait(Task(limited(), loop=loop, name=name)))
