"""``asyncnb ps``: the kernels by the name of their notebook, and their tasks."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from asyncnb._cli.options import add_kernel_option
from asyncnb._client.choose import Known, file_of, look, matching, open_all
from asyncnb._client.errors import ClientError, NoAnswerError
from asyncnb._client.kernel import RemoteKernel
from asyncnb._client.talks import Talk, ask_all, verb
from asyncnb._core.base.text import (
    count,
    duration,
    escape_control_chars,
    terminal_columns,
    truncate_columns,
    width,
)

#: Tasks that are shown of each kernel, unless there is ``--limit``.
MAX_SHOWN: Final = 50
#: Tasks that are asked for at a time.
PAGE: Final = 1000
#: A time that no task has ended after: those that live are asked for.
_FUTURE: Final = 10**11


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``asyncnb ps``."""
    parser.add_argument(
        "-a", "--all", action="store_true", help="show ended tasks and kernels, too"
    )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"show at most N tasks of each kernel; {MAX_SHOWN} by default, all with --json",
    )
    parser.add_argument(
        "--server",
        action="store_true",
        help="ask the Jupyter servers for the names of notebooks, as a rename changes them",
    )
    add_kernel_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print all kernels and their tasks."""
    limit = arguments.limit
    if limit is not None and limit < 0:
        raise argparse.ArgumentError(None, f"--limit takes a whole number from 0 on, not {limit}")
    if limit is None:
        limit = 10**9 if arguments.json else MAX_SHOWN
    problems: list[str] = []
    given = arguments.kernel
    path = None if given is None else file_of(given)
    kernels = open_all(problems) if path is None else [RemoteKernel(path)]
    try:
        known = look(kernels, arguments.timeout)
        if arguments.server:
            _rename(known)
        if given is not None:
            known, problems = known if path else [matching(known, given)], []
        lists = _lists(known, limit, ended=arguments.all, timeout=arguments.timeout)
        facts = [facts_of(each, lists.get(each.kernel, {})) for each in known]
    finally:
        for kernel in kernels:
            kernel.close()
    if arguments.json:
        print(json.dumps({"kernels": facts, "not_kernels": problems}))
        return 0
    for each, fact in zip(known, facts, strict=True):
        if each.state != "dead" or arguments.all or arguments.kernel is not None:
            print("\n".join(describe(each, fact)))
    dead = sum(each.state == "dead" for each in known)
    if dead and not arguments.all and arguments.kernel is None:
        print(f"{count(dead, 'kernel')} {'has' if dead == 1 else 'have'} ended; --all lists them.")
    for problem in problems:
        print(escape_control_chars(problem))
    if not known:
        print("No kernel is running.")
    return 0


def _rename(known: Sequence[Known]) -> None:
    from asyncnb._client.servers import notebook_paths

    paths = notebook_paths()
    for each in known:
        each.renamed = paths.get(each.kernel.id)


def _lists(
    known: Sequence[Known], limit: int, *, ended: bool, timeout: float
) -> dict[RemoteKernel, dict[str, Any]]:
    """Return the answers to ``list`` of the kernels with asyncnb, which are all asked at once."""
    alive = [each.kernel for each in known if each.state == "alive"]

    def talk(_: RemoteKernel) -> Talk[dict[str, Any]]:
        tasks: list[Any] = []
        while True:
            answer = yield verb(
                "list",
                offset=len(tasks),
                limit=min(PAGE, limit - len(tasks)),
                since=None if ended else _FUTURE,
            )
            if answer.get("status") != "ok":
                raise ClientError(str(answer.get("evalue")))
            tasks += answer["tasks"]
            if not answer["tasks"] or len(tasks) >= min(answer["total"], limit):
                return {"now": answer["now"], "total": answer["total"], "tasks": tasks}

    answers = ask_all(alive, talk, timeout)
    by_kernel = {each.kernel: each for each in known}
    found = {}
    for kernel, answer in zip(alive, answers, strict=True):
        if isinstance(answer, ClientError):
            by_kernel[kernel].error = str(answer)
            if isinstance(answer, NoAnswerError):
                by_kernel[kernel].state = "no answer"
        else:
            found[kernel] = answer
    return found


def facts_of(known: Known, listed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``--json`` says of a kernel."""
    found: dict[str, Any] = {
        "id": known.kernel.id,
        "file": str(known.kernel.path),
        "state": known.state,
        "notebook": known.notebook,
        "pid": known.pid,
        "started": _written(known.kernel.path),
        "encrypted": known.kernel.info.curve is not None,
    }
    if known.error:
        found["error"] = known.error
    if known.state == "without asyncnb":
        language = known.hello.get("language_info") or {}
        found["language"] = " ".join(
            str(language[name]) for name in ("name", "version") if language.get(name)
        )
    elif known.state == "alive":
        keep = ("asyncnb", "python", "ipykernel", "loop", "busy", "blocked")
        found |= {name: known.hello.get(name) for name in keep}
    return found | dict(listed)


