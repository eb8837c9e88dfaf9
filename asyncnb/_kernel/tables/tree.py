"""The table of ``%tasks`` as a tree: tasks inside launched ones, folded or in separate rows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from asyncnb._core.base.errors import CommandError, TaskNotFoundError
from asyncnb._core.introspection.info import TaskInfo
from asyncnb._core.introspection.inner import Id, by_name, inner_info
from asyncnb._core.launched.commands import group_counts
from asyncnb._core.launched.inside import find_inside, look_inside, no_match_message
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._kernel.tables.rows import MAX_ROWS, choose, folded
from asyncnb._kernel.tables.table import TaskTable

#: The most tasks that a cell shows as JSON: the notebook is saved with it.
MAX_JSON: Final = 1000


class JsonText(str):
    """What ``%tasks --json`` returns: JSON with all tasks; a cell shows ``shown``, JSON as well."""

    __slots__ = ("shown",)
    shown: str

    def __new__(cls, all_: dict[str, Any], shown: dict[str, Any]) -> JsonText:
        made = super().__new__(cls, _lines(all_))
        made.shown = str(made) if shown is all_ else _lines(shown)
        return made

    def __repr__(self) -> str:
        return self.shown


def _lines(facts: dict[str, Any]) -> str:
    """Return a list of tasks as JSON with a line for each task."""
    head, tasks = facts | {"tasks": []}, ",\n ".join(map(json.dumps, facts["tasks"]))
    before, after = json.dumps(head).split('"tasks": []', 1)
    return f'{before}"tasks": [\n {tasks}\n]{after}' if tasks else json.dumps(head)


def as_bundle() -> dict[str, str]:
    """Return the table of the launched tasks as text and as HTML, by mime type."""
    table: Any = TreeTable().of(registry.records(), (), "No tasks.")
    return {"text/plain": repr(table), "text/html": table._repr_html_()}


class TreeTable:
    """Makes the table of one ``%tasks``, or its rows as JSON, from one look at the tasks."""

    def __init__(self, as_json: bool = False) -> None:
        self._inner = look_inside()
        self._as_json = as_json
        self._total = 0
        #: Rows at most, of each kind; a program reads as many as there are.
        self._most = sys.maxsize if as_json else MAX_ROWS

    def of(
        self,
        found: Sequence[TaskRecord],
        plain: Sequence[asyncio.Task[Any]],
        empty: str,
        below: str = "",
    ) -> TaskTable | JsonText:
        """Return the table of launched tasks and of others, at most ``MAX_ROWS`` of each.

        The sentence ``below`` is shown under it.
        """
        self._total = len(found) + len(plain)
        shown, left_out = choose(found, self._most)
        left_out = f"{below} {left_out}".strip()
        rows = {record.id: record.info() for record in shown}
        for task in sorted(plain, key=by_name)[: self._most]:
            rows[-id(task)] = inner_info(task, self._inner.parent(task))
        if len(plain) > self._most:
            left_out += f" {len(plain) - self._most:,} that were not launched are not shown."
        return self._table(rows, left_out, empty)

    def of_path(self, path: str) -> TaskTable | JsonText:
        """Return the table of the tasks that a path names, with those that they are inside.

        Raises TaskNotFoundError if there is none.
        """
        if path.endswith("/"):
            path += "*"
        found = find_inside(path, inner=self._inner)
        if not found:
            raise TaskNotFoundError(no_match_message(path))
        self._total = len(found)
        rows: dict[int, TaskInfo] = {}
        for each in found[: self._most]:
            self._add_above(each.parent, rows)
            rows[each.id] = each.info()
        over = len(found) - self._most
        left_out = f"Not shown: {over:,} more. `%tasks PATH` takes globs, as in `*/page 1*`."
        return self._table(rows, left_out if over > 0 else "", "No tasks.")

    def _add_above(self, id_: Id, rows: dict[int, TaskInfo]) -> None:
        """Add the rows of the task with this id and of those that it is inside."""
        above: list[TaskInfo] = []
        while id_ is not None and id_ not in rows:
            task = self._inner.with_id(id_)
            if task is not None:
                above.append(inner_info(task, self._inner.parent(task)))
                id_ = self._inner.parent(task)
            else:
                record = registry.get(id_)
                above += [] if record is None else [record.info()]
                id_ = None
        rows.update((info.id, info) for info in reversed(above))

    def _facts(self, rows: dict[int, TaskInfo]) -> dict[str, Any]:
        from asyncnb._core.listing.facts import facts_of, facts_of_info, listing

        now, tasks = time.time(), []
        for id_, info in rows.items():
            record = registry.get(id_)
            facts = facts_of_info(info) if record is None else facts_of(record, now)
            if self._inner.has_children(id_):
                facts["inside"] = self._inner.counts(id_, self._inner.with_id(id_))._asdict()
            tasks.append(facts)
        groups = {}
        for name in {info.group: None for info in rows.values()}:
            if name is not None:
                with contextlib.suppress(CommandError):  # it was forgotten just now
                    groups[name] = group_counts(name)._asdict()
        return listing(tasks, max(self._total, len(tasks)), groups, now)

    def _json(self, rows: dict[int, TaskInfo]) -> JsonText:
        facts = self._facts(rows)
        if len(rows) <= MAX_JSON:
            return JsonText(facts, facts)
        records, _ = choose([r for r in map(registry.get, rows) if r is not None], MAX_JSON)
        shown = {record.id for record in records}
        shown |= {id_ for id_ in rows if id_ < 0 and len(records) < MAX_JSON}
        tasks = [each for each in facts["tasks"] if each["id"] in shown]
        return JsonText(facts, facts | {"tasks": tasks[:MAX_JSON]})

    def _table(self, rows: dict[int, TaskInfo], left_out: str, empty: str) -> TaskTable | JsonText:
        if self._as_json:
            return self._json(rows)
        inside, hint = {}, ""
        unfolded = {info.parent for info in rows.values() if info.id < 0}
        for id_ in rows:
            if self._inner.has_children(id_):
                counts = self._inner.counts(id_, self._inner.with_id(id_))
                if id_ not in unfolded:
                    inside[id_] = f"▸ {folded(counts)}"
                    path = shlex.quote(f"{self._inner.path(id_)}/")
                    hint = hint or f" `%tasks {path}` shows the tasks inside."
                elif counts.total > counts.running:
                    inside[id_] = f"▾ {folded(counts)}"
        return TaskTable(
            list(rows.values()), empty, (left_out + hint).strip(), inside, self._facts(rows)
        )
