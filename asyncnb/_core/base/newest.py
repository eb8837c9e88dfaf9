"""A set of the newest values that were added: for marks of things that never come back."""

from __future__ import annotations

from collections.abc import Hashable


class Newest:
    """The newest ``most`` of the values that were added. Any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[Hashable, None] = {}

    def add(self, value: Hashable) -> None:
        """Take in ``value``; drop the oldest if there are too many."""
        self._values[value] = None
        while len(self._values) > self._most:
            self._values.pop(next(iter(self._values.copy()), value), None)

    def discard(self, value: Hashable) -> None:
        """Drop ``value`` if it is there."""
        self._values.pop(value, None)

    def __contains__(self, value: Hashable) -> bool:
        return value in self._values

    def __len__(self) -> int:
        return len(self._values)