def _written(path: Path) -> float | None:
    """Return when the connection file was written, which is when the kernel was started."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def describe(known: Known, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines for a kernel and its tasks."""
    now = facts.get("now") or time.time()
    name = known.notebook
    head = [escape_control_chars(_short_path(name) if name else known.kernel.id)]
    if known.pid is not None:
        head.append(f"pid {known.pid}")
    if facts["started"] is not None and known.state != "dead":
        head.append(f"up {duration(max(0.0, now - facts['started']))}")
    if facts["encrypted"]:
        head.append("encrypted")
    head.append(_doing(known, facts, now))
    yield "  ".join(head)
    blocked = facts.get("blocked")
    if blocked:
        call = f"`{blocked['call']}` at " if blocked["call"] else "at "
        passed = duration(max(0.0, now - blocked["since"]))
        text = f"loop blocked for {passed} by {blocked['name']}: {call}{blocked['where']}"
        yield f"  {escape_control_chars(text, 500)}"
    if known.state == "no answer":
        yield f"  {escape_control_chars(known.error, 500)}"
    tasks = facts.get("tasks") or []
    if tasks:
        yield from _table(tasks, now)
    rest = facts.get("total", 0) - len(tasks)
    if rest > 0:
        yield f"  and {count(rest, 'more task')}; --limit N shows more"


def _doing(known: Known, facts: Mapping[str, Any], now: float) -> str:
    if known.state == "without asyncnb":
        language = facts["language"] or "a kernel"
        return escape_control_chars(f"{language}, without asyncnb", 80)
    if known.state != "alive":
        return "has ended" if known.state == "dead" else known.state
    busy = facts["busy"]
    if busy is None:
        return "idle"
    cell = f"In[{busy['cell']}]" if busy["cell"] else "a cell"
    verb = "awaits" if busy["awaits"] else "runs"
    return f"{cell} {verb} since {duration(max(0.0, now - busy['since']))}"


def _short_path(path: str) -> str:
    home = os.path.expanduser("~") + os.sep
    return f"~{os.sep}{path[len(home) :]}" if path.startswith(home) else path


HEAD: Final = ("ID", "NAME", "STATE", "AGE", "PROGRESS", "WAITS FOR", "GROUP")
#: The widest a column gets: names first, and what a task waits for.
MAX_WIDTHS: Final = (8, 40, 10, 12, 12, 40, 20)


def _table(tasks: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    """Yield a table of tasks; those that a task has launched are below it, indented."""
    rows = [HEAD, *(_row(task, depth, now) for task, depth in _tree(tasks))]
    rows = [
        tuple(truncate_columns(cell, most) for cell, most in zip(row, MAX_WIDTHS, strict=True))
        for row in rows
    ]
    shown = [n for n, cells in enumerate(zip(*rows, strict=True)) if any(cells[1:])]
    widths = {n: max(width(row[n]) for row in rows) for n in shown}
    columns = terminal_columns()
    for row in rows:
        line = "  ".join(row[n] + " " * (widths[n] - width(row[n])) for n in shown)
        line = f"  {line.rstrip()}"
        yield line if columns is None else truncate_columns(line, columns)


def _row(task: Mapping[str, Any], depth: int, now: float) -> tuple[str, ...]:
    progress = ""
    if task["done"] is not None:
        progress = str(task["done"]) + (f"/{task['total']}" if task["total"] is not None else "")
    began, ended = task["started"], task["ended"]
    texts = (
        str(task["id"]),
        "  " * min(depth, 8) + escape_control_chars(str(task["name"])),
        str(task["state"]),
        "" if began is None else duration(max(0.0, (ended or now) - began)),
        progress,
        str(task["waits_for"] or task["note"] or ""),
        str(task["group"] or ""),
    )
    return (*texts[:2], *(escape_control_chars(each) for each in texts[2:]))


def _tree(tasks: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Yield tasks, the oldest first, each before those that it has launched, and their depth."""
    listed = {task["id"] for task in tasks}
    children: dict[Any, list[Mapping[str, Any]]] = {}
    for task in tasks:
        parent = task["parent"]
        children.setdefault(parent if parent in listed else None, []).append(task)
    todo = [(task, 0) for task in reversed(children.get(None, []))]
    while todo:
        task, depth = todo.pop()
        yield task, depth
        todo += [(child, depth + 1) for child in reversed(children.get(task["id"], []))]
