"""Who awaits whom, and where: frames of a whole await chain, and the graph of awaited-by edges.

Nothing is recorded while tasks run. When somebody asks, the edges are read from the callbacks of
the futures: whoever waits for one has left a callback there, and it leads back to the waiting
task, through gather(), wait(), shield(), as_completed(), TaskGroup and bridges between loops.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import sys
import traceback
import types
from asyncio import _get_running_loop
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TextIO

from asyncnb._core.base.frames import is_internal_frame
from asyncnb._core.introspection import places as _places
from asyncnb._core.introspection.places import function_name, strip_outer_frames, wrappers

__all__ = ["FrameCallGraphEntry", "FutureCallGraph", "capture_call_graph", "format_call_graph"]
__all__ += ["print_call_graph"]

_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_DEEPEST_INDENT = 32  # levels; a chain of 10,000 tasks would be a triangle of spaces otherwise

# What `await` puts between two coroutines, without saying whom it stands for.
_OPAQUE = {"async_generator_asend", "async_generator_athrow", "anext_awaitable"}
_OPAQUE |= {"coroutine_wrapper", "async_callable_iterator_awaitable"}


def _next_link(obj: Any) -> Any:
    """Return what *obj*, a link of an await chain, is waiting for itself."""
    for name in ("cr_await", "ag_await", "gi_yieldfrom"):
        if hasattr(obj, name):
            return getattr(obj, name)
    if type(obj).__name__ in _OPAQUE:
        for referent in gc.get_referents(obj):
            if _frame_of(referent) is not None or type(referent).__name__ in _OPAQUE:
                return referent
    return None


def _frame_of(obj: Any) -> types.FrameType | None:
    for name in ("cr_frame", "ag_frame", "gi_frame"):
        frame = getattr(obj, name, None)
        if isinstance(frame, types.FrameType):
            return frame
    return None


def frames_of_coroutine(coro: Any) -> list[types.FrameType]:
    """Return the frames of a suspended coroutine and all it awaits, outermost first."""
    frames: list[types.FrameType] = []
    seen: set[int] = set()
    while coro is not None and id(coro) not in seen:
        seen.add(id(coro))
        frame = _frame_of(coro)
        if frame is not None and frame.f_code not in wrappers:
            frames.append(frame)
        coro = _next_link(coro)
    return frames


def running_frames(outermost: types.FrameType) -> list[types.FrameType]:
    """Return the frames of a running task, *outermost* first, plain functions included."""
    for top in sys._current_frames().values():
        frames: list[types.FrameType] = []
        frame: types.FrameType | None = top
        while frame is not None:
            frames.append(frame)
            if frame is outermost:
                while frames and is_internal_frame(frames[0]):
                    del frames[0]  # our own, when the task asks about itself
                return frames[::-1]
            frame = frame.f_back
    return [outermost]  # it suspended meanwhile


def task_frames(task: asyncio.Task[Any], limit: int | None) -> list[types.FrameType]:
    """Return the frames for ``Task.get_stack``, which says what they are."""
    coro = task.get_coro()
    outermost = _frame_of(coro)
    if outermost is None:
        error = task._exception
        if error is None:
            return []
        walk = traceback.walk_tb(error.__traceback__)
        frames = [frame for frame, _ in walk]
        return frames if limit is None else frames[:limit]
    if any(getattr(coro, name, False) for name in ("cr_running", "gi_running", "ag_running")):
        frames = running_frames(outermost)
        return frames if limit is None else frames[:limit]
    frames = frames_of_coroutine(coro)
    return frames if limit is None else frames[-limit:] if limit > 0 else []


def _belongs_to_asyncio(obj: Any) -> bool:
    module = getattr(obj, "__module__", None) or ""
    return module.partition(".")[0] in ("asyncio", "asyncnb")


def _led_to(callback: Any, fut: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the futures that *callback*, registered on *fut*, exists for."""
    if depth > 4:
        return
    if isinstance(callback, functools.partial):
        for part in (callback.func, *callback.args):
            yield from _led_to(part, fut, depth + 1)
        return
    if asyncio.isfuture(callback):
        if isinstance(callback, asyncio.Task) and depth == 1:
            # Bound to a task: its wake-up, if it sleeps on this future; else `task.cancel`.
            if getattr(callback, "_fut_waiter", None) is fut:
                yield callback
        else:
            yield callback
        return
    owner = getattr(callback, "__self__", None)
    if asyncio.isfuture(owner):
        if isinstance(owner, asyncio.Task) or _belongs_to_asyncio(type(owner)):
            yield from _led_to(owner, fut, 1)
        return
    if owner is not None and _belongs_to_asyncio(type(owner)):
        yield from _led_from_object(owner)
        return
    if isinstance(callback, types.FunctionType) and _belongs_to_asyncio(callback):
        for cell in callback.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if content is fut or content is callback:
                continue
            if asyncio.isfuture(content):
                yield content
            elif callable(content):
                yield from _led_to(content, fut, depth + 1)
            elif _belongs_to_asyncio(type(content)):
                yield from _led_from_object(content)


