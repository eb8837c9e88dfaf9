"""What a suspended task waits for, in a few words: ``sleep, 3.2 s left``, ``Queue.get (0 of 10)``.

This is read on request from the frames of the task's await chain and from the future it is
suspended on; waiting itself records nothing. Everything is read without synchronization, from any
thread, and may be a moment out of date.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import socket
import time
import types
from collections.abc import Callable, Iterable
from typing import Any

from asyncnb._core.base.text import count, duration, one_line


def describe_wait(task: asyncio.Task[Any], frames: list[types.FrameType]) -> str:
    """Return what ``task`` waits for; ``frames`` are its suspended frames, outermost first."""
    leaf = getattr(task, "_fut_waiter", None)
    found = None
    for depth, frame in enumerate(reversed(frames)):
        root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if root not in _LIBRARIES:
            break
        describer = _FRAMES.get(frame.f_code.co_qualname)
        if describer is not None:
            # The outermost says most: a socket read, not the event that the read waits for.
            found = describer(frame.f_locals, task) or found
        elif depth == 0 and frame.f_code.co_qualname in _INNERMOST:
            found = _INNERMOST[frame.f_code.co_qualname](frame.f_locals, task)
    return found or _future(leaf, task, frames)


_LIBRARIES = {"asyncio", "asyncnb", "anyio"}

_Describer = Callable[[dict[str, Any], Any], str | None]


def _sleep(names: dict[str, Any], task: Any) -> str | None:
    handle = names.get("handle", names.get("h"))
    if handle is None:
        return None
    if not hasattr(handle, "when"):  # handles of Pyodide's loop have no time
        return "sleep"
    return f"sleep, {duration(max(0.0, handle.when() - task.get_loop().time()))} left"


def _sleep_until(names: dict[str, Any], task: Any) -> str:
    return f"its time, {duration(max(0.0, names['when'] - time.time()))} left"


def _kind(names: dict[str, Any]) -> str:
    return type(names["self"]).__name__


def _queue_get(names: dict[str, Any], task: Any) -> str:
    return f"{_kind(names)}.get {_filled(names['self'])}"


def _queue_put(names: dict[str, Any], task: Any) -> str:
    return f"{_kind(names)}.put {_filled(names['self'])}"


def _filled(queue: Any) -> str:
    size, maxsize = queue.qsize(), queue.maxsize
    return f"({size} of {maxsize})" if maxsize > 0 else f"({size} in it)"


def _queue_join(names: dict[str, Any], task: Any) -> str:
    return f"{_kind(names)}.join ({getattr(names['self'], '_unfinished_tasks', '?')} unfinished)"


def _method(name: str) -> _Describer:
    return lambda names, task: f"{_kind(names)}.{name}"


def _acquire(names: dict[str, Any], task: Any) -> str:
    waiters = len(getattr(names["self"], "_waiters", None) or ())
    others = f" ({waiters} waiting)" if waiters > 1 else ""
    return f"{_kind(names)}.acquire{others}"


def _barrier(names: dict[str, Any], task: Any) -> str:
    barrier = names["self"]
    return f"{_kind(names)}.wait ({barrier.n_waiting} of {barrier.parties})"


def _group(names: dict[str, Any], task: Any) -> str | None:
    tasks = getattr(names["self"], "_tasks", None)
    return None if tasks is None else f"{_kind(names)} ({count(len(tasks), 'task')})"


def _open_group(names: dict[str, Any], task: Any) -> str:
    group = names["self"]
    return f"group {group.name!r} ({count(len(group), 'task')})"


def _map(names: dict[str, Any], task: Any) -> str | None:
    workers = getattr(names["self"], "workers", None)
    return None if workers is None else f"its items ({count(len(workers), 'call')})"


def _after(names: dict[str, Any], task: Any) -> str:
    return str(names["self"])


def _wait(names: dict[str, Any], task: Any) -> str | None:
    return _progress("wait", names.get("fs", names.get("given")))


def _wait_for(names: dict[str, Any], task: Any) -> str | None:
    inner = names.get("fut")  # up to 3.11 a separate task
    return _future(inner, task, []) if asyncio.isfuture(inner) else None


def _thread(names: dict[str, Any], task: Any) -> str:
    func = names.get("func")
    name = getattr(func, "__qualname__", None) or getattr(func, "__name__", None) or repr(func)
    return f"thread: {one_line(name)}"


def _worker(names: dict[str, Any], task: Any) -> str:
    return "its thread"


def _job(names: dict[str, Any], task: Any) -> str:
    return "its worker"


def _subprocess(names: dict[str, Any], task: Any) -> str:
    process = names["self"]
    pid = getattr(process, "pid", None) or getattr(process, "_pid", None)
    transport = getattr(process, "_transport", process)
    inner = getattr(transport, "_proc", None)
    command = getattr(inner, "args", None)
    if isinstance(command, (list, tuple)):
        command = " ".join(map(str, command))
    return f"subprocess {pid}" + (f": {one_line(str(command))}" if command else "")


def _reader(names: dict[str, Any], task: Any) -> str:
    return f"{_peer(getattr(names['self'], '_transport', None))} to read"


def _drain(names: dict[str, Any], task: Any) -> str:
    owner = names["self"]
    return f"{_peer(getattr(owner, '_transport', None))} to write"


def _anyio_read(names: dict[str, Any], task: Any) -> str:
    return f"{_peer(getattr(names['self'], '_transport', None))} to read"


def _sock(names: dict[str, Any], task: Any) -> str:
    return _of_socket(names.get("sock"))


def _sock_connect(names: dict[str, Any], task: Any) -> str:
    return f"connection to {address(names.get('address'))}"


def _create_connection(names: dict[str, Any], task: Any) -> str | None:
    host = names.get("host")
    return None if host is None else f"connection to {host}:{names.get('port')}"


def _getaddrinfo(names: dict[str, Any], task: Any) -> str:
    return f"address of {names.get('host')}"


def _serve(names: dict[str, Any], task: Any) -> str:
    sockets = names["self"].sockets
    return "server on " + ", ".join(address(s.getsockname()) for s in sockets[:3])


#: The describer for a frame, by the qualified name of its coroutine of asyncio, anyio or asyncnb.
_FRAMES: dict[str, _Describer] = {
    "sleep": _sleep,
    "sleep_until": _sleep_until,
    "Queue.get": _queue_get,
    "Queue.put": _queue_put,
    "Queue.join": _queue_join,
    "Event.wait": _method("wait"),
    "Condition.wait": _method("wait"),
    "Lock.acquire": _acquire,
    "Semaphore.acquire": _acquire,
    "Barrier.wait": _barrier,
    "_wait": _wait,
    "to_thread": _thread,
    "Worker.run": _worker,
    "Job.wait": _job,
    "Process.wait": _subprocess,
    "Process.communicate": _subprocess,
    "StreamReader._wait_for_data": _reader,
    "FlowControlMixin._drain_helper": _drain,
    "SocketStream.receive": _anyio_read,
    "BaseEventLoop.create_connection": _create_connection,
    "BaseEventLoop.getaddrinfo": _getaddrinfo,
    "Server.serve_forever": _serve,
    "OpenGroup._wait_for_end": _open_group,
    "After.wait": _after,
    "Driver.drive": _map,
}
for _name in ("sock_recv", "sock_recv_into", "sock_accept", "sock_sendall", "sock_recvfrom"):
    for _class in ("BaseSelectorEventLoop", "BaseProactorEventLoop"):
        _FRAMES[f"{_class}.{_name}"] = _sock
_FRAMES["BaseSelectorEventLoop.sock_connect"] = _sock_connect
_FRAMES["BaseProactorEventLoop.sock_connect"] = _sock_connect

#: The same for coroutines that are described only while they await no other coroutine.
_INNERMOST: dict[str, _Describer] = {
    "wait_for": _wait_for,
    "TaskGroup.__aexit__": _group,
    "TaskGroup._aexit": _group,
}


def _future(leaf: Any, task: Any, frames: list[types.FrameType]) -> str:
    """Return a description of ``leaf``, the future that ``task`` is suspended on."""
    if leaf is None:
        return "its turn"
    if isinstance(leaf, asyncio.Task):
        return f"task {one_line(leaf.get_name())!r}"
    if isinstance(awaits := getattr(leaf, "awaits", None), str):  # of events.values
        return awaits
    source = getattr(leaf, "source", None)  # a FutureProxy
    if source is not None:
        return _future(source, task, frames) if asyncio.isfuture(source) else _executor(source)
    inner = getattr(leaf, "_inner", None)  # our shield
    if asyncio.isfuture(inner):
        return _future(inner, task, frames)
    children = getattr(leaf, "_children", None)
    if children is not None:
        iterates = any(f.f_code.co_qualname.startswith("AsCompleted.") for f in frames[-2:])
        what = "as_completed" if iterates else "gather"
        return _progress(what, children) or what
    for content in chained_to(leaf):
        if isinstance(content, concurrent.futures.Future):
            return _executor(content)
        if asyncio.isfuture(content) and content is not leaf and content is not task:
            return _future(content, task, frames)  # asyncio's shield
    name = type(leaf).__name__
    if name.startswith("_SyncSocket"):
        return _of_socket(_socket_in(leaf))
    if not frames:
        return name
    return f"{name} in {frames[-1].f_code.co_qualname}()"


def chained_to(future: Any) -> Iterable[Any]:
    """Yield what asyncio's own callbacks on a future refer to: the futures it is chained to."""
    for callback, _ in list(getattr(future, "_callbacks", None) or ()):
        if getattr(callback, "__qualname__", "").partition(".")[0] in ("_chain_future", "shield"):
            cells = zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=True)
            for name, cell in cells:
                if name == "cur_task":
                    continue  # since 3.14 the task that called shield(): it is the one that waits
                try:
                    yield cell.cell_contents
                except ValueError:  # not filled yet
                    continue


