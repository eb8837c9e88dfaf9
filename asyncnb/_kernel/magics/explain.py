"""The verbs of ``%tasks`` that explain: why a task hangs, why it failed, where its time goes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncnb._kernel.arguments import Parser, profile_seconds
from asyncnb._kernel.magics.verbs import Verb

if TYPE_CHECKING:
    from asyncnb._core.profiling.profile import Profile
    from asyncnb._kernel.cells.background import BackgroundCells
    from asyncnb._kernel.output.deadlocks import DeadlockReporter


class ExplainVerbs:
    """Explains tasks and changes nothing; what a verb needs is imported when it is used."""

    def __init__(
        self, background: BackgroundCells, *, deadlocks: Callable[[], DeadlockReporter]
    ) -> None:
        self._background = background
        self._reporter = deadlocks
        self.verbs: dict[str, Verb] = {
            "deadlocks": Verb("%tasks deadlocks", lambda parser: None, self._deadlocks),
            "debug": Verb("%tasks debug NAME [NUMBER]", _debug_arguments, self._debug),
            "leaks": Verb("%tasks leaks", lambda parser: None, self._leaks),
            "profile": Verb(
                "%tasks profile [NAME] [-g GROUP] [SECONDS]", _profile_arguments, self._profile
            ),
        }

    def _deadlocks(self, args: argparse.Namespace) -> None:
        print(self._reporter().now())

    def _debug(self, args: argparse.Namespace) -> None:
        from asyncnb._kernel.magics.post_mortem import debug

        debug(self._background.ip, args.failed, args.number, self._background.output.parent())

    def _leaks(self, args: argparse.Namespace) -> None:
        from asyncnb._kernel.magics.leaks import show_leaks

        show_leaks(self._background.ip)

    def _profile(self, args: argparse.Namespace) -> Profile:
        from asyncnb._kernel.cells.profiled import profile_here

        return profile_here(args.name, args.group, args.seconds)


def _debug_arguments(parser: Parser) -> None:
    parser.add_argument("failed", metavar="NAME")
    parser.add_argument("number", metavar="NUMBER", nargs="?", type=int)


def _profile_arguments(parser: Parser) -> None:
    parser.add_argument("name", nargs="?")
    parser.add_argument("seconds", nargs="?", type=profile_seconds)
    parser.add_argument("-g", "--group")