def _led_from_object(owner: Any) -> Iterator[Any]:
    """Yield the futures behind an object of asyncio or ours: a TaskGroup, an iterator, a queue."""
    for name in ("_parent_task", "_waiter", "_outer"):
        future = getattr(owner, name, None)
        if asyncio.isfuture(future):
            yield future
    yield from list(getattr(owner, "_waiting", ()))  # our as_completed()
    queue = getattr(owner, "_done", owner)  # asyncio's keeps the finished in a queue
    yield from list(getattr(queue, "_getters", ()))


def awaited_by(fut: asyncio.Future[Any]) -> list[asyncio.Task[Any]]:
    """Return the tasks that wait for *fut*, directly or through gather, shield and the like.

    In the order in which they began to. A snapshot, for any thread; takes time in proportion to
    the callbacks on the way.
    """
    waiting: dict[asyncio.Task[Any], None] = {}
    passed = {id(fut)}
    todo: list[Any] = [fut]
    while todo:
        current = todo.pop()
        recorded = getattr(current, "_asyncio_awaited_by", None) or ()  # 3.14 keeps its own
        creator = getattr(current, "_parent_task", None)  # of our gather() or shield()
        for future in (*_callback_targets(current), *recorded, creator):
            if isinstance(future, asyncio.Task):
                waiting.setdefault(future)
            elif future is not None and id(future) not in passed:
                passed.add(id(future))
                todo.append(future)
    waiting.pop(fut, None)  # type: ignore[call-overload]
    return [task for task in waiting if not task.done()]


def _callback_targets(fut: Any) -> Iterator[Any]:
    for callback, _ in list(getattr(fut, "_callbacks", None) or ()):
        yield from _led_to(callback, fut)


class FrameCallGraphEntry(NamedTuple):
    """One frame of a call stack."""

    frame: types.FrameType


class FutureCallGraph(NamedTuple):
    """A future, the frames of its task (innermost first), and the same for who awaits it."""

    future: asyncio.Future[Any]
    call_stack: tuple[FrameCallGraphEntry, ...]
    awaited_by: tuple[FutureCallGraph, ...]


def _limited(frames: Iterable[types.FrameType], limit: int | None) -> tuple[Any, ...]:
    """Cut innermost-first *frames*: a positive limit keeps the innermost, a negative the others."""
    entries = tuple(FrameCallGraphEntry(frame) for frame in frames)
    if limit is None:
        return entries
    return entries[:limit] if limit >= 0 else entries[limit:]


def _stack_of(fut: asyncio.Future[Any], limit: int | None) -> tuple[Any, ...]:
    if limit == 0 or not isinstance(fut, asyncio.Task):
        return ()
    frames = strip_outer_frames(frames_of_coroutine(fut.get_coro()))
    native = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    while frames and not frames[-1].f_code.co_flags & native and _is_of_a_library(frames[-1]):
        del frames[-1]  # the generator behind a primitive: CPython shows no generator there
    return _limited(reversed(frames), limit)


