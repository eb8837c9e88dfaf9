"""The verbs of ``%tasks`` that show something: the table itself, and output."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from asyncnb._core import _launch
from asyncnb._core._errors import near
from asyncnb._core._registry import TaskRecord
from asyncnb._kernel._options import Parser
from asyncnb._kernel._table import TaskTable
from asyncnb._kernel._verbs import Verb, group_records

if TYPE_CHECKING:
    from asyncnb._kernel._background import BackgroundCells


class LookVerbs:
    """What tells of tasks and changes nothing."""

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
            "%tasks [--all] [--failed] [-g GROUP] [PATTERN]", _table_arguments, self._table
        )
        self.verbs = {
            "live": Verb("%tasks live", lambda parser: None, lambda args: live()),
            "stack": Verb("%tasks stack NAME", _name_argument, self._stack),
            "output": Verb("%tasks output NAME", _name_argument, self._output),
        }
        self.all_verbs: Iterable[str] = self.verbs

    def _table(self, args: argparse.Namespace) -> TaskTable:
        if args.group is not None:
            patterns = [] if args.pattern == "*" else [args.pattern]
            found = group_records(args.group, patterns)
        else:
            found = list(_launch.registry.match(args.pattern))
        if args.pattern != "*" and not found:
            if verb := near(args.pattern, self.all_verbs):
                raise UsageError(
                    f"%tasks has no verb {args.pattern!r}, and no task is called so.{verb}"
                )
            raise UsageError(_launch.registry.nothing_matches(args.pattern))
        infos = [record.info() for record in found]
        if args.failed:
            infos = [info for info in infos if info.state == "failed"]
        if args.all and args.group is None:
            infos += self._background.other_tasks()
        return TaskTable(infos, empty="No failed tasks." if args.failed else "No tasks.")

    def _stack(self, args: argparse.Namespace) -> None:
        from asyncnb._kernel._stacks import describe

        print(describe(_launch.registry.find(args.name)))

    def _output(self, args: argparse.Namespace) -> None:
        self._show_output(_launch.registry.find(args.name))


def _table_arguments(parser: Parser) -> None:
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--failed", action="store_true")
    parser.add_argument("-g", "--group")


def _name_argument(parser: Parser) -> None:
    parser.add_argument("name")
