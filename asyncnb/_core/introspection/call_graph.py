"""Which task awaits which, and where: frames of a whole await chain, and the awaited-by graph.

Nothing is recorded while tasks run. On request, the edges are read from the callbacks of the
futures: a task that waits for a future has registered a callback on it, which leads back to the
waiting task, through gather(), wait(), shield(), as_completed(), TaskGroup and bridges between
loops.
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
from asyncnb._core.introspection.places import cell_of, function_name, strip_outer_frames, wrappers

__all__ = ["FrameCallGraphEntry", "FutureCallGraph", "capture_call_graph", "format_call_graph"]
__all__ += ["print_call_graph"]

_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_MAX_INDENT = 32  # levels; otherwise a chain of 10,000 tasks would be a triangle of spaces

# The objects that `await` puts between two coroutines and that do not expose what they wrap.
_OPAQUE = {"async_generator_asend", "async_generator_athrow", "anext_awaitable"}
_OPAQUE |= {"coroutine_wrapper", "async_callable_iterator_awaitable"}


def _next_link(obj: Any) -> Any:
    """Return what *obj*, a link of an await chain, is itself waiting for."""
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
    """Return the frames of a suspended coroutine and everything it awaits, outermost first."""
    frames: list[types.FrameType] = []
    # Nearly all links are coroutines of an `async def`, which form no cycle: read without a search.
    while type(coro) is types.CoroutineType:
        frame = coro.cr_frame
        if frame is not None and frame.f_code not in wrappers:
            frames.append(frame)
        coro = coro.cr_await
    seen: set[int] = set()
    while coro is not None and id(coro) not in seen:
        seen.add(id(coro))
        frame = _frame_of(coro)
        if frame is not None and frame.f_code not in wrappers:
            frames.append(frame)
        coro = _next_link(coro)
    return frames


def links_of_coroutine(coro: Any) -> list[Any]:
    """Return a suspended coroutine and the coroutines it awaits, outermost first.

    Without the frames of asyncnb that only wrap a user's coroutine. Makes no frame object.
    """
    links: list[Any] = []
    while type(coro) is types.CoroutineType:
        if coro.cr_code not in wrappers:
            links.append(coro)
        coro = coro.cr_await
    seen: set[int] = set()
    while coro is not None and id(coro) not in seen:
        seen.add(id(coro))
        code = code_of(coro)
        if code is not None and code not in wrappers:
            links.append(coro)
        coro = _next_link(coro)
    return links


def code_of(link: Any) -> types.CodeType | None:
    """Return the code of a coroutine or generator, None for anything else."""
    if type(link) is types.CoroutineType:
        return link.cr_code
    for name in ("cr_code", "ag_code", "gi_code"):
        code = getattr(link, name, None)
        if isinstance(code, types.CodeType):
            return code
    return None


def running_frames(outermost: types.FrameType) -> list[types.FrameType]:
    """Return the frames of a running task, *outermost* first, including regular functions."""
    for top in sys._current_frames().values():
        frames: list[types.FrameType] = []
        frame: types.FrameType | None = top
        while frame is not None:
            frames.append(frame)
            if frame is outermost:
                while frames and is_internal_frame(frames[0]):
                    del frames[0]  # asyncnb's own, when the task inspects itself
                return frames[::-1]
            frame = frame.f_back
    return [outermost]  # the task has been suspended in the meantime


def task_frames(task: asyncio.Task[Any], limit: int | None) -> list[types.FrameType]:
    """Return the frames for ``Task.get_stack``, which documents them."""
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
    return module.partition(".")[0] in ("asyncio", "asyncnb", "anyio")


def _futures_behind_callback(callback: Any, fut: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the futures that *callback*, registered on *fut*, exists for."""
    if depth > 4:
        return
    if isinstance(callback, functools.partial):
        for part in (callback.func, *callback.args):
            yield from _futures_behind_callback(part, fut, depth + 1)
        return
    if asyncio.isfuture(callback):
        if isinstance(callback, asyncio.Task) and depth == 1:
            # Bound to a task: its wake-up if the task waits for this future, else `task.cancel`.
            if getattr(callback, "_fut_waiter", None) is fut:
                yield callback
        else:
            yield callback
        return
    owner = getattr(callback, "__self__", None)
    if asyncio.isfuture(owner):
        if isinstance(owner, asyncio.Task) or _belongs_to_asyncio(type(owner)):
            yield from _futures_behind_callback(owner, fut, 1)
        return
    if owner is not None and _belongs_to_asyncio(type(owner)):
        yield from _futures_behind_object(owner)
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
                yield from _futures_behind_callback(content, fut, depth + 1)
            elif _belongs_to_asyncio(type(content)):
                yield from _futures_behind_object(content)


def _futures_behind_object(owner: Any) -> Iterator[Any]:
    """Yield the futures behind a TaskGroup, an iterator or a queue of asyncio, asyncnb or anyio."""
    host = getattr(getattr(owner, "cancel_scope", None), "_host_task", None)  # of anyio's group
    if asyncio.isfuture(host):
        yield host
    for name in ("_parent_task", "_waiter", "_outer"):
        future = getattr(owner, name, None)
        if asyncio.isfuture(future):
            yield future
    yield from list(getattr(owner, "_waiting", ()))  # asyncnb's as_completed()
    queue = getattr(owner, "_done", owner)  # asyncio's keeps finished futures in a queue
    yield from list(getattr(queue, "_getters", ()))


