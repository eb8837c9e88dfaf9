"""The verbs of ``%tasks``: one usage line, its arguments, what it does."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from IPython.core.error import UsageError

from asyncnb._core.base.errors import CommandError
from asyncnb._kernel.arguments import Parser


class Verb(NamedTuple):
    """One verb; its parser is made when it is used, for argparse is slow to set up.

    The names of its arguments say what they take: ``name``, ``old`` and ``patterns`` name tasks,
    ``group`` a group. Completion goes by that.
    """

    usage: str
    arguments: Callable[[Parser], object]
    run: Callable[[argparse.Namespace], Any]

    @property
    def name(self) -> str:
        """What the user types, ``%tasks cancel``."""
        return " ".join(word for word in self.usage.split()[:2] if word[0] not in "[<")

    def parser(self) -> Parser:
        """Return a new parser of its option line."""
        parser = Parser(self.name, self.usage)
        self.arguments(parser)
        return parser

    def __call__(self, given: Sequence[str]) -> Any:
        """Parse ``given`` and do it; raise UsageError for what it does not know."""
        try:
            return self.run(self.parser().parse(given))
        except CommandError as exc:
            raise UsageError(str(exc)) from None

    def refuse(self, message: str) -> UsageError:
        """Return the error for arguments that are known but do not go together."""
        return UsageError(f"{self.name}: {message}.\nUsage: {self.usage}")
