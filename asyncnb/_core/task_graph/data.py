"""The graph of tasks as nodes and edges: what starts after what, and what waits for what now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from asyncnb._core.base.errors import CommandError, TaskNotFoundError
from asyncnb._core.base.text import count
from asyncnb._core.deadlocks.graph import source_of
from asyncnb._core.deadlocks.waits import wait_of
from asyncnb._core.introspection.info import ENDED, STATES
from asyncnb._core.launched.group_facts import GroupFacts
from asyncnb._core.launched.named_groups import find_group, group_counts
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import matches, registry

#: Above this number of nodes, those with the same neighbours are drawn as one.
FOLD_ABOVE = 200
#: As many nodes are drawn at most.
MAX_NODES = 400
#: As many nodes with the same neighbours, at least, are drawn as one.
MIN_FOLDED = 4

#: The kinds of edges, and what the legend says of them.
KINDS = {
    "after": "starts after",
    "follow": "follows: runs again with it",
    "await": "waits for it now",
}


class Node(NamedTuple):
    """A task, a group, or several tasks with the same neighbours."""

    name: str
    state: str
    note: str = ""


class Edge(NamedTuple):
    """From what is waited for to what waits."""

    source: str
    target: str
    kind: str


class Graph(NamedTuple):
    """Nodes by key, edges between keys, and how many tasks are not drawn: they have no edge."""

    nodes: dict[str, Node]
    edges: list[Edge]
    alone: int


def graph_data(pattern: str = "*") -> Graph:
    """Return the graph of the newest task of each name; any thread, as of now.

    With a ``pattern``, of the tasks that match and all that they depend on, or that depend on them.
    Raises TaskNotFoundError for a pattern that matches none, and CommandError if there is more than
    can be drawn.
    """
    newest = {record.name: record for record in registry.records()}
    edges = _edges(newest)
    used = {name for edge in edges for name in edge[:2]}
    if pattern == "*":
        drawn = used
    else:
        wanted = {name for name, record in newest.items() if matches(record, pattern)}
        wanted |= {name for name in used if name == pattern}
        if not wanted:
            raise TaskNotFoundError(registry.no_match_message(pattern))
        drawn = _reached(wanted, edges, 0, 1) | _reached(wanted, edges, 1, 0)
    edges = [edge for edge in edges if edge.source in drawn and edge.target in drawn]
    order = [name for name in newest if name in drawn]
    order += sorted(drawn - newest.keys())
    graph = Graph({name: _node(name, newest) for name in order}, edges, len(newest.keys() - drawn))
    if len(graph.nodes) > FOLD_ABOVE:
        graph = _folded(graph)
    if len(graph.nodes) > MAX_NODES:
        raise CommandError(
            f"The graph has {count(len(graph.nodes), 'node')}; {MAX_NODES} are drawn at most. "
            "`%tasks graph PATTERN` draws what is connected with the tasks whose names match."
        )
    return graph


def _edges(newest: dict[str, TaskRecord]) -> list[Edge]:
    edges: dict[Edge, None] = {}
    for name, record in newest.items():
        after = record.after
        if after is not None:
            kind = "follow" if after.follows else "after"
            edges |= dict.fromkeys(Edge(source, name, kind) for source in after.names)
        if record.ended is None and (after is None or not after.pending):
            edges |= dict.fromkeys(
                Edge(other, name, "await") for other in _awaited(record) if other in newest
            )
    return list(edges)


def _awaited(record: TaskRecord) -> Iterable[str]:
    """Yield the names of the launched tasks that a task waits for now."""
    wait = wait_of(record.task)
    for future in () if wait is None else map(source_of, wait.futures):
        other: TaskRecord | None = getattr(future, "_record", None)
        if other is not None and not future.done():
            yield other.name


def _reached(start: set[str], edges: list[Edge], source: int, target: int) -> set[str]:
    following: dict[str, list[str]] = {}
    for edge in edges:
        following.setdefault(edge[source], []).append(edge[target])
    found, todo = set(start), list(start)
    while todo:
        for name in following.get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return found


def _node(name: str, newest: dict[str, TaskRecord]) -> Node:
    record = newest.get(name)
    if record is not None:
        after = record.after
        several = after is not None and after.first and len(after.names) > 1
        return Node(name, record.state(), "after the first" if several else "")
    facts = _group(name, newest.values())
    if facts is None:
        return Node(name, "", "no longer listed")
    counts = group_counts(facts)
    note = f"group, {count(counts.total, 'task')}"
    if facts.failed or facts.timed_out:
        return Node(name, "failed", note)
    if facts.cancelled:
        return Node(name, "cancelled", note)
    return Node(name, "running" if counts.running else "done", note)


def _group(name: str, records: Iterable[TaskRecord]) -> GroupFacts | None:
    group = find_group(name)
    if group is not None:
        return group.facts
    return next((r.group_facts for r in registry.records()[::-1] if r.group == name), None)


def _folded(graph: Graph) -> Graph:
    """Return ``graph`` with tasks of the same neighbours as one node."""
    around: dict[str, list[Any]] = {name: [] for name in graph.nodes}
    for source, target, kind in graph.edges:
        around[source].append((target, kind, True))
        around[target].append((source, kind, False))
    alike: dict[Any, list[str]] = {}
    for name, neighbours in around.items():
        alike.setdefault(frozenset(neighbours), []).append(name)
    into: dict[str, str] = {}
    nodes: dict[str, Node] = {}
    for names in alike.values():
        if len(names) < MIN_FOLDED:
            nodes |= {name: graph.nodes[name] for name in names}
        else:
            nodes[names[0]] = _one_of(names, graph.nodes)
            into |= dict.fromkeys(names, names[0])
    edges = dict.fromkeys(
        Edge(into.get(source, source), into.get(target, target), kind)
        for source, target, kind in graph.edges
    )
    return Graph(nodes, list(edges), graph.alone)


def _one_of(names: list[str], nodes: dict[str, Node]) -> Node:
    states = [nodes[name].state for name in names]
    tallies = {state: states.count(state) for state in STATES if state in states}
    living = next((state for state in tallies if state not in ENDED), "done")
    note = ", ".join(f"{number:,} {state}" for state, number in tallies.items())
    first = f"{names[0]} and {len(names) - 1:,} more"
    return Node(first, "failed" if "failed" in tallies else living, note)
