"""The verbs of ``%tasks`` that explain: why a task hangs, why it failed, where its time goes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from asyncnb._kernel.arguments import Parser, profile_seconds
from asyncnb._kernel.magics.verbs import Verb

if TYPE_CHECKING:
    from asyncnb._core.profiling.profile import Profile


class ExplainVerbs:
    """Explains tasks and changes nothing; what a verb needs is imported when it is used."""

    def __init__(self) -> None:
        self.verbs: dict[str, Verb] = {
            "profile": Verb(
                "%tasks profile [NAME] [-g GROUP] [SECONDS]", _profile_arguments, self._profile
            ),
        }

    def _profile(self, args: argparse.Namespace) -> Profile:
        from asyncnb._kernel.cells.profiled import profile_here

        return profile_here(args.name, args.group, args.seconds)


def _profile_arguments(parser: Parser) -> None:
    parser.add_argument("name", nargs="?")
    parser.add_argument("seconds", nargs="?", type=profile_seconds)
    parser.add_argument("-g", "--group")
