"""A verb of ``%tasks``: its usage line, its arguments and what it does."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from IPython.core.error import UsageError

from asyncnb._core.base.errors import CommandError
from asyncnb._kernel.arguments import Parser


class Verb(NamedTuple):
    """One verb. Its parser is made when the verb is used, because argparse is slow to set up.

    The names of its arguments tell completion what they take: ``name``, ``old``, ``pattern`` and
    ``patterns`` name tasks, ``group`` names a group.
    """

    usage: str
    arguments: Callable[[Parser], object]
    run: Callable[[argparse.Namespace], Any]

    @property
    def name(self) -> str:
        """The words that the user types, such as ``%tasks cancel``."""
        return " ".join(word for word in self.usage.split()[:2] if word[0] not in "[<")

    def parser(self) -> Parser:
        """Return a new parser of its option line."""
        parser = Parser(self.name, self.usage)
        self.arguments(parser)
        return parser

    def __call__(self, given: Sequence[str]) -> Any:
        """Parse ``given`` and run the verb; UsageError for bad arguments or a refusal."""
        try:
            return self.run(self.parser().parse(given))
        except CommandError as exc:
            raise UsageError(str(exc)) from None

    def refuse(self, message: str) -> UsageError:
        """Return the error for arguments that are valid but cannot be combined."""
        return UsageError(f"{self.name}: {message}.\nUsage: {self.usage}")
