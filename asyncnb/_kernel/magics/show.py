"""The verbs of ``%tasks`` that show something: the table, a stack, output, the timeline."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from asyncnb._core.base.errors import TaskNotFoundError, did_you_mean
from asyncnb._core.launched import commands
from asyncnb._core.launched.launch import plain_tasks_named
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._kernel.arguments import Parser
from asyncnb._kernel.magics.verbs import Verb

if TYPE_CHECKING:
    # At run time a verb imports them when it needs them, so that loading does not take longer.
    from asyncnb._core.task_graph.graph import TaskGraph
    from asyncnb._core.timeline.timeline import Timeline
    from asyncnb._kernel.cells.background import BackgroundCells
    from asyncnb._kernel.tables.table import TaskTable
    from asyncnb._kernel.tables.tree import JsonText


class ShowVerbs:
    """Shows tasks and changes nothing."""

    def __init__(
        self,
        background: BackgroundCells,
        show_output: Callable[[TaskRecord], None],
        live: Callable[[], object],
    ) -> None:
        self._background = background
        self._show_output = show_output
        #: ``%tasks`` without a verb.
        self.table = Verb(
            "%tasks [--all] [--failed] [--json] [-g GROUP] [PATTERN]", _table_arguments, self._table
        )
        self.verbs = {
            "live": Verb("%tasks live", lambda parser: None, lambda args: live()),
            "stack": Verb("%tasks stack NAME", _name_argument, self._stack),
            "output": Verb("%tasks output NAME", _name_argument, self._output),
            "graph": Verb("%tasks graph [PATTERN]", _timeline_arguments, self._graph),
            "timeline": Verb("%tasks timeline [PATTERN]", _timeline_arguments, self._timeline),
        }
        self.all_verbs: Iterable[str] = self.verbs

    def _table(self, args: argparse.Namespace) -> TaskTable | JsonText:
        from asyncnb._kernel.tables.tree import TreeTable

        tree, below = TreeTable(args.json), ""
        if args.group is not None:
            patterns = [] if args.pattern == "*" else [args.pattern]
            found = commands.in_group(args.group, patterns)
            counts = commands.group_counts(args.group)
            below = f"{args.group}: {counts}." if counts.total else ""
        else:
            found = list(registry.match(args.pattern))
        plain = plain_tasks_named(args.pattern) if args.all and args.group is None else []
        if args.pattern != "*" and not found and not plain:
            if "/" in args.pattern and not args.failed:
                return tree.of_path(args.pattern)
            if verb := did_you_mean(args.pattern, self.all_verbs):
                raise UsageError(
                    f"{args.pattern!r} is neither a command of %tasks nor the name of a task.{verb}"
                )
            raise UsageError(registry.no_match_message(args.pattern))
        if args.failed:
            found = [r for r in found if r.ended is not None and r.state() == "failed"]
            plain = []  # unfinished tasks only are known of these
        empty = "No failed tasks." if args.failed else "No tasks."
        return tree.of(found, plain, empty, below)

    def _stack(self, args: argparse.Namespace) -> None:
        from asyncnb._core.listing.stack_text import describe_stack

        try:
            record = registry.find(args.name)
        except TaskNotFoundError:
            named = plain_tasks_named(args.name, exactly=True)
            if len(named) == 1:
                from asyncnb._core.introspection.unmanaged import unmanaged_task_info

                print(describe_stack(named[0], unmanaged_task_info(named[0])))
            elif "/" in args.name:
                from asyncnb._core.launched.inside import find_one

                inside = find_one(args.name)
                print(describe_stack(inside.task, inside.info()._replace(name=inside.name)))
            else:
                raise
        else:
            print(describe_stack(record.task, record.info()))

    def _output(self, args: argparse.Namespace) -> None:
        self._show_output(commands.launched_named(args.name))

    def _graph(self, args: argparse.Namespace) -> TaskGraph:
        from asyncnb._core.task_graph.graph import TaskGraph

        return TaskGraph(args.pattern)

    def _timeline(self, args: argparse.Namespace) -> Timeline:
        from asyncnb._core.timeline.timeline import timeline

        return timeline(None if args.pattern == "*" else args.pattern)


def _timeline_arguments(parser: Parser) -> None:
    parser.add_argument("pattern", nargs="?", default="*")


def _table_arguments(parser: Parser) -> None:
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--failed", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-g", "--group")


def _name_argument(parser: Parser) -> None:
    parser.add_argument("name")
