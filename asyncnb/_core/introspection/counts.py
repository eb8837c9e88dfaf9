"""How many tasks run and how many have ended, of a group or inside a task."""

from __future__ import annotations

from typing import NamedTuple


class Counts(NamedTuple):
    """Tasks by how they are doing; as text ``14 running, 5 done, 1 failed``.

    ``running`` are all that have not ended, also those that wait.
    """

    running: int
    done: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """All that are known, running and ended."""
        return sum(self)

    def __str__(self) -> str:
        parts = zip(self, self._fields, strict=True)
        return ", ".join(f"{number:,} {what}" for number, what in parts if number)

    def ended(self) -> str:
        """Return `` done=5 failed=1`` for a repr: those that have ended."""
        ended = zip(self._fields[1:], self[1:], strict=True)
        return "".join(f" {what}={number}" for what, number in ended if number)
