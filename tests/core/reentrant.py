"""Public calls from a finaliser or a signal handler, wherever it comes in.

``python reentrant.py finaliser|signal SECONDS`` prints how often each call was made. It ends with a
traceback of each thread when one of them is stuck.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import signal
import sys
import threading
import time
import weakref
from collections import Counter

import asyncnb
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import shutdown

how, seconds = sys.argv[1], float(sys.argv[2])
faulthandler.dump_traceback_later(60 + 4 * seconds, exit=True)
made: Counter[str] = Counter()
wrong: list[str] = []


async def nothing(*_: object) -> None:
    pass


async def nap() -> None:
    await asyncio.sleep(0.001)


def use_group() -> None:
    group = asyncnb.open_group("g")
    with contextlib.suppress(RuntimeError):  # another call has closed it
        asyncnb.launch(nothing(), group="g")
        group.create_task(nothing())
    group.members()
    group.cancel()


def look() -> None:
    task = asyncnb.launch(nap(), timeout=5)
    task.info()
    assert task.output == ""
    if task.timeout is not None:
        with contextlib.suppress(RuntimeError):
            task.timeout.reschedule(None)
    task.set_name("other")
    task.add_done_callback(nothing_at_all)
    task.remove_done_callback(nothing_at_all)
    task.cancel()


def nothing_at_all(_: object) -> None:
    pass


def find() -> None:
    with contextlib.suppress(asyncnb.TaskNotFoundError):
        asyncnb.task("nap")


def cancel_all() -> None:
    with contextlib.suppress(asyncnb.TaskNotFoundError):
        asyncnb.cancel("*")


def refused() -> None:
    for call in (asyncnb.run, asyncnb.launch):
        try:
            call(None)  # type: ignore[arg-type]
        except (TypeError, asyncnb.WrongThreadError):
            continue
        raise AssertionError("it was taken")


def wait_briefly() -> None:
    """As cleanup does. Refused where the loop would wait for this thread, and it may be that."""
    ends = asyncnb.WrongThreadError, asyncnb.EmbeddedLoopError, asyncnb.CancelledError
    with contextlib.suppress(*ends):  # another call cancels all tasks
        asyncnb.run(nothing(), timeout=20)
    with contextlib.suppress(*ends):
        asyncnb.launch(nothing()).join(20)


def restart() -> None:
    shutdown(0.2)
    asyncnb.launch(nothing())


def thread_cpu() -> None:
    asyncnb.launch(asyncnb.to_thread(int))
    for task in asyncnb.tasks():
        task.info()


queue: asyncnb.Queue[int] = asyncnb.Queue()
event, semaphore, lock = asyncnb.Event(), asyncnb.Semaphore(0), asyncnb.Lock()
condition = asyncnb.Condition(lock)


def use_locks() -> None:
    """All that is no coroutine, while tasks on the loop wait for it."""
    queue.put_nowait(1)
    with contextlib.suppress(asyncnb.QueueEmpty):
        queue.get_nowait()
        queue.task_done()
    event.set()
    event.clear()
    semaphore.release()
    with contextlib.suppress(RuntimeError):  # not taken
        condition.notify_all()
        lock.release()


async def wait_for_locks() -> None:
    for wait in (queue.get, event.wait, semaphore.acquire, lock.acquire):
        with contextlib.suppress(TimeoutError):
            async with asyncnb.timeout(0.01):
                await wait()


calls = {
    "locks": use_locks,
    "waits": lambda: asyncnb.launch(wait_for_locks()),
    "launch": lambda: asyncnb.launch(nothing()),
    "launch with trace": lambda: asyncnb.launch(nothing(), trace=True),
    "tasks": lambda: asyncnb.tasks("x*", all=True),
    "task": find,
    "cancel": cancel_all,
    "open_group": use_group,
    "look": look,
    "refused": refused,
    "wait": wait_briefly,
    "info": thread_cpu,
    "statistics": lambda: asyncnb.embedded_loop().statistics(),
    "watch": lambda: asyncnb.embedded_loop().watch(0.3),
    "track": lambda: list(asyncnb.track(range(2), name="work")),
    "books": registry.validate,
}

current = "nothing"
inside = threading.local()


def interrupt(*_: object) -> None:
    if getattr(inside, "busy", False):
        return
    inside.busy = True
    try:
        calls[current]()
        made[current] += 1
    except BaseException as exc:
        wrong.append(f"{current}: {type(exc).__name__}: {exc}")
    finally:
        inside.busy = False


class Cyclic:
    """Garbage that only the collector finds, in whatever code it runs."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        interrupt()


class Referent:
    """What a weak reference with a callback refers to."""


def litter() -> None:
    Cyclic()
    weakref.finalize(Referent(), interrupt).atexit = False


def work(until: float) -> None:
    foreground = [name for name in calls if name != "wait"]
    while time.monotonic() < until:
        for name in foreground:
            if how == "finaliser":
                litter()
            calls[name]()


asyncnb.embedded_loop().set_exception_handler(lambda *_: None)
for current in calls:
    print(current, flush=True)
    until = time.monotonic() + seconds / len(calls)
    others = [threading.Thread(target=work, args=(until,), daemon=True) for _ in range(1)]
    for each in others:
        each.start()
    if how == "finaliser":
        gc.set_threshold(1, 1, 1)
    else:
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    work(until)
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.set_threshold(700, 10, 10)
    for each in others:
        each.join(30)
        assert not each.is_alive(), "a thread is stuck"
for name in calls if how == "finaliser" else ():
    current = name  # at the start of a loop, too
    gc.set_threshold(1, 1, 1)
    for _ in range(3):
        litter()
        restart()
    gc.set_threshold(700, 10, 10)
shutdown(5)
wrong += registry.validate()
print(dict(made))
print("\n".join(dict.fromkeys(wrong)) or "nothing was wrong")
