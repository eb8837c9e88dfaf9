"""The verbs of ``%tasks`` that control tasks: cancel, wait, timeout, pause, rename, clear."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncnb._core.launched import commands
from asyncnb._kernel.arguments import Parser, limit, seconds
from asyncnb._kernel.cells.wait import wait
from asyncnb._kernel.magics.verbs import Verb

if TYPE_CHECKING:
    from asyncnb._kernel.cells.follow import Followers


class ControlVerbs:
    """Controls tasks from any cell."""

    def __init__(
        self,
        deliver: Callable[[], None],
        detach: Callable[[], str],
        followers: Callable[[], Followers],
        ask: Callable[[], None],
    ) -> None:
        self._deliver = deliver
        self._detach = detach
        self._followers = followers
        self._ask = ask
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
            "limit": Verb("%tasks limit NAME CALLS", _call_limit_arguments, self._limit),
            "rate": Verb("%tasks rate NAME 30/min|5/s|none", _rate_arguments, self._rate),
            "retry": Verb("%tasks retry NAME", _retry_arguments, self._retry),
            "pause": Verb("%tasks pause NAME... [--pause-timeouts]", _pause_arguments, self._pause),
            "resume": Verb("%tasks resume NAME...", _resume_arguments, self._resume),
            "background": Verb("%tasks background", lambda parser: None, self._background),
            "notify": Verb("%tasks notify NAME... [--off]", _notify_arguments, self._notify),
            "rename": Verb("%tasks rename OLD NEW", _rename_arguments, self._rename),
            "unfollow": Verb(
                "%tasks unfollow NAME... | --all", _unfollow_arguments, self._unfollow
            ),
            "clear": Verb("%tasks clear", lambda parser: None, self._clear),
        }

    def _cancel(self, args: argparse.Namespace) -> None:
        refuse = self.verbs["cancel"].refuse
        if args.all:
            if args.patterns or args.group is not None:
                raise refuse("--all cancels every task; it takes no names and no group")
            print(commands.cancel_all(args.message))
        elif args.group is not None:
            print(commands.cancel_group(args.group, args.patterns, args.message))
        elif not args.patterns:
            raise refuse("expected names of tasks, -g GROUP or --all")
        else:
            print(commands.cancel(args.patterns, args.message))

    def _wait(self, args: argparse.Namespace) -> None:
        targets = commands.wait_targets(args.patterns, args.group)
        try:
            wait(targets.records, args.timeout, targets.group)
            targets.check()
        finally:
            self._deliver()

    def _timeout(self, args: argparse.Namespace) -> None:
        seconds, more = args.limit
        print(commands.set_limit(commands.launched_named(args.name), seconds, more=more))

    def _limit(self, args: argparse.Namespace) -> None:
        print(commands.set_call_limit(commands.launched_named(args.name), args.calls))

    def _rate(self, args: argparse.Namespace) -> None:
        print(commands.set_rate(commands.launched_named(args.name), args.rate))

    def _retry(self, args: argparse.Namespace) -> None:
        print(commands.retry(commands.launched_named(args.name)))

    def _pause(self, args: argparse.Namespace) -> None:
        print(commands.pause(commands.named(args.patterns), pause_timeouts=args.pause_timeouts))

    def _resume(self, args: argparse.Namespace) -> None:
        print(commands.resume(commands.named(args.patterns)))

    def _notify(self, args: argparse.Namespace) -> None:
        done = commands.notify(commands.named(args.patterns), wanted=not args.off)
        if not args.off:
            self._ask()
        print(done)

    def _background(self, args: argparse.Namespace) -> None:
        print(self._detach())

    def _rename(self, args: argparse.Namespace) -> None:
        commands.rename(commands.launched_named(args.old), args.new)

    def _unfollow(self, args: argparse.Namespace) -> None:
        if bool(args.followers) is args.all:
            raise self.verbs["unfollow"].refuse("expected names of cells that follow, or --all")
        print(self._followers().unfollow(None if args.all else args.followers))

    def _clear(self, args: argparse.Namespace) -> None:
        print(commands.clear())


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


def _call_limit_arguments(parser: Parser) -> None:
    parser.add_argument("name")
    parser.add_argument("calls")


def _rate_arguments(parser: Parser) -> None:
    parser.add_argument("name")
    parser.add_argument("rate")


def _retry_arguments(parser: Parser) -> None:
    parser.add_argument("name")


def _pause_arguments(parser: Parser) -> None:
    parser.add_argument("patterns", nargs="+", metavar="NAME")
    parser.add_argument("--pause-timeouts", "--stop-clock", action="store_true")


def _resume_arguments(parser: Parser) -> None:
    parser.add_argument("patterns", nargs="+", metavar="NAME")


def _notify_arguments(parser: Parser) -> None:
    parser.add_argument("patterns", nargs="+", metavar="NAME")
    parser.add_argument("--off", action="store_true")


def _rename_arguments(parser: Parser) -> None:
    parser.add_argument("old")
    parser.add_argument("new")


def _unfollow_arguments(parser: Parser) -> None:
    parser.add_argument("followers", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true")
