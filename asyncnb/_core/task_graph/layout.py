"""Where the nodes of a graph are drawn: in layers, each node behind all that it depends on."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

Key = Hashable

#: How often the order within the layers, and the places, are improved.
_SWEEPS = 6


class Layout(NamedTuple):
    """``layer`` and ``place`` of each node, both from 0, and the way of each edge.

    A place is a number of nodes from the start of its layer, not a whole number. A way is the
    list of (layer, place) that an edge passes, from its source to its target.
    """

    layer: dict[Key, int]
    place: dict[Key, float]
    ways: dict[tuple[Key, Key], list[tuple[int, float]]]


def layout(nodes: Sequence[Key], edges: Iterable[tuple[Key, Key]]) -> Layout:
    """Return a layout of a graph, also of one with rings."""
    edges = list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1]))
    forward = _without_rings(nodes, edges)
    layer = _layers(nodes, forward)
    rows: list[list[Key]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in nodes:
        rows[layer[node]].append(node)
    above: dict[Key, list[Key]] = {}
    below: dict[Key, list[Key]] = {}
    passing: dict[tuple[Key, Key], list[Key]] = {}
    for source, target in forward:
        chain: list[Key] = [source]
        for number in range(layer[source] + 1, layer[target]):
            bend = ("bend", source, target, number)
            rows[number].append(bend)
            chain.append(bend)
        chain.append(target)
        passing[source, target] = chain
        for one, other in itertools.pairwise(chain):
            below.setdefault(one, []).append(other)
            above.setdefault(other, []).append(one)
    _order(rows, above, below)
    place = _places(rows, above, below)
    where = {key: number for number, row in enumerate(rows) for key in row}
    ways = {}
    for source, target in edges:
        chain = passing.get((source, target)) or passing[target, source][::-1]
        ways[source, target] = [(where[key], place[key]) for key in chain]
    return Layout(layer, place, ways)


def _without_rings(
    nodes: Sequence[Key], edges: list[tuple[Key, Key]]
) -> dict[tuple[Key, Key], None]:
    """Return the edges with those turned round that would close a ring."""
    following: dict[Key, list[Key]] = {}
    for source, target in edges:
        following.setdefault(source, []).append(target)
    done: set[Key] = set()
    found: dict[tuple[Key, Key], None] = {}
    for root in nodes:
        if root in done:
            continue
        path = [(root, iter(following.get(root, ())))]
        on_path = {root}
        while path:
            node, rest = path[-1]
            for other in rest:
                if other in on_path:
                    found[other, node] = None
                    continue
                found[node, other] = None
                if other not in done:
                    on_path.add(other)
                    path.append((other, iter(following.get(other, ()))))
                    break
            else:
                path.pop()
                on_path.discard(node)
                done.add(node)
    return found


def _layers(nodes: Sequence[Key], edges: Iterable[tuple[Key, Key]]) -> dict[Key, int]:
    """Return the layer of each node: one more than the last of what it depends on."""
    before: dict[Key, int] = dict.fromkeys(nodes, 0)
    following: dict[Key, list[Key]] = {}
    for source, target in edges:
        before[target] += 1
        following.setdefault(source, []).append(target)
    layer: dict[Key, int] = dict.fromkeys(nodes, 0)
    todo = [node for node in nodes if not before[node]]
    for node in todo:
        for other in following.get(node, ()):
            layer[other] = max(layer[other], layer[node] + 1)
            before[other] -= 1
            if not before[other]:
                todo.append(other)
    return layer


def _order(rows: list[list[Key]], above: dict[Key, list[Key]], below: dict[Key, list[Key]]) -> None:
    """Sort each layer so that few edges cross: each node at the middle of its neighbours."""
    for sweep in range(_SWEEPS):
        down = not sweep % 2
        order = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for number in order:
            row = rows[number]
            fixed = {key: at for at, key in enumerate(rows[number - 1 if down else number + 1])}
            near = above if down else below
            weight = {
                key: _mean([fixed[each] for each in near.get(key, ())], at)
                for at, key in enumerate(row)
            }
            row.sort(key=lambda key: weight[key])


def _places(
    rows: list[list[Key]], above: dict[Key, list[Key]], below: dict[Key, list[Key]]
) -> dict[Key, float]:
    """Return the place of each node: near its neighbours, at least 1 from the next one."""
    place: dict[Key, float] = {key: float(at) for row in rows for at, key in enumerate(row)}
    for sweep in range(2 * _SWEEPS):
        for row in rows if not sweep % 2 else rows[::-1]:
            wished = [
                _mean([place[n] for n in (*above.get(key, ()), *below.get(key, ()))], place[key])
                for key in row
            ]
            _spread(row, wished, place)
    least = min(place.values(), default=0.0)
    return {key: at - least for key, at in place.items()}


def _spread(row: list[Key], wished: list[float], place: dict[Key, float]) -> None:
    """Give the nodes of a layer places as wished, as far as they keep their distance."""
    # Blocks of touching nodes, each at the mean of what its nodes wish: as few moves as possible.
    blocks: list[tuple[float, int]] = []  # (sum of wishes of the first node, number of nodes)
    for wish in wished:
        total, size = wish, 1
        while blocks and blocks[-1][0] / blocks[-1][1] + blocks[-1][1] > total / size:
            before, more = blocks.pop()
            total, size = before + total - more * size, more + size
        blocks.append((total, size))
    keys = iter(row)
    for total, size in blocks:
        for number in range(size):
            place[next(keys)] = total / size + number


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
