"""Knots: tasks that wait for each other, and tasks that wait for what nothing can give them."""

from __future__ import annotations

import gc
import threading
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from asyncnb._core.deadlocks.graph import LOCKS, Graph, Node, Thread
from asyncnb._core.deadlocks.names import variable_in
from asyncnb._core.deadlocks.reach import Walk, is_namespace, of_frame
from asyncnb._core.deadlocks.waits import Wait
from asyncnb._core.introspection.kinds import is_a
from asyncnb._core.introspection.stack import frames_of_thread

#: Waits in which a task is idle rather than stuck: a worker without work, a loop of events.
_IDLE = frozenset(
    ("Queue.get", "Event.wait", "Condition.wait", "MemoryObjectReceiveStream.receive", "future")
)
_CONSUMING = ("Queue.get", "MemoryObjectReceiveStream.receive")
#: How many steps from a primitive to what holds it are followed.
_MAX_STEPS = 12
#: More objects than this are not followed: each step compares all of memory with all of them.
_MAX_REFERRERS = 20


class Knot(NamedTuple):
    """Nodes that cannot move and why: ``cycle`` is False for one that waits for what is gone.

    ``outside``: whether code that is not running now, a new cell or a callback, could end it.
    """

    nodes: tuple[Node, ...]
    cycle: bool
    outside: bool

    @property
    def worth_a_note(self) -> bool:
        """Whether it is a fault, as far as can be seen, and not workers that have no work."""
        if self.cycle:
            return not self.outside or any(n.wait.kind not in _IDLE for n in self.nodes)
        wait = self.nodes[0].wait
        if self.outside:
            return wait.kind in ("Lock.acquire", "Queue.join")
        # `await asyncio.Future()` and `await asyncio.Event().wait()`, of what has no name, are how
        # a task says that it waits until it is cancelled; a worker may outlive the producers.
        return wait.kind not in _CONSUMING and any(
            variable_in(link, wait.what) for node in self.nodes for link in node.wait.links
        )


def knots(graph: Graph) -> list[Knot]:
    """Return the knots of ``graph``, in the order of the names of their tasks."""
    found = []
    nodes = graph.nodes
    for members in _cycles(nodes):
        if not _in_reach_of_threads(members):
            outside = any(not n.exact for n in members) and _held_outside(members, nodes)
            found.append(Knot(_sorted(members), True, outside))
    orphans: dict[tuple[str, int], list[Node]] = {}
    for node in nodes.values():
        if not node.exact and not node.releasers and node.wait.what is not None:
            orphans.setdefault((node.wait.kind, id(node.wait.what)), []).append(node)
    for waiting in orphans.values():
        if not _in_reach_of_threads(waiting):
            found.append(Knot(_sorted(waiting), False, _held_outside(waiting, nodes)))
    return sorted(found, key=lambda knot: (not knot.cycle, _order(knot.nodes[0])))


def _order(node: Node) -> tuple[bool, str]:
    return (isinstance(node.agent, Thread), getattr(node.agent, "get_name", str)())


def _sorted(members: list[Node]) -> tuple[Node, ...]:
    return tuple(sorted(members, key=_order))


def _cycles(nodes: dict[Any, Node]) -> Iterator[list[Node]]:
    """Yield the groups of nodes that all wait for each other: strongly connected components."""
    edges = {agent: [it for it in node.releasers if it in nodes] for agent, node in nodes.items()}
    order: dict[Any, int] = {}
    low: dict[Any, int] = {}
    stack: list[Any] = []
    on_stack: set[Any] = set()
    for root in nodes:
        if root in order:
            continue
        path = [(root, iter(edges[root]))]
        while path:
            agent, following = path[-1]
            if agent not in order:
                order[agent] = low[agent] = len(order)
                stack.append(agent)
                on_stack.add(agent)
            for other in following:
                if other not in order:
                    path.append((other, iter(edges[other])))
                    break
                if other in on_stack:
                    low[agent] = min(low[agent], order[other])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[agent])
                if low[agent] == order[agent]:
                    members = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        members.append(member)
                        if member is agent:
                            break
                    if len(members) > 1 or agent in edges[agent]:
                        yield [nodes[it] for it in sorted(members, key=order.__getitem__)]


def _in_reach_of_threads(members: list[Node]) -> bool:
    """Return whether the user's code in a thread refers to what one of them waits for."""
    things = [it for node in members if not node.exact for it in node.things]
    if not things:
        return False
    waiting = {node.agent.ident for node in members if isinstance(node.agent, Thread)}
    walk = Walk(things)
    for thread in threading.enumerate():
        if thread.ident not in waiting:
            for frame in frames_of_thread(thread.ident):
                walk.go(of_frame(frame))
    return walk.exhausted or bool(walk.reached)


def _held_outside(members: list[Node], nodes: dict[Any, Node]) -> bool:
    """Return whether anything but tasks that cannot move refers to what ``members`` wait for."""
    ours: set[int] = set()
    tasks = set()
    for agent, node in nodes.items():
        ours.update(map(id, (node, node.wait, node.wait.links, node.wait.futures)))
        ours.update(map(id, (node.holds, node.releasers, node.things)))
        ours.update(map(id, node.wait.links))
        tasks.add(id(agent))
    things = {id(it): it for node in members if not node.exact for it in node.things}
    frontier = list(things.values())
    seen = set(things)
    del things  # it refers to them, too
    if len(frontier) > _MAX_REFERRERS:
        return True
    for _ in range(_MAX_STEPS):
        following: list[Any] = []
        for it in gc.get_referrers(*frontier):
            key = id(it)
            if it is frontier or key in ours or key in tasks or key in seen:
                continue
            if type(it) in (Node, Wait, types.FrameType) or _is_arguments(it, frontier):
                continue
            if is_a(it, types.ModuleType | type) or is_namespace(it):
                return True
            seen.add(key)
            following.append(it)
        if not following:
            return False
        if len(following) > _MAX_REFERRERS:
            return True
        del it
        frontier = following
    return True


def _is_arguments(it: Any, frontier: list[Any]) -> bool:
    return (
        type(it) is tuple
        and len(it) == len(frontier)
        and all(one is other for one, other in zip(it, frontier, strict=True))
    )


def held_locks(node: Node, knot: Knot) -> list[Any]:
    """Return the locks that ``node`` holds and that other nodes of ``knot`` wait for."""
    wanted = {id(n.wait.what) for n in knot.nodes if n.wait.kind in LOCKS}
    return [it for it in {id(it): it for it in node.holds}.values() if id(it) in wanted]
