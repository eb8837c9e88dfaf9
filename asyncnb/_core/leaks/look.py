"""One look for leaks, on request: it changes nothing and stops nothing."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Any

from asyncnb._core.introspection.places import cell_of, function_name, where
from asyncnb._core.introspection.unmanaged import cell_of as cell_of_task
from asyncnb._core.introspection.unmanaged import is_host_task
from asyncnb._core.leaks import isolated, threads
from asyncnb._core.leaks.finding import Finding
from asyncnb._core.leaks.reach import (
    HOSTS,
    Reach,
    module_values,
    thread_locals,
    walk_variables,
)
from asyncnb._core.leaks.snapshot import Snapshot, cell_of_context, context_near, handles_of


def look(
    variables: Mapping[str, Any], outputs: Mapping[int, Any], stops: Iterable[Any]
) -> list[Finding]:
    """Return the leaks of this process, by kind. Any thread but the loop's, which it would block.

    ``variables`` are the user's, ``outputs`` what cells displayed as ``Out[n]``, ``stops`` objects
    that lead to all of these, such as the shell and its dictionary.
    """
    snapshot = Snapshot()
    stops = [*stops, variables, outputs]
    unawaited, generators = snapshot.unawaited(), snapshot.open_generators()
    unawaited = [coro for coro in unawaited if not _is_host(coro.cr_code)]
    things = [thing for thing, _ in snapshot.resources]
    found: list[Finding] = []
    if unawaited or generators or things:
        reach = Reach([*unawaited, *generators, *things], stops)
        reach.walk(snapshot.suspended_code(), "")
        walk_variables(reach, variables)
        walk_variables(reach, {str(n): value for n, value in outputs.items()}, "Out[{}]")
        for coro in unawaited:
            if label := reach.found.get(id(coro)):
                found.append(coroutine(coro, label))
        for generator in generators:
            if label := reach.found.get(id(generator)):
                found.append(_generator(generator, label))
        reach.walk(module_values(), "")
        reach.walk(thread_locals(), "")
        handles = handles_of(things, snapshot.handles)
        for thing, resource in snapshot.resources:
            label = reach.found.get(id(thing))
            if label is None or label.startswith("Out["):
                what, advice = resource.describe(thing), resource.advice
                cell = cell_of_context(context_near(thing, handles))
                found.append(
                    Finding(resource.kind, what, advice, thing, cell=cell, variable=label or "")
                )
    found += _tasks(snapshot, [variables, outputs])
    found += threads.left()
    return found


def _is_host(code: types.CodeType) -> bool:
    return where(code.co_filename).partition("/")[0] in HOSTS


def coroutine(coro: types.CoroutineType[Any, Any, Any], variable: str) -> Finding:
    """Return the finding for a coroutine that ``variable`` leads to, and that has not begun."""
    code, origin = coro.cr_code, coro.cr_origin
    at, defined = f"{where(code.co_filename)}, line {code.co_firstlineno}", True
    if origin:
        calls = [call for call in origin if cell_of(call[0])] or origin
        at, defined = f"{where(calls[0][0])}, line {calls[0][1]}", False
    advice = "await it, or `.close()` it if it is not needed"
    return Finding(
        "coroutine",
        function_name(code) or code.co_name,
        advice,
        coro,
        place=at,
        defined=defined,
        variable=variable,
    )


def _generator(generator: types.AsyncGeneratorType[Any, Any], variable: str) -> Finding:
    code, frame = generator.ag_code, generator.ag_frame
    line = code.co_firstlineno if frame is None else frame.f_lineno
    return Finding(
        "generator",
        function_name(code),
        "`await g.aclose()`, or `async with contextlib.aclosing(...)`",
        generator,
        place=f"{where(code.co_filename)}, line {line}",
        defined=True,
        variable=variable,
    )


def _tasks(snapshot: Snapshot, roots: list[Any]) -> Iterable[Finding]:
    tasks = [t for t in isolated.candidates(snapshot.tasks) if not is_host_task(t)]
    snapshot.tasks.clear()
    if not tasks:
        return
    marks = isolated.Marks([*snapshot.handles, *roots])
    suspects = [task for task in tasks if task not in marks]
    del tasks
    if not suspects:
        return
    for task in isolated.isolated(suspects):
        coro: Any = task.get_coro()
        yield Finding(
            "task",
            f"task {task.get_name()!r}",
            "keep it in a variable, or start it with asyncnb.launch(...), which holds it",
            task,
            place=f"{where(coro.cr_code.co_filename)}, line {coro.cr_frame.f_lineno}",
            defined=True,
            cell=cell_of_task(task),
        )
