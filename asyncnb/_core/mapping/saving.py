"""Saving: a run's side of its save file: finds outcomes there, and has new ones written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asyncnb._core.mapping.outcome import Outcome

#: How many outcomes may wait to be written: then no more items start.
MAX_PENDING = 2000


class Saving:
    """The save file of one run, and the keys of its items. Thread of the loop.

    ``keys`` are those of items that run again: the file has their failures, which do not count.
    """

    def __init__(self, file: Any, item_keys: Any, keys: Mapping[int, str]) -> None:
        self._file = file
        self._item_keys = item_keys
        #: The keys of the items in progress, and of those that run again.
        self.keys = dict(keys)
        self._again = set(keys)
        #: How many outcomes are on their way to the disk.
        self.pending = 0
        self._full = False
        #: Called when there is room again, and when the last outcome was written.
        self.on_room: Callable[[], object] | None = None

    def find(self, index: int, item: Any) -> Outcome[Any, Any] | None:
        """Return the saved outcome of an item that was taken, None if it has to be called.

        Raises what refuses the item's key, and SaveError if the file cannot be read.
        """
        if index in self._again:
            self._again.discard(index)
            return None
        key = self._item_keys.next(index, item)
        found: Outcome[Any, Any] | None = self._file.get(key, index, item)
        if found is None:
            self.keys[index] = key
        return found

    def room(self) -> bool:
        """Return whether one more item may be taken."""
        room = self.pending < MAX_PENDING
        if not room:
            self._full = True
        return room

    def put(
        self,
        outcome: Outcome[Any, Any],
        deliver: Callable[[Outcome[Any, Any]], object],
        refuse: Callable[[Outcome[Any, Any], BaseException], object],
    ) -> None:
        """Write the outcome; then call ``deliver`` with it, or ``refuse`` with it and an error.

        An item whose outcome was refused keeps its key, as it may run again.
        """
        key = outcome.key = self.keys.pop(outcome.index)
        self.pending += 1

        def saved(error: BaseException | None) -> None:
            self.pending -= 1
            if error is None:
                deliver(outcome)
            else:
                self.keys[outcome.index] = key
                refuse(outcome, error)
            if (self._full or not self.pending) and self.on_room is not None:
                self._full = False
                self.on_room()

        try:
            self._file.put(outcome, saved)
        except Exception as exc:
            saved(exc)