def _is_of_a_library(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in ("asyncio", "asyncnb")


def _build(root: asyncio.Future[Any], stack: tuple[Any, ...], limit: int | None) -> FutureCallGraph:
    # Each future is looked at once, whatever the number of paths to it (gh-156860); without
    # recursion, so that a long chain is no RecursionError; an edge that closes a circle is left
    # out.
    stacks = {root: stack}
    parents = {root: awaited_by(root)}
    found: dict[Any, list[FutureCallGraph]] = {root: []}
    graphs: dict[Any, FutureCallGraph] = {}
    path = [root]
    while path:
        fut = path[-1]
        if parents[fut]:
            parent = parents[fut].pop(0)
            if parent in graphs:
                found[fut].append(graphs[parent])
            elif parent not in stacks:
                stacks[parent] = _stack_of(parent, limit)
                parents[parent] = awaited_by(parent)
                found[parent] = []
                path.append(parent)
            continue
        path.pop()
        graphs[fut] = FutureCallGraph(fut, stacks[fut], tuple(found[fut]))
        if path:
            found[path[-1]].append(graphs[fut])
    return graphs[root]


def capture_call_graph(
    future: asyncio.Future[Any] | None = None,
    /,
    *,
    depth: int = 1,
    limit: int | None = None,
) -> FutureCallGraph | None:
    """Capture the stack of *future* and of all who await it, by default of the current task.

    None when no future is given and no task is running. *depth* leaves out so many frames at the
    top when the current task is captured. *limit* keeps at most so many frames of each stack: the
    innermost ones when it is positive, the outermost when negative, none when 0. A future that is
    awaited on several paths appears as the same object on each.

    ``RuntimeError`` without a future outside a running loop, ``TypeError`` for what is no future.
    Any thread; another thread's tasks are a snapshot. Source: CPython 3.15, on every Python, in
    linear time (gh-156860), through async generators (gh-156980).
    """
    loop = _get_running_loop()
    if future is None:
        if loop is None:
            raise RuntimeError(
                "capture_call_graph() is called outside of a running event loop and no *future* "
                "to introspect was provided; call it with a task: capture_call_graph(task)"
            )
        future = asyncio.current_task(loop)
        if future is None:
            return None
    if not asyncio.isfuture(future):
        hint = "; give it the task that runs it" if inspect.iscoroutine(future) else ""
        raise TypeError(
            f"{future!r} object does not appear to be compatible with asyncio.Future{hint}"
        )
    current = None if loop is None else asyncio.current_task(loop)
    if current is None or future is not current:
        return _build(future, _stack_of(future, limit), limit)
    outermost = _frame_of(current.get_coro())
    frames: list[types.FrameType] = []
    frame: types.FrameType | None = sys._getframe(depth) if limit != 0 else None
    while frame is not None:
        frames.append(frame)
        if frame is outermost:
            break
        frame = frame.f_back
    del frame
    frames = strip_outer_frames(reversed(frames))[::-1]
    return _build(future, _limited(frames, limit), limit)


def format_call_graph(
    future: asyncio.Future[Any] | None = None,
    /,
    *,
    depth: int = 1,
    limit: int | None = None,
) -> str:
    """Return the graph of :func:`capture_call_graph` as text, empty when there is none.

    Each future is shown in full once; where it comes again there is a line that says so. Same
    arguments, errors and threads. Source: CPython 3.15.
    """
    graph = capture_call_graph(future, depth=depth + 1, limit=limit)
    if graph is None:
        return ""
    lines: list[str] = []
    shown: set[int] = set()
    todo = [(graph, 0)]
    while todo:
        node, level = todo.pop()
        indent = min(level, _DEEPEST_INDENT) * "    "
        head = f"{indent}* {_title(node.future)}"
        if id(node.future) in shown:
            lines.append(f"{head} (shown above)")
            continue
        shown.add(id(node.future))
        lines.append(head)
        if node.call_stack:
            lines.append(f"{indent}  + Call stack:")
            lines += [f"{indent}  |   {_place(entry.frame)}" for entry in node.call_stack]
        if node.awaited_by:
            lines.append(f"{indent}  + Awaited by:")
            todo += [(parent, level + 1) for parent in reversed(node.awaited_by)]
    return "\n".join(lines)


def _title(fut: asyncio.Future[Any]) -> str:
    if isinstance(fut, asyncio.Task):
        return f"Task(name={fut.get_name()!r}, id={id(fut):#x})"
    return f"Future(id={id(fut):#x})"


def _place(frame: types.FrameType) -> str:
    code = frame.f_code
    kind = ""
    if code.co_flags & inspect.CO_ASYNC_GENERATOR:
        kind = "async generator "
    elif code.co_flags & _ASYNC:
        kind = "async "
    elif code.co_flags & inspect.CO_GENERATOR:
        kind = "generator "
    where = _places.cell_of(code.co_filename) or f"File {code.co_filename!r}"
    name = function_name(code)
    return f"{where}, line {frame.f_lineno}" + (f", in {kind}{name}" if name else "")


def print_call_graph(
    future: asyncio.Future[Any] | None = None,
    /,
    *,
    file: TextIO | None = None,
    depth: int = 1,
    limit: int | None = None,
) -> None:
    """Print :func:`format_call_graph` to *file*, by default standard output.

    Same arguments, errors and threads. Its own frame is not in the graph (gh-156327).
    Source: CPython 3.15.
    """
    print(format_call_graph(future, depth=depth + 1, limit=limit), file=file)