def _executor(future: concurrent.futures.Future[Any]) -> str:
    return f"executor future, {'running' if future.running() else 'queued'}"


def _socket_in(future: Any) -> Any:
    """Return the socket that uvloop's ``sock_recv`` and similar methods attached to their future.

    These coroutines are compiled and have no local variables to read.
    """
    for held in gc.get_referents(future):
        for content in held.values() if isinstance(held, dict) else (held,):
            if isinstance(content, socket.socket):
                return content
    return None


def _progress(what: str, futures: Any) -> str | None:
    if futures is None:
        return None
    futures = list(futures)
    if len(futures) == 1 and isinstance(futures[0], asyncio.Task):
        return f"task {one_line(futures[0].get_name())!r}"
    done = sum(1 for future in futures if asyncio.isfuture(future) and future.done())
    return f"{what}, {done} of {len(futures)} done"


def _peer(transport: Any) -> str:
    if transport is None:
        return "stream"
    peer = transport.get_extra_info("peername")
    if peer:
        return f"socket {address(peer)}"
    # uvloop's pipes have no extra info and are recognized by the names of their types.
    one_way = type(transport).__name__ in ("ReadUnixTransport", "WriteUnixTransport")
    return "pipe" if one_way or transport.get_extra_info("pipe") is not None else "stream"


def _of_socket(sock: Any) -> str:
    if not isinstance(sock, socket.socket):
        return "socket"
    try:
        return f"socket {address(sock.getpeername())}"
    except OSError:  # the socket listens, is not connected, or was closed
        pass
    try:
        return f"socket {address(sock.getsockname())}"
    except OSError:
        return "socket"


def address(found: Any) -> str:
    """Return a socket's address as text: ``127.0.0.1:8080``, ``[::1]:8080`` or a path."""
    if isinstance(found, tuple) and len(found) >= 2:
        host = f"[{found[0]}]" if ":" in str(found[0]) else found[0]
        return f"{host}:{found[1]}"
    if isinstance(found, bytes):
        found = found.decode(errors="replace")
    return str(found) if found else "(no address)"
