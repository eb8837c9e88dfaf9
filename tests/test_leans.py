"""The table of private names is complete, and has no row that is out of date."""

from __future__ import annotations

import ast
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from tests.leans import LEANS
from tests.private_names import PACKAGE, REACHED, Source, is_private, private_uses, sources
from tests.private_names_page import PAGE, page

#: Each check of the Python version, by file and text: what the newest Python gets there. One that
#: gives something up on a Python to come needs a test that fails there, as core/loop/test_lean.py.
VERSION_CHECKS = {
    "_core/primitives/all_tasks.py: sys.version_info >= (3, 12)": (
        "the registries of 3.12; not on 3.14"
    ),
    "_core/primitives/all_tasks.py: sys.version_info >= (3, 14)": (
        "asyncio.all_tasks, which copies by itself"
    ),
    "_core/primitives/fast_timer.py: sys.version_info < (3, 16)": (
        "core/loop/test_lean.py fails beyond"
    ),
    "_core/primitives/backport/task.py: sys.version_info >= (3, 12)": "not imported since 3.13",
    "_core/primitives/tasks.py: sys.version_info < (3, 12)": "the C task's own eager start",
    "_core/primitives/tasks.py: sys.version_info < (3, 15)": (
        "get_context() as in 3.15, which does not crash"
    ),
    "_core/primitives/tasks.py: sys.version_info >= (3, 13)": "the C task as it is",
    "_core/base/frames.py: sys.version_info < (3, 13)": "frame.clear() then refuses those",
    "_core/base/task_lists.py: sys.version_info >= (3, 14)": (
        "core/primitives/test_foreign_threads.py"
    ),
    "_core/primitives/sync/queues.py: sys.version_info >= (3, 13)": "asyncio's own QueueShutDown",
    "_core/primitives/timeouts.py: sys.version_info >= (3, 12)": "asyncio.current_task, which is C",
    "_core/introspection/leaves.py: sys.version_info < (3, 12)": (
        "sys.monitoring; kernel/output/test_groups.py"
    ),
    "_cli/doctor/machine.py: sys.version_info < (3, 14)": "cli/test_doctor.py",
    "_client/from_outside.py: sys.version_info >= (3, 14)": "cli/test_stack.py",
    "_core/base/visits.py: sys.version_info >= (3, 14)": "the current task is the thread's own",
    "_core/primitives/backport/uncancel.py: sys.version_info >= (3, 13)": (
        "the C task withdraws by itself"
    ),
}


def test_every_private_name_of_others_has_a_row() -> None:
    rows = {(lean.attribute, file) for lean in LEANS for file in lean.used.split()}
    # Modules; their rows are those of what is used in them.
    rows |= {("_signal", "_offload/far/running.py")}
    rows |= {("_remote_debugging", "_client/from_outside.py")}
    lacking = [
        f"asyncnb/{use.file}:{use.line}: {use.name}"
        for use in private_uses(sources())
        if not rows & {(use.name, use.file), (use.name, "*")} and use.name not in REACHED
    ]
    assert not lacking, "no row in tests/leans.py for\n" + "\n".join(lacking)


def test_every_row_is_used_where_it_says() -> None:
    stale = []
    for lean in LEANS:
        for file in lean.used.split():
            paths = list(PACKAGE.rglob("*.py")) if file == "*" else [PACKAGE / file]
            if not any(path.exists() and lean.attribute in names_in(path) for path in paths):
                stale.append(f"{lean.name}: asyncnb/{file} does not use it")
    assert not stale, "\n".join(stale)


def names_in(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                found.add(name)
            case ast.ImportFrom(names=aliases):
                found |= {alias.name for alias in aliases}
    return found


def test_no_name_has_two_rows() -> None:
    assert max(Counter(lean.name for lean in LEANS).values()) == 1


def test_what_our_own_objects_are_said_to_have_is_defined_in_asyncnb() -> None:
    defined = {name for source in sources() for name in source.defined}
    assert set(REACHED) <= defined


def test_every_version_check_is_judged() -> None:
    found = set()
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Compare) and "version_info" in ast.unparse(node):
                found.add(f"{source.file}: {ast.unparse(node)}")
    assert found == set(VERSION_CHECKS)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("task._fut_waiter", "_fut_waiter"),
        ("self.task._must_cancel", "_must_cancel"),
        ("self._closed", "_closed"),
        ("getattr(task, '_coro', None)", "_coro"),
        ("getattr(asyncio.tasks, '_all_tasks')", "_all_tasks"),
        ("vars(loop)['_ready']", "_ready"),
        ("if hasattr(self.loop, '_scheduled'): pass", "_scheduled"),
        ("from asyncio import _get_running_loop", "_get_running_loop"),
        ("self._ours", None),
        ("other._ours", None),
        ("self._asyncnb_mark", None),
        ("self.__dict__", None),
        ("row._replace(a=1)", None),
    ],
)
def test_the_guard_sees(tmp_path: Path, line: str, name: str | None) -> None:
    code = f"""
        class Kind:
            def __init__(self):
                self._ours = 1

            def method(self, task, other, row, loop):
                {line}
        """
    path = tmp_path / "some.py"
    path.write_text(textwrap.dedent(code))
    found = {use.name for use in private_uses([Source(path, tmp_path)])}
    assert found == ({name} if name else set())


def test_a_class_with_slots_does_not_own_what_it_writes_to_its_base(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text(
        textwrap.dedent(
            """
            class Timer(TimerHandle):
                __slots__ = ("_own",)
                _when: float

                def __init__(self):
                    self._own = self._when = 1
            """
        )
    )
    assert [use.name for use in private_uses([Source(path, tmp_path)])] == ["_when"]


def test_a_name_is_private_with_one_underscore() -> None:
    assert [is_private(name) for name in ("_a", "__a__", "a", "_", "_a b")] == [
        True, False, False, False, False,
    ]  # fmt: skip


def test_the_page_of_private_names_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make names-page`"
