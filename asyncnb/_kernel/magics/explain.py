"""The verbs of ``%tasks`` that explain: why a task hangs, why it failed, where its time goes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncnb._kernel.magics.verbs import Verb

if TYPE_CHECKING:
    from asyncnb._kernel.output.deadlocks import DeadlockReporter


class ExplainVerbs:
    """Explains tasks and changes nothing; what a verb needs is imported when it is used."""

    def __init__(self, *, deadlocks: Callable[[], DeadlockReporter]) -> None:
        self._reporter = deadlocks
        self.verbs: dict[str, Verb] = {
            "deadlocks": Verb("%tasks deadlocks", lambda parser: None, self._deadlocks),
        }

    def _deadlocks(self, args: argparse.Namespace) -> None:
        print(self._reporter().now())
