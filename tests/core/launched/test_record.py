"""Which file writes which part of a task's record: one table, compared with the code."""

from __future__ import annotations

import ast
from pathlib import Path

import asyncnb
from asyncnb._core.launched.record import NO_REQUEST, ON_THE_LOOP, TaskRecord

PACKAGE = Path(asyncnb.__file__).parent

#: Attribute of the record, or of what it holds, and the files that write it. Files of the core's
#: ``launched/`` that start, end and lose tasks come first; a file that is not here only reads.
WRITERS = {
    "body": {
        "_core/launched/crashes.py",
        "_core/launched/launch.py",
        "_core/launched/named_groups.py",
        "_core/launched/registry.py",
        "_core/launched/start.py",
        "_offload/calls.py",
    },
    "first_limit": {
        "_core/launched/launch.py",
        "_core/launched/named_groups.py",
        "_core/launched/start.py",
        "_core/launched/time_limit.py",
        "_kernel/cells/launcher.py",
    },
    "variables": {"_core/launched/start.py"},
    "after": {"_core/launched/launch.py", "_kernel/cells/launcher.py"},
    "origin": {
        "_kernel/awaiting/detach.py",
        "_kernel/cells/launcher.py",
        "_kernel/output/router.py",
    },
    "output": {"_kernel/output/task_output.py"},
    "request": {"_core/mapping/run.py", "_kernel/cells/launcher.py"},
    "request.waited": {"_kernel/cells/launcher.py"},
    "placement": {"_kernel/cells/launcher.py", "_offload/calls.py"},
    "placement.worker": {"_offload/calls.py"},
    "placement.cpu": {"_kernel/cells/background.py"},
    "created": {"_kernel/awaiting/detach.py"},
    "started": {
        "_core/launched/start.py",
        "_kernel/awaiting/detach.py",
        "_offload/calls.py",
    },
    "ended": {"_core/launched/registry.py"},
    "cancel_asked": {"_core/launched/launch.py", "_core/primitives/tasks.py"},
    "rounds": {"_kernel/cells/repeat.py"},
    "progress": {"_kernel/output/progress.py"},
    "adjustable": {"_core/launched/registry.py", "_core/mapping/run.py"},
    "trace": {"_core/tracing/recording.py"},
    "notify": {"_core/launched/commands.py", "_kernel/cells/launcher.py"},
    "dirty": {"widgets/_feed.py"},
    "held": {"_core/launched/registry.py"},
    "last_name": {"_core/primitives/tasks.py"},
    "unseen": {"_core/launched/ended.py"},
    "failure": {"_core/launched/registry.py"},
}

#: How the code calls a record.
NAMES = {"record", "_record"}


def written() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Store | ast.Del):
                continue
            owner, _, name = ast.unparse(node).rpartition(".")
            before, last = ["", *owner.split(".")][-2:]
            if last in NAMES:
                found.setdefault(name, set()).add(file)
            elif before in NAMES and last in ("request", "placement"):
                found.setdefault(f"{last}.{name}", set()).add(file)
    return found


def test_the_table_says_which_file_writes_what() -> None:
    assert written() == WRITERS


def test_each_part_of_a_record_is_in_the_table() -> None:
    parts = {
        name
        for name, value in vars(TaskRecord).items()
        if not name.startswith("_") and not callable(value) and not isinstance(value, property)
    }
    own = {"group_facts", "id", "parent"}  # written by the record itself
    assert parts - own <= WRITERS.keys()


def test_what_all_records_share_is_never_written() -> None:
    async def nothing() -> None:
        pass

    task = asyncnb.launch(nothing(), name="plain")
    task.join(10)
    record = task._record
    assert isinstance(record, TaskRecord)
    assert (record.placement, record.request) == (ON_THE_LOOP, NO_REQUEST)
    assert (ON_THE_LOOP.kind, ON_THE_LOOP.worker, ON_THE_LOOP.cpu) == ("loop", None, None)
    assert (NO_REQUEST.identity, NO_REQUEST.bind, NO_REQUEST.waited) == (None, None, False)
