"""The wait graph, from one look at the living tasks: what waits for what, and what could end that.

Pure data, apart from the look itself. A task *lives* if something could still wake it: it runs, it
waits for a socket or a timer, or for a task that lives, or living code refers to the primitive it
waits for. What is left cannot move.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Container, Iterable
from typing import Any, NamedTuple

from asyncnb._core import frontend
from asyncnb._core.base.frames import PACKAGE
from asyncnb._core.deadlocks.reach import MAX_OBJECTS, Walk, of_frame
from asyncnb._core.deadlocks.waits import Wait, deadline_of, inside, wait_of
from asyncnb._core.introspection.call_graph import code_of, links_of_coroutine, running_frames
from asyncnb._core.introspection.kinds import is_a
from asyncnb._core.introspection.stack import frames_of_thread
from asyncnb._core.introspection.unmanaged import is_host_task
from asyncnb._core.primitives.all_tasks import all_tasks, tasks_of
from asyncnb._core.primitives.joining import join_future
from asyncnb._core.primitives.sync.wakeups import SharedBetweenLoops

#: A timeout at most this many seconds away ends a wait soon enough: nothing to report.
SOON_SECONDS = 60.0
#: How many tasks are looked at between two moments at which the loop may run: under a millisecond.
_BATCH = 64
#: The methods that can end a wait, by what the task waits in.
RELEASING = {
    "Lock.acquire": ("release",),
    "Semaphore.acquire": ("release",),
    "CapacityLimiter.acquire_on_behalf_of": ("release", "release_on_behalf_of"),
    "Condition.wait": ("notify", "notify_all"),
    "Barrier.wait": ("wait", "abort", "reset"),
    "Event.wait": ("set",),
    "Queue.get": ("put", "put_nowait", "shutdown"),
    "Queue.put": ("get", "get_nowait", "shutdown"),
    "Queue.join": ("task_done", "shutdown"),
    "MemoryObjectReceiveStream.receive": ("send", "send_nowait", "close", "aclose"),
    "MemoryObjectSendStream.send": ("receive", "receive_nowait", "close", "aclose"),
    "future": ("set_result", "set_exception", "cancel"),
}
LOCKS = ("Lock.acquire", "Semaphore.acquire", "CapacityLimiter.acquire_on_behalf_of")


class Thread(NamedTuple):
    """A thread that blocks until a task has ended."""

    ident: int
    name: str


class Node:
    """A task or a thread that waits."""

    __slots__ = ("agent", "deadline", "exact", "holds", "leaf", "releasers", "things", "wait")

    def __init__(self, agent: Any, wait: Wait) -> None:
        self.agent = agent
        self.wait = wait
        #: The future that a task is suspended on.
        self.leaf = getattr(agent, "_fut_waiter", None)
        self.deadline = float("inf")
        #: The primitives that it is inside of.
        self.holds: list[Any] = []
        #: What code must have hold of to end this wait: the primitive, or futures of no task.
        self.things: tuple[Any, ...] = () if wait.what is None else (wait.what,)
        #: The agents that would end this wait, as far as known.
        self.releasers: list[Any] = []
        #: Whether these are all that can.
        self.exact = False


class Graph:
    """The nodes that cannot move, by agent, and how much was looked at."""

    def __init__(self) -> None:
        self.nodes: dict[Any, Node] = {}
        self.tasks = 0
        #: Number of tasks that wait for a task, a thread or a primitive.
        self.waiting = 0
        #: Whether there was too much to walk through, so that what waits counts as living.
        self.exhausted = False


def look(tasks: Iterable[asyncio.Task[Any]], still: Container[Any] | None = None) -> Graph:
    """Return the graph of those of ``tasks`` that nothing living could wake.

    Of these, only the ones in ``still``, if given, count as waiting. Tasks of other loops that they
    wait for are looked at, too, and if they wait in a lock or queue that loops share, those of all
    loops.
    """
    graph = Graph()
    nodes: dict[Any, Node] = {}
    moving: list[asyncio.Task[Any]] = []
    todo = [task for task in tasks if not task.done() and not is_host_task(task)]
    loops = {task.get_loop() for task in todo}
    shared: set[Any] = set()
    while todo:
        graph.tasks += len(todo)
        found: set[Any] = set()
        for number, task in enumerate(todo):
            if not number % _BATCH:
                time.sleep(0)  # let the loop have the interpreter
            wait = wait_of(task) if still is None or task in still else None
            if wait is None:
                moving.append(task)
                continue
            nodes[task] = Node(task, wait)
            for it in map(source_of, wait.futures):
                if asyncio.isfuture(it) and it.get_loop() not in loops:
                    loops.add(it.get_loop())
                    found |= all_tasks(it.get_loop())
        if (
            not found
            and not shared
            and any(is_a(node.wait.what, SharedBetweenLoops) for node in nodes.values())
        ):
            shared = _running_loops() - loops
            loops |= shared
            found = tasks_of(shared)
        todo = [task for task in found if not is_host_task(task)]
    graph.waiting = len(nodes)
    if not nodes:
        return graph
    for node in _threads():
        nodes[node.agent] = node
    _find_holders(nodes, moving)
    living = set(nodes) - _settle(nodes, set())
    things = [node for node in nodes.values() if node.agent not in living and not node.exact]
    if things:
        walk = Walk(it for node in things for it in node.things)
        fresh = [link for task in moving for link in _links(task)]
        fresh += [it for loop in loops for it in _roots_of_loop(loop)]
        fresh += [link for agent in living for link in nodes[agent].wait.links]
        while True:
            walk.go(filter(_is_of_the_user, fresh))
            if walk.exhausted:
                graph.exhausted = True
                return graph
            reached = {n.agent for n in things if any(id(it) in walk.reached for it in n.things)}
            before, living = living, set(nodes) - _settle(nodes, reached)
            if living == before:
                break
            fresh = [link for agent in living - before for link in nodes[agent].wait.links]
    graph.nodes = {agent: node for agent, node in nodes.items() if agent not in living}
    _find_releasers(graph.nodes)
    return graph


def _running_loops() -> set[Any]:
    """Return the loops that run in any thread; Python has no list of them."""
    # Ten milliseconds for a million objects, in the thread that looks for deadlocks.
    loops = [it for it in gc.get_objects() if is_a(it, asyncio.AbstractEventLoop)]
    return {loop for loop in loops if loop.is_running() is True}


def _is_of_the_user(link: Any) -> bool:
    """Return whether ``link`` is no coroutine of the code that runs cells and launched tasks.

    From there all of the shell could be reached, and so every name of the notebook.
    """
    code = code_of(link)
    return code is None or not code.co_filename.startswith(
        (*_RUNNING, *frontend.current.outer_frame_paths)
    )


_RUNNING = tuple(
    os.path.join(PACKAGE, folder, "") for folder in ("_kernel", "_offload", "_core/launched")
)


def _links(task: asyncio.Task[Any]) -> list[Any]:
    coro: Any = task.get_coro()
    if getattr(coro, "cr_running", False):  # the collector sees nothing of it now
        return [it for frame in running_frames(coro.cr_frame) for it in of_frame(frame)]
    links = links_of_coroutine(coro)
    return links or [coro]


def _roots_of_loop(loop: Any) -> list[Any]:
    """Return what timers, sockets and signals of ``loop`` refer to."""
    if loop in frontend.current.other_loops():
        return []  # the kernel's own: it leads to all of the shell
    attributes = getattr(loop, "__dict__", {})
    kinds = (set, dict, deque, list)
    return [
        it
        for it in (*attributes.values(), *gc.get_referents(loop))
        if it is not attributes and (type(it) in kinds or isinstance(it, selectors.BaseSelector))
    ]


def _threads() -> list[Node]:
    """Return a node for each thread that blocks in ``task.join()``."""
    found = []
    for thread in threading.enumerate():
        for frame in frames_of_thread(thread.ident):
            if frame.f_code is join_future.__code__ and frame.f_locals.get("timeout") is None:
                wait = Wait("tasks", None, (frame.f_locals["fut"],), False, ())
                found.append(Node(Thread(thread.ident or 0, thread.name), wait))
                break
    return found


def _find_holders(nodes: dict[Any, Node], moving: list[asyncio.Task[Any]]) -> None:
    """Note what each task is inside of, and so which tasks hold the locks that others wait for."""
    locks = {id(n.wait.what) for n in nodes.values() if n.wait.kind in LOCKS}
    holders: dict[int, list[Any]] = {}
    for number, (agent, node) in enumerate(nodes.items()):
        if not number % _BATCH:
            time.sleep(0)
        if not node.wait.links:
            continue
        within = inside(node.wait.links)
        now = agent.get_loop().time()
        node.deadline = deadline_of(agent, within, node.wait.links) - now
        node.holds = list(map(_lock_of, within))
        if node.wait.kind == "Condition.wait":
            released = _lock_of(node.wait.what)
            node.holds = [lock for lock in node.holds if lock is not released]
        for lock in node.holds:
            holders.setdefault(id(lock), []).append(agent)
    if locks:
        for task in moving:
            for lock in map(_lock_of, inside(tuple(_links(task)))):
                holders.setdefault(id(lock), []).append(task)
    threads = {agent.ident: agent for agent in nodes if isinstance(agent, Thread)}
    running = _running_futures(threads)
    for node in nodes.values():
        wait = node.wait
        if wait.kind == "tasks":
            given = [it for it in map(source_of, wait.futures) if not it.done()]
            node.releasers = [it for it in given if isinstance(it, asyncio.Task)]
            node.things = tuple(it for it in given if not isinstance(it, asyncio.Task))
            node.exact = not node.things
            if any(isinstance(it, concurrent.futures.Future) for it in given):
                # What an executor runs: it lives, unless its thread waits for a task.
                node.releasers = [threads[it] for it in map(running.get, given) if it in threads]
                node.exact, node.things = True, ()
        elif wait.kind == "thread":
            node.releasers = [threads[wait.what]] if wait.what in threads else []
            node.exact = True
        elif wait.kind in LOCKS:
            recorded = getattr(wait.what, "_owner_task", None)  # of anyio
            known = [recorded] if recorded is not None else holders.get(id(wait.what), [])
            node.releasers = list(dict.fromkeys(known))
            node.exact = bool(known)


def _running_futures(threads: Iterable[int]) -> dict[Any, int]:
    """Return the futures of what an executor runs in ``threads``, each with its thread."""
    found = {}
    for ident in threads:
        for frame in frames_of_thread(ident):
            if frame.f_code.co_qualname == "_WorkItem.run":
                found[frame.f_locals["self"].future] = ident
    return found


def _lock_of(it: Any) -> Any:
    inner = getattr(it, "_lock", None) if type(it).__name__ == "Condition" else None
    return it if inner is None else inner


def source_of(future: Any) -> Any:
    """Return the task or future behind a proxy for another loop."""
    for _ in range(8):
        inner = getattr(future, "source", None) or getattr(future, "_inner", None)
        if inner is None:
            return future
        future = inner
    return future


def _settle(nodes: dict[Any, Node], reached: set[Any]) -> set[Any]:
    """Return the agents that cannot move; ``reached`` are those that living code could wake."""
    still = {
        agent for agent, n in nodes.items() if agent not in reached and n.deadline > SOON_SECONDS
    }
    waiters: dict[Any, list[Any]] = {}
    for agent in still:
        for other in nodes[agent].releasers:
            waiters.setdefault(other, []).append(agent)
    todo = [agent for agent in still if _is_free(nodes[agent], still)]
    while todo:
        agent = todo.pop()
        if agent in still:
            still.discard(agent)
            todo += [
                it for it in waiters.get(agent, ()) if it in still and _is_free(nodes[it], still)
            ]
    return still


def _is_free(node: Node, still: set[Any]) -> bool:
    """Return whether the wait of ``node`` can end while those in ``still`` cannot move."""
    if not node.exact:
        return False
    stuck = [it in still for it in node.releasers]
    if node.wait.kind == "tasks" and not node.wait.any:
        return not any(stuck)
    return not all(stuck) or not stuck


def _find_releasers(nodes: dict[Any, Node]) -> None:
    """Find which of the tasks that cannot move would end the waits of others, by their code."""
    things = [node for node in nodes.values() if not node.exact]
    wanted: dict[int, list[Node]] = {}
    for node in things:
        for it in node.things:
            wanted.setdefault(id(it), []).append(node)
    methods = {name for node in things for name in _methods(node)}
    names: dict[tuple[Any, ...], set[str]] = {}
    visits = 0
    for agent, other in nodes.items():
        links = tuple(filter(_is_of_the_user, other.wait.links))
        if not links or not methods or visits > MAX_OBJECTS:
            continue
        codes = tuple(map(code_of, links))
        if codes not in names:
            walk = Walk(())
            walk.go(links)
            names[codes] = walk.names
        if not methods & names[codes]:
            continue
        walk = Walk(it for node in things for it in node.things)
        walk.go(links)
        visits += walk.visits
        for key in walk.reached:
            for node in wanted[key]:
                # A consumer of the same queue is none of its producers, whatever it does later.
                if not _waits_alike(other, node) and walk.names.intersection(_methods(node)):
                    node.releasers.append(agent)


def _methods(node: Node) -> tuple[str, ...]:
    return RELEASING["future" if node.wait.kind == "tasks" else node.wait.kind]


def _waits_alike(one: Node, other: Node) -> bool:
    return one.wait.kind == other.wait.kind and one.wait.what is other.wait.what
