"""What a suspended task waits for, as objects: the primitive, or the futures, and its deadline.

Read from outside, without a frame object: the collector shows what a suspended coroutine refers to,
its stack of values included, so nothing the task holds lives longer because it was looked at.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import os
import sys
import types
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from asyncnb._core.base.frames import ASYNCIO, PACKAGE
from asyncnb._core.introspection.call_graph import code_of, links_of_coroutine
from asyncnb._core.introspection.kinds import attributes_of, is_a, is_future
from asyncnb._core.introspection.waiting_on import chained_to
from asyncnb._core.primitives.timeouts import deadlines, innermost


class Wait(NamedTuple):
    """What one task waits for.

    ``kind`` is "tasks" (futures that other tasks complete: ``futures``), "thread", or else the name
    of what the task waits in, such as ``Lock.acquire``; then ``what`` is the primitive. ``any``
    says whether one of the futures is enough. ``links`` are the coroutines of the task, outermost
    first.
    """

    kind: str
    what: Any
    futures: tuple[Any, ...]
    any: bool
    links: tuple[Any, ...]


#: The coroutines of asyncio, asyncnb and anyio in which a task waits for a primitive.
PRIMITIVES = frozenset(
    (
        "Lock.acquire",
        "Semaphore.acquire",
        "CapacityLimiter.acquire_on_behalf_of",
        "Condition.wait",
        "Barrier.wait",
        "Event.wait",
        "Queue.get",
        "Queue.put",
        "Queue.join",
        "MemoryObjectReceiveStream.receive",
        "MemoryObjectSendStream.send",
    )
)
_EXITS = ("__aexit__", "__exit__")
#: Those that end in a group, whose tasks are in its attribute ``_tasks``.
_GROUPS = frozenset(("TaskGroup.__aexit__", "TaskGroup._aexit", "OpenGroup._wait_for_end"))
#: Those that wait for one of several futures.
_FIRST = ("AsCompleted.", "_AsCompletedIterator.", "as_completed.")


@functools.lru_cache(maxsize=4096)
def is_library(filename: str) -> bool:
    """Return whether a file belongs to asyncio, asyncnb or anyio."""
    return filename.startswith((ASYNCIO, PACKAGE, _anyio()))


def _anyio() -> str:
    found = getattr(sys.modules.get("anyio"), "__file__", None)
    return os.path.dirname(found) + os.sep if found else "\0"


def wait_of(task: asyncio.Task[Any]) -> Wait | None:
    """Return what a suspended task waits for; None if other than a task, a thread or a primitive.

    Also None for a task that is running, or ready to run.
    """
    leaf = getattr(task, "_fut_waiter", None)
    if leaf is None or leaf.done() or getattr(task, "_pause", None) is not None:
        return None
    coro: Any = task.get_coro()
    if getattr(coro, "cr_running", False):
        return None
    links = tuple(links_of_coroutine(coro))
    kind: str = ""
    what: Any = None
    first = False
    sources: dict[Any, Any] = {}  # asyncnb's wait(): signals of futures of other loops
    for link in reversed(links):
        code = code_of(link)
        if code is None or not is_library(code.co_filename):
            break
        name = code.co_qualname
        if name in PRIMITIVES:
            if name == "Condition.wait" and kind == "Lock.acquire":
                break  # it was notified, and waits for the lock again
            kind, what = name, _self_of(link, name.partition(".")[0])
        elif name in _GROUPS:
            group: Any = _self_of(link, name.partition(".")[0])
            return Wait("tasks", group, tuple(getattr(group, "_tasks", ())), False, links)
        elif name == "Worker.run":
            return Wait("thread", _self_of(link, "Worker").thread.ident, (), False, links)
        elif name in ("_wait", "wait") or name.startswith(_FIRST):
            first = first or name.startswith(_FIRST) or _mentions(link, "FIRST_COMPLETED")
            for held in gc.get_referents(link) if name == "wait" else ():
                sources.update(held if type(held) is dict else ())
            if name == "_wait" and not kind:
                given = next((it for it in gc.get_referents(link) if is_a(it, set)), None)
                if given and not hasattr(leaf, "_children"):  # asyncio's own wait()
                    kind, what = "tasks", tuple(given)
    if kind == "tasks":
        return Wait("tasks", None, what, first, links)
    if what is not None:
        return Wait(kind, what, (), False, links)
    futures = _futures_behind(leaf)
    if futures:
        futures = tuple(sources.get(future, future) for future in futures)
        return Wait("tasks", None, futures, first, links)
    innermost_code = code_of(links[-1]) if links else None
    if innermost_code is None or is_library(innermost_code.co_filename):
        return None  # a sleep, a socket, a subprocess
    return Wait("future", leaf, (), False, links)


def _self_of(link: Any, name: str) -> Any:
    """Return the object whose method ``link`` is; ``name`` is that of the class with the method."""
    for held in gc.get_referents(link):
        kind = type(held)
        if kind.__name__ == name or any(it.__name__ == name for it in kind.__mro__[1:-1]):
            return held
    return None


def _mentions(link: Any, text: str) -> bool:
    return any(type(held) is str and held == text for held in gc.get_referents(link))


def _futures_behind(leaf: Any) -> tuple[Any, ...]:
    """Return the futures that complete ``leaf``: a task, the children of a gather."""
    if isinstance(leaf, asyncio.Task):
        return (leaf,)
    for name in ("source", "_inner"):  # a FutureProxy; asyncnb's shield
        inner = getattr(leaf, name, None)
        if inner is not None:
            return (inner,)
    children = getattr(leaf, "_children", None)
    if children:
        return tuple(children)
    for content in chained_to(leaf):
        completes = is_future(content) or is_a(content, concurrent.futures.Future)
        if completes and content is not leaf:
            return (content,)
    return ()


def entered(link: Any, inner: Any) -> Iterator[Any]:
    """Yield the ``async with`` and ``with`` objects that a suspended coroutine is inside of.

    ``inner`` is the coroutine that it awaits: the object whose ``__aenter__`` that is does not
    count yet. Outermost first.
    """
    held = gc.get_referents(link)
    found = []
    for at, it in enumerate(held):
        if type(it) is types.MethodType and it.__name__ in _EXITS:
            found.append(it.__self__)
        elif type(it) is types.FunctionType and it.__name__ in _EXITS and at + 1 < len(held):
            found.append(held[at + 1])  # as of 3.14: the function, then the object
    code = code_of(inner) if inner is not None else None
    if found and code is not None and code.co_name == "__aenter__":
        found.pop()
    for it in found:
        yield it
        # @contextmanager and @asynccontextmanager, and what an exit stack has to leave
        attributes = attributes_of(it)
        generator = attributes.get("gen")
        if is_a(generator, types.GeneratorType | types.AsyncGeneratorType):
            yield from entered(generator, None)
        callbacks = attributes.get("_exit_callbacks")
        for _, callback in tuple(callbacks) if type(callbacks) is deque else ():
            owner = getattr(callback, "__self__", None)
            if owner is not None:
                yield owner


def inside(links: tuple[Any, ...]) -> list[Any]:
    """Return all that the coroutines of a task are inside of, outermost first."""
    found: list[Any] = []
    for at, link in enumerate(links):
        found += entered(link, links[at + 1] if at + 1 < len(links) else None)
    return found


def deadline_of(task: asyncio.Task[Any], within: list[Any], links: tuple[Any, ...]) -> float:
    """Return when a timer will interrupt the task, in its loop's time; infinity for never."""
    found = deadlines(innermost(task))
    for it in within:
        when = getattr(it, "when", None) if type(it).__name__ == "Timeout" else None
        when = when() if callable(when) else None
        if when is None and type(it).__name__ == "CancelScope":
            when = getattr(it, "deadline", None)
        if isinstance(when, float | int):
            found.append(float(when))
    for link in links:
        code = code_of(link)
        if code is not None and is_library(code.co_filename):
            found += [
                it.when()
                for it in gc.get_referents(link)
                if type(it).__name__ == "TimerHandle" and not it.cancelled()
            ]
    return min(found, default=float("inf"))
