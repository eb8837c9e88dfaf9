"""A knot in words: what each task holds, what it waits for, which task could give it."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncnb._core.base.text import count, one_line
from asyncnb._core.deadlocks.graph import Graph, Node, Thread
from asyncnb._core.deadlocks.names import entered_at, frame_of, variable_in
from asyncnb._core.deadlocks.reach import is_user_module
from asyncnb._core.deadlocks.search import Knot, held_locks
from asyncnb._core.deadlocks.waits import is_library
from asyncnb._core.introspection.call_graph import code_of
from asyncnb._core.introspection.places import where
from asyncnb._core.introspection.stack import frames_of_thread
from asyncnb._core.introspection.unmanaged import cell_of

#: Most sentences about one knot.
MAX_SENTENCES = 10

_NOUNS = {
    "Lock.acquire": "lock",
    "Semaphore.acquire": "semaphore",
    "CapacityLimiter.acquire_on_behalf_of": "limiter",
    "Condition.wait": "condition",
    "Barrier.wait": "barrier",
    "Event.wait": "event",
    "Queue.get": "queue",
    "Queue.put": "queue",
    "Queue.join": "queue",
    "MemoryObjectReceiveStream.receive": "stream",
    "MemoryObjectSendStream.send": "stream",
    "future": "future",
}
#: What a task does that ends the wait of another one.
_ENDING = {
    "Condition.wait": "notifies it",
    "Barrier.wait": "could come to it",
    "Event.wait": "sets it",
    "Queue.get": "puts into it",
    "Queue.put": "takes from it",
    "Queue.join": "marks its items as done",
    "MemoryObjectReceiveStream.receive": "sends to it",
    "MemoryObjectSendStream.send": "receives from it",
}


def explain(knot: Knot) -> str:
    """Return what a user reads about ``knot``: a title, a sentence for each task, what to do."""
    head = f"asyncnb: {_head(knot)}"
    head += "; only a new cell or a callback could end this." if knot.outside else "."
    number = len(knot.nodes)
    lines = [head]
    lines += [f"  {_sentence(node, knot)}" for node in knot.nodes[:MAX_SENTENCES]]
    if number > MAX_SENTENCES:
        lines.append(f"  {number - MAX_SENTENCES} more are in the same knot.")
    return "\n".join([*lines, _advice(knot)])


def in_short(knot: Knot) -> str:
    """Return one line about ``knot``, with the names of its tasks."""
    names = names_of([node.agent for node in knot.nodes]).replace("`", "")
    head = _head(knot)
    return f"{head[:1].upper()}{head[1:]}: {names}. %tasks deadlocks says why."


def _head(knot: Knot) -> str:
    number = len(knot.nodes)
    threads = sum(isinstance(node.agent, Thread) for node in knot.nodes)
    who = count(number - threads, "task") + (f" and {count(threads, 'thread')}" if threads else "")
    each = "for itself" if number == 1 else "for each other"
    verb = "waits" if number == 1 else "wait"
    if knot.cycle:
        what = "this may be a deadlock" if knot.outside else "deadlock"
        return f"{what}: {who} {verb} {each}"
    return f"{who} {'may wait' if knot.outside else verb} for something that will not come"


def summary(graph: Graph, knots: list[Knot]) -> str:
    """Return the answer to a user who asks whether there is a deadlock now."""
    faults = [explain(knot) for knot in knots if knot.worth_a_note]
    if graph.exhausted:
        faults.append("There is too much to search: what waits for a primitive was left out.")
    if not faults:
        waiting = f"{count(graph.tasks, 'task')}" if graph.tasks else "no tasks"
        faults = [f"No deadlock found among {waiting}."]
        idle = sum(len(knot.nodes) for knot in knots)
        if graph.waiting > idle:
            number = graph.waiting - idle
            verb = "waits" if number == 1 else "wait"
            faults.append(
                f"{count(number, 'task')} {verb} for other tasks, locks, queues or futures, and "
                "could be woken by what still runs."
            )
    for knot in knots:
        if not knot.worth_a_note:
            lines = [f"  {_sentence(node, knot)}" for node in knot.nodes[:MAX_SENTENCES]]
            if len(knot.nodes) > MAX_SENTENCES:
                lines.append(f"  {len(knot.nodes) - MAX_SENTENCES} more wait with them.")
            head = "Only a new cell or a callback could wake" if knot.outside else "Nothing wakes"
            faults.append("\n".join([f"{head} {count(len(knot.nodes), 'task')}:", *lines]))
    return "\n".join(faults)


def _advice(knot: Knot) -> str:
    tasks = [node.agent for node in knot.nodes if isinstance(node.agent, asyncio.Task)]
    if all(_passes_cancel_on(node) for node in knot.nodes):
        # task.cancel() goes round the ring: RecursionError, or a request that never arrives.
        return "asyncio cannot cancel tasks that await each other; %asyncnb restart ends all tasks."
    named = [task for task in tasks if not is_cell(task)]
    one = "one of them" if len(knot.nodes) > 1 else "it"
    if not named:
        return f"To end it, interrupt {name_of(tasks[0])}." if tasks else ""
    return f'To end it, cancel {one}, for example: %tasks cancel "{named[-1].get_name()}"'


def _passes_cancel_on(node: Node) -> bool:
    kinds = ("_GatheringFuture", "GatherFuture", "FutureProxy")
    return isinstance(node.leaf, asyncio.Task) or type(node.leaf).__name__ in kinds


def is_cell(task: asyncio.Task[Any]) -> bool:
    """Return whether ``task`` is a cell in the foreground."""
    return task.get_name() == "cell" and not getattr(task, "_launched", False)


def name_of(agent: Any) -> str:
    """Return a task's or thread's name for a sentence."""
    if isinstance(agent, Thread):
        return f"thread `{one_line(agent.name)}`"
    if is_cell(agent):
        cell = cell_of(agent)
        return f"the cell {cell}" if cell else "the cell"
    return f"`{one_line(agent.get_name())}`"


def _sentence(node: Node, knot: Knot) -> str:
    wait = node.wait
    name = name_of(node.agent)
    name = name[:1].upper() + name[1:]
    at = place_of(node)
    at = f" ({at})" if at else ""
    held = held_locks(node, knot)
    again = [it for it in held if it is wait.what]
    holds = ", ".join(noun_of(it, knot) + _where_entered(it, node) for it in held)
    head = f"{name} holds {holds} and waits" if held else f"{name} waits"
    others = [it for it in node.releasers if it in {n.agent for n in knot.nodes}]
    if again and others == [node.agent]:
        return f"{head} for it again{at}."
    if any(isinstance(it, Thread) for it in others):
        return f"{head} for {names_of(others)}, which runs its code{at}."
    if wait.kind == "tasks" and node.exact and not node.things and isinstance(node.agent, Thread):
        return f"{head} in join() for {names_of(others)}{at}."
    if wait.kind == "tasks" and _is_to_start(node):
        return f"{name} is to start after {names_of(others)}."
    if wait.kind == "tasks":
        own = others == [node.agent]
        return f"{head} for {'itself' if own else names_of(others)}{at}."
    thing = noun_of(wait.what, knot)
    if wait.kind == "Queue.put":
        thing = f"room in {thing}"
    elif wait.kind == "Queue.join":
        thing = f"all items of {thing} to be done"
    if node.exact:
        verb = "hold" if len(others) > 1 else "holds"
        return f"{head} for {thing}{at}, which {names_of(others)} {verb}."
    if others:
        return f"{head} for {thing}{at}; only {names_of(others)} {_ending(wait.kind)}."
    return f"{head} for {thing}{at}{_nothing(wait.kind, knot.outside)}."


def _is_to_start(node: Node) -> bool:
    """Return whether a task waits for others before its code starts (``--after``)."""
    codes = map(code_of, node.wait.links)
    return any(it is not None and it.co_qualname == "After.wait" for it in codes)


def _ending(kind: str) -> str:
    return _ENDING.get(kind, "could end that")


def _nothing(kind: str, outside: bool) -> str:
    if kind == "future" and not outside:
        return ", which nothing else refers to"
    if _NOUNS[kind] in ("lock", "semaphore", "limiter"):
        return ", which no living task holds"
    return f"; no living task {_ENDING.get(kind, 'could complete it')}"


def names_of(agents: list[Any]) -> str:
    """Return the names of agents: "`a`", "`a` and `b`", "`a`, `b` and 3 more"."""
    names = [name_of(it) for it in agents[:3]]
    more = len(agents) - len(names)
    if more:
        names.append(f"{more} more")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def noun_of(thing: Any, knot: Knot) -> str:
    """Return "lock `name`", with the variable's name in the code that waits for it or holds it."""
    kinds = [node.wait.kind for node in knot.nodes if node.wait.what is thing]
    noun = _NOUNS.get(kinds[0], "") if kinds else ""
    noun = noun or type(thing).__name__.lower()
    for node in knot.nodes:
        for link in reversed(node.wait.links):
            name = variable_in(link, thing)
            if name is not None:
                return f"{noun} `{name}`"
    return f"a {noun}"


def _where_entered(lock: Any, node: Node) -> str:
    """Return where ``node`` took a lock that it holds, as `` (In[3], line 2)``."""
    for link in node.wait.links:
        line = entered_at(link, lock)
        code = code_of(link)
        if line is not None and code is not None:
            return f" ({where(code.co_filename)}, line {line})"
    return ""


def place_of(node: Node) -> str:
    """Return where ``node`` waits: ``In[3], line 2``."""
    if isinstance(node.agent, Thread):
        frames = frames_of_thread(node.agent.ident)[::-1]
        frames = [it for it in frames if is_user_module(str(it.f_globals.get("__name__")))]
    else:
        frames = [it for it in map(frame_of, reversed(node.wait.links)) if it is not None]
    for it in frames:
        if not is_library(it.f_code.co_filename):
            return f"{where(it.f_code.co_filename)}, line {it.f_lineno}"
    return ""
