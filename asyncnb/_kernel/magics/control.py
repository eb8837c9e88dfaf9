"""The verbs of ``%tasks`` that change something: cancel, wait, timeout, pause, rename, clear."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError

from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched import launch as _launch
from asyncnb._core.launched import named_groups as _named_groups
from asyncnb._core.launched import names as _names
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.time_limit import set_limit
from asyncnb._core.primitives.tasks import Task
from asyncnb._kernel.arguments import Parser, limit, seconds
from asyncnb._kernel.cells.wait import wait
from asyncnb._kernel.magics.verbs import Verb, count, group_records, living_records, named_records


class ControlVerbs:
    """What steers tasks from any cell."""

    def __init__(
        self,
        deliver: Callable[[], None],
        let_go: Callable[[], Task[Any]],
    ) -> None:
        self._deliver = deliver
        self._let_go = let_go
        self.verbs = {
            "cancel": Verb(
                "%tasks cancel PATTERN... | -g GROUP | --all  [-m MESSAGE]",
                _cancel_arguments,
                self._cancel,
            ),
            "wait": Verb(
                "%tasks wait [PATTERN...] [-g GROUP] [-t SECONDS]", _wait_arguments, self._wait
            ),
            "timeout": Verb(
                "%tasks timeout NAME SECONDS|+SECONDS|none", _timeout_arguments, self._timeout
            ),
            "pause": Verb("%tasks pause NAME... [--stop-clock]", _pause_arguments, self._pause),
            "resume": Verb("%tasks resume NAME...", _resume_arguments, self._resume),
            "background": Verb("%tasks background", lambda parser: None, self._go_on),
            "rename": Verb("%tasks rename OLD NEW", _rename_arguments, self._rename),
            "clear": Verb("%tasks clear", lambda parser: None, self._clear),
        }

    def _cancel(self, args: argparse.Namespace) -> None:
        refuse = self.verbs["cancel"].refuse
        if args.all:
            if args.patterns or args.group is not None:
                raise refuse("--all means every task, so it takes no names and no group")
            asked = _launch.cancel_all(args.message)
        elif args.group is not None:
            records = group_records(args.group, args.patterns)
            if args.patterns:
                living = [record for record in records if record.state() not in ENDED]
                asked = _launch.cancel_records(living, args.message)
            else:
                asked = _launch.cancel_group(args.group, args.message)
        elif not args.patterns:
            raise refuse("it takes the names of tasks, -g GROUP or --all")
        else:
            asked = _launch.cancel(*args.patterns, msg=args.message)
        print(count(len(asked), "task") + (" asked to cancel" if asked else " to cancel"))

    def _wait(self, args: argparse.Namespace) -> None:
        if args.group is not None:
            records = group_records(args.group, args.patterns)
        elif args.patterns:
            records = named_records(args.patterns)
        else:
            records = registry.failed_unseen() + registry.living()
        group = facts = None
        if args.group is not None:
            group = _named_groups.find_group(args.group)
            facts = records[0].group_facts if records else None
            facts = group.facts if facts is None and group is not None else facts
            group = None if facts is None else facts.group()
        try:
            # With patterns, for these of its tasks alone.
            wait(records, args.timeout, None if args.patterns else group)
            if facts is not None and facts.timed_out:
                raise TimeoutError(
                    f"The time of group {args.group!r} is up; its tasks were cancelled."
                )
        finally:
            self._deliver()

    def _timeout(self, args: argparse.Namespace) -> None:
        value, more = args.limit
        record = registry.find(args.name)
        try:
            left = set_limit(record, value, more=more)
        except ValueError as exc:
            raise UsageError(f"%tasks timeout: {exc}.") from None
        print(f"{args.name}: " + ("no time limit" if left is None else f"{left:.4g} s left"))

    def _pause(self, args: argparse.Namespace) -> None:
        records = living_records(args.patterns, "%tasks pause")
        if refusal := next((each for r in records if (each := r.pause_refusal())), None):
            raise UsageError(f"%tasks pause: {refusal}.")
        for record in records:
            name = record.name
            if not record.task.pause(stop_clock=args.stop_clock):
                print(f"{name} is ending")
            elif record.state() == "paused":
                print(f"{name} is paused")
            else:
                print(f"{name} runs, and is paused when it comes to its next await")

    def _resume(self, args: argparse.Namespace) -> None:
        records = living_records(args.patterns, "%tasks resume")
        paused = [r for r in records if r.task._pause is not None]
        if not paused:
            states = ", ".join(f"{r.name} is {r.state()}" for r in records)
            raise UsageError(f"%tasks resume: no task to resume; {states}.")
        for record in paused:
            record.task.resume()
            print(f"{record.name} goes on")

    def _go_on(self, args: argparse.Namespace) -> None:
        task = self._let_go()
        print(f"{task.get_name()} goes on in the background")

    def _rename(self, args: argparse.Namespace) -> None:
        record = registry.find(args.old)
        try:
            _names.rename(registry, record, args.new)
        except ValueError as exc:
            raise UsageError(f"%tasks rename: {exc}") from None

    def _clear(self, args: argparse.Namespace) -> None:
        print(f"{count(_launch.clear_ended(), 'ended task')} forgotten")


def _cancel_arguments(parser: Parser) -> None:
    parser.add_argument("patterns", nargs="*")
    parser.add_argument("-g", "--group")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("-m", "--message")


def _wait_arguments(parser: Parser) -> None:
    parser.add_argument("patterns", nargs="*")
    parser.add_argument("-g", "--group")
    parser.add_argument("-t", "--timeout", type=seconds)


def _timeout_arguments(parser: Parser) -> None:
    parser.add_argument("name")
    parser.add_argument("limit", type=limit)


def _pause_arguments(parser: Parser) -> None:
    parser.add_argument("patterns", nargs="+", metavar="NAME")
    parser.add_argument("--stop-clock", action="store_true")


def _resume_arguments(parser: Parser) -> None:
    parser.add_argument("patterns", nargs="+", metavar="NAME")


def _rename_arguments(parser: Parser) -> None:
    parser.add_argument("old")
    parser.add_argument("new")
