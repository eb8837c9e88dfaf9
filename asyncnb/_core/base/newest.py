"""A set that keeps only the newest values added to it: for marks that nothing would remove."""

from __future__ import annotations

from collections.abc import Hashable


class Newest:
    """A set of the ``max_count`` newest values that were added. Any thread."""

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._values: dict[Hashable, None] = {}

    def add(self, value: Hashable) -> None:
        """Add ``value``; discard the oldest values if there are too many."""
        self._values[value] = None
        while len(self._values) > self._max_count:
            self._values.pop(next(iter(self._values.copy()), value), None)

    def discard(self, value: Hashable) -> None:
        """Discard ``value`` if it is present."""
        self._values.pop(value, None)

    def __contains__(self, value: Hashable) -> bool:
        return value in self._values

    def __len__(self) -> int:
        return len(self._values)
