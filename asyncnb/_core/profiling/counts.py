"""What a profile counted, as pure data: samples, the lines at their top, and the flame's tree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from asyncnb._core.base.text import count
from asyncnb._core.introspection.places import Place

RUNNING, WAITING = "running", "waiting"
#: What a thread waits for that uses no CPU: the line says which call.
BLOCKING = "a blocking call"

#: Tasks that a flame graph draws each by itself; the others are drawn as one.
MAX_TASKS = 30


class Sample(NamedTuple):
    """What a task was seen doing, and for how many seconds in all.

    ``kind`` is ``running`` or ``waiting``. ``task`` is the name of the launched task, followed by
    that of a task it created: ``crawl/page 7``. ``cell`` is ``In[n]`` of the cell that launched it
    or an empty string. ``stack`` has the places from the outermost to the innermost, without those
    of asyncio and asyncnb. ``waits_for`` says what a waiting task waits for. ``times`` is how often
    it was seen there.
    """

    kind: str
    task: str
    cell: str
    stack: tuple[Place, ...]
    waits_for: str
    seconds: float
    times: int

    @property
    def at(self) -> Place | None:
        """The innermost place in a cell; the innermost in a file if none is in a cell."""
        in_cells = [place for place in self.stack if place.where.startswith("In[")]
        in_files = [place for place in self.stack if place.line]
        return (in_cells or in_files or (None,))[-1]


class Facts(NamedTuple):
    """A profile at one moment.

    ``cpu`` is the CPU seconds of the loop's thread meanwhile; ``watched`` is the seconds for which
    tasks were looked at, summed over them, and ``tasks`` how many there were.
    """

    about: str
    about_all: bool
    ended: bool
    seconds: float
    looks: int
    cpu: float
    watched: float
    tasks: int
    samples: list[Sample]


class TopLine(NamedTuple):
    """One line of the summary: seconds spent at a place, and by which tasks."""

    seconds: float
    at: Place | None
    waits_for: str
    tasks: tuple[str, ...]

    @property
    def who(self) -> str:
        """The name of the task, or how many tasks they are."""
        return self.tasks[0] if len(self.tasks) == 1 else count(len(self.tasks), "task")


class Node:
    """A box of a flame graph: a place, a task or a wait, with the seconds spent in it."""

    __slots__ = ("at", "children", "kind", "name", "seconds")

    def __init__(self, name: str, kind: str, at: Place | None = None) -> None:
        self.name = name
        #: ``all``, ``task``, ``place`` or ``wait``.
        self.kind = kind
        self.at = at
        self.seconds = 0.0
        self.children: dict[object, Node] = {}

    def child(self, key: object, name: str, kind: str, at: Place | None = None) -> Node:
        """Return the child with this key, which is made if there is none."""
        found = self.children.get(key)
        if found is None:
            found = self.children[key] = Node(name, kind, at)
        return found

    def sorted(self) -> list[Node]:
        """Return the children, the longest first."""
        return sorted(self.children.values(), key=lambda node: (-node.seconds, node.name))


def seconds_of(samples: Iterable[Sample], kind: str) -> float:
    """Return the seconds of all samples of ``kind``."""
    return sum(sample.seconds for sample in samples if sample.kind == kind)


def top_lines(samples: Iterable[Sample], kind: str) -> list[TopLine]:
    """Return where the tasks ran or waited, by line of code, the longest first."""
    seconds: dict[object, float] = {}
    tasks: dict[object, dict[str, None]] = {}
    found: dict[object, Sample] = {}
    for sample in samples:
        if sample.kind != kind:
            continue
        at = sample.at
        key = (sample.waits_for, at and at[:2])
        seconds[key] = seconds.get(key, 0.0) + sample.seconds
        tasks.setdefault(key, {})[sample.task] = None
        found[key] = sample
    lines = [
        TopLine(seconds[key], sample.at, sample.waits_for, tuple(tasks[key]))
        for key, sample in found.items()
    ]
    return sorted(lines, key=lambda line: (-line.seconds, line.tasks))


def tree(samples: Iterable[Sample], kind: str) -> Node:
    """Return the flame graph of ``kind``: all, then the tasks, the places and what is awaited."""
    chosen = [sample for sample in samples if sample.kind == kind]
    by_task: dict[str, float] = {}
    for sample in chosen:
        by_task[sample.task] = by_task.get(sample.task, 0.0) + sample.seconds
    ranked = sorted(by_task, key=lambda name: (-by_task[name], name))
    drawn = set(ranked if len(ranked) <= MAX_TASKS + 1 else ranked[:MAX_TASKS])
    others = f"{len(ranked) - len(drawn):,} other tasks"
    root = Node("all", "all")
    for sample in chosen:
        path = [root]
        name = sample.task if sample.task in drawn else others
        path.append(root.child(name, name, "task"))
        for at in sample.stack:
            path.append(path[-1].child(at[:3], named(at), "place", at))
        if sample.waits_for:
            path.append(path[-1].child(sample.waits_for, sample.waits_for, "wait"))
        for node in path:
            node.seconds += sample.seconds
    return root


def named(at: Place) -> str:
    """Return a place in a few words: ``parse(), In[7] line 4``, ``In[7] line 4: go(x)``."""
    where = f"{at.where} line {at.line}" if at.line else at.where
    if at.function:
        return f"{at.function}, {where}"
    return f"{where}: {at.source}" if at.source else where
