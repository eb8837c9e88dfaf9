"""When to search for deadlocks: once tasks have not moved for two seconds, and once for each.

Waiting records nothing, and nothing is done per step: two looks, two seconds apart, show which
tasks still wait for the same future. While nothing on the loop moves there is one look and no more.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from asyncnb._core.deadlocks.graph import Graph, Thread, look
from asyncnb._core.deadlocks.search import Knot, knots
from asyncnb._core.deadlocks.sentences import in_short

#: Seconds for which a task must not have moved.
STILL_SECONDS = 2.0
#: The share of a core that the looks may take.
_SHARE = 0.03


class Watcher:
    """Finds knots among the tasks of some loops; calls ``report`` with those that are new."""

    def __init__(
        self,
        tasks: Callable[[], Iterable[asyncio.Task[Any]]],
        report: Callable[[Knot], object],
    ) -> None:
        self._tasks = tasks
        self._report = report
        #: What each task waited for at the last look, by ids.
        self._waiters: dict[int, int] = {}
        #: The same at the last search.
        self._searched: dict[int, int] = {}
        #: The knots that were reported and are still there.
        self._reported: set[frozenset[tuple[int, int]]] = set()
        #: A line for each of them, with its tasks and the futures they wait for.
        self._lines: list[tuple[str, list[tuple[weakref.ref[Any], int]]]] = []

    def __call__(self, at_rest: bool) -> float:
        """Look at the tasks; return the seconds until another look is of use.

        ``at_rest``: no task has taken a step for two seconds. Otherwise, tasks stand still that
        wait for the same future as at the last look. Any thread, one at a time.
        """
        began = time.thread_time()
        tasks = list(self._tasks())
        now = {id(task): id(getattr(task, "_fut_waiter", None)) for task in tasks}
        if at_rest:
            still = None
        else:
            before = self._waiters
            still = {task for task in tasks if before.get(id(task)) == now[id(task)]}
        self._waiters = now
        if tasks and now != self._searched and (still is None or still):
            # Not those that move: what they wait for changes, and the search would not end.
            self._searched = now if still is None or len(still) == len(tasks) else {}
            self._search(look(tasks, still))
        return max(STILL_SECONDS, (time.thread_time() - began) / _SHARE)

    def search(self) -> tuple[Graph, list[Knot]]:
        """Search now, without waiting until tasks have not moved; report nothing. Any thread."""
        graph = look(self._tasks())
        return graph, [knot for knot in knots(graph) if _still_waits(knot)]

    def lines(self) -> list[str]:
        """Return a line for each knot that was reported and is still there. Any thread."""
        return [line for line, marks in self._lines if all(map(_is_same, marks))]

    def _search(self, graph: Graph) -> None:
        found = [it for it in knots(graph) if it.worth_a_note and _still_waits(it)]
        self._lines = [(in_short(knot), _marks(knot)) for knot in found]
        keys = {_key(knot): knot for knot in found}
        new = [knot for key, knot in keys.items() if key not in self._reported]
        self._reported = set(keys)
        for knot in new:
            self._report(knot)


def _key(knot: Knot) -> frozenset[tuple[int, int]]:
    return frozenset(
        (id(n.agent) if isinstance(n.agent, asyncio.Task) else n.agent.ident, _waiter(n.agent))
        for n in knot.nodes
    )


def _marks(knot: Knot) -> list[tuple[weakref.ref[Any], int]]:
    tasks = [node.agent for node in knot.nodes if not isinstance(node.agent, Thread)]
    return [(weakref.ref(task), _waiter(task)) for task in tasks]


def _is_same(mark: tuple[weakref.ref[Any], int]) -> bool:
    task = mark[0]()
    return task is not None and not task.done() and _waiter(task) == mark[1]


def _waiter(agent: Any) -> int:
    return id(getattr(agent, "_fut_waiter", None))


def _still_waits(knot: Knot) -> bool:
    """Return whether none of its tasks has moved during the search."""
    return all(
        isinstance(node.agent, Thread)
        or (node.leaf is node.agent._fut_waiter and node.leaf is not None and not node.leaf.done())
        for node in knot.nodes
    )