def awaited_by(fut: asyncio.Future[Any]) -> list[asyncio.Task[Any]]:
    """Return the tasks that wait for *fut*, directly or through gather, shield and similar.

    In the order in which they began to wait. A snapshot, from any thread; takes time proportional
    to the number of callbacks on the way.
    """
    waiting: dict[asyncio.Task[Any], None] = {}
    passed = {id(fut)}
    todo: list[Any] = [fut]
    while todo:
        current = todo.pop()
        recorded = getattr(current, "_asyncio_awaited_by", None) or ()  # recorded by 3.14 itself
        creator = getattr(current, "_parent_task", None)  # of asyncnb's gather() or shield()
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
        yield from _futures_behind_callback(callback, fut)


class FrameCallGraphEntry(NamedTuple):
    """One frame of a call stack."""

    frame: types.FrameType


class FutureCallGraph(NamedTuple):
    """A future, the frames of its task (innermost first), and the same for tasks awaiting it."""

    future: asyncio.Future[Any]
    call_stack: tuple[FrameCallGraphEntry, ...]
    awaited_by: tuple[FutureCallGraph, ...]


def _limited(frames: Iterable[types.FrameType], limit: int | None) -> tuple[Any, ...]:
    """Limit *frames* (innermost first): positive keeps the innermost, negative the outermost."""
    entries = tuple(FrameCallGraphEntry(frame) for frame in frames)
    if limit is None:
        return entries
    return entries[:limit] if limit >= 0 else entries[limit:]


def _stack_of(fut: asyncio.Future[Any], limit: int | None) -> tuple[Any, ...]:
    if limit == 0 or not isinstance(fut, asyncio.Task):
        return ()
    frames = strip_outer_frames(frames_of_coroutine(fut.get_coro()))
    native = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    while frames and not frames[-1].f_code.co_flags & native and _is_library_frame(frames[-1]):
        del frames[-1]  # the generator that implements a primitive: CPython shows none there
    return _limited(reversed(frames), limit)


def _is_library_frame(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in ("asyncio", "asyncnb")


def _build(root: asyncio.Future[Any], stack: tuple[Any, ...], limit: int | None) -> FutureCallGraph:
    # Each future is visited once, however many paths lead to it (gh-156860); without recursion, so
    # that a long chain raises no RecursionError; an edge that closes a cycle is omitted.
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
    """Capture the stack of *future*, by default the current task, and of all tasks that await it.

    Returns None if no future is given and no task is running. When the current task is captured,
    *depth* frames at the top are omitted. *limit* is the maximum number of frames of each stack:
    the innermost ones if positive, the outermost if negative, none if 0. A future that is awaited
    on several paths appears as the same object on each.

    Raises ``RuntimeError`` without a future outside a running loop, ``TypeError`` if *future* is
    not a future. Any thread; tasks of another thread are captured as a snapshot. Source: CPython
    3.15, on every Python, in linear time (gh-156860), through async generators (gh-156980).
    """
    loop = _get_running_loop()
    if future is None:
        if loop is None:
            raise RuntimeError(
                "capture_call_graph() is called outside of a running event loop and no *future* "
                "to introspect was provided; pass a task: capture_call_graph(task)"
            )
        future = asyncio.current_task(loop)
        if future is None:
            return None
    if not asyncio.isfuture(future):
        hint = "; pass the task that runs the coroutine" if inspect.iscoroutine(future) else ""
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
    """Return the graph of :func:`capture_call_graph` as text, an empty string if there is none.

    Each future is shown in full once; where it appears again, one line refers to it. Same
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
        indent = min(level, _MAX_INDENT) * "    "
        head = f"{indent}* {_title(node.future)}"
        if id(node.future) in shown:
            lines.append(f"{head} (shown above)")
            continue
        shown.add(id(node.future))
        lines.append(head)
        if node.call_stack:
            lines.append(f"{indent}  + Call stack:")
            lines += [f"{indent}  |   {_format_frame(entry.frame)}" for entry in node.call_stack]
        if node.awaited_by:
            lines.append(f"{indent}  + Awaited by:")
            todo += [(parent, level + 1) for parent in reversed(node.awaited_by)]
    return "\n".join(lines)


def _title(fut: asyncio.Future[Any]) -> str:
    if isinstance(fut, asyncio.Task):
        return f"Task(name={fut.get_name()!r}, id={id(fut):#x})"
    return f"Future(id={id(fut):#x})"


def _format_frame(frame: types.FrameType) -> str:
    code = frame.f_code
    kind = ""
    if code.co_flags & inspect.CO_ASYNC_GENERATOR:
        kind = "async generator "
    elif code.co_flags & _ASYNC:
        kind = "async "
    elif code.co_flags & inspect.CO_GENERATOR:
        kind = "generator "
    where = cell_of(code.co_filename) or f"File {code.co_filename!r}"
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
    """Print :func:`format_call_graph` to *file*, by default to standard output.

    Same arguments, errors and threads. The frame of this function is not in the graph (gh-156327).
    Source: CPython 3.15.
    """
    print(format_call_graph(future, depth=depth + 1, limit=limit), file=file)
