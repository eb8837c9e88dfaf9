"""Digest: combines many notices at once into one that counts them."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

from asyncnb._core.base.text import truncate
from asyncnb._core.launched.notices import LEVELS, MAX_TEXT, Notice

#: Seconds without a new notice after which those that wait are shown, and the longest wait.
QUIET: Final = 0.3
LONGEST_WAIT: Final = 2.0
#: Seconds from one that was shown to the next, and from one that counted several. The second
#: doubles as long as they keep coming, up to the third.
GAP: Final = 2.0
GAP_AFTER_MANY: Final = 10.0
LONGEST_GAP: Final = 600.0
#: How many names, or texts, of those that were counted are given.
EXAMPLES: Final = 3

#: What tasks did, by their state: one, and several.
_VERBS: Final = {
    "failed": ("failed", "failed"),
    "done": ("is done", "are done"),
    "cancelled": ("was cancelled", "were cancelled"),
}


class Digest:
    """Collects notices, and decides when to show one and which.

    ``now`` is a time of any clock, in seconds. It takes the same memory for a million notices.
    """

    def __init__(self) -> None:
        self._newest: Notice | None = None
        self._examples: list[Notice] = []
        self._states: Counter[str] = Counter()
        self._level = 0
        self._only_unseen = True
        self._first = self._last = 0.0
        self._not_before = -math.inf
        self._gap = GAP_AFTER_MANY

    def put(self, notice: Notice, now: float) -> None:
        """Add a notice."""
        if self._newest is None:
            self._first = now
        self._newest, self._last = notice, now
        if len(self._examples) < EXAMPLES:
            self._examples.append(notice)
        self._states[notice.state] += 1
        self._level = max(self._level, LEVELS.index(notice.level))
        self._only_unseen &= notice.only_unseen

    def wait(self, now: float) -> float | None:
        """Return the seconds until ``take`` has one, None if none was put."""
        if self._newest is None:
            return None
        due = min(self._last + QUIET, self._first + LONGEST_WAIT)
        return max(0.0, due - now, self._not_before - now)

    def take(self, now: float) -> Notice | None:
        """Return what to show now, None if nothing."""
        if self.wait(now) != 0.0 or self._newest is None:
            return None
        number = self._states.total()
        taken = self._newest if number == 1 else self._summary(number)
        if number == 1:
            gap, self._gap = GAP, GAP_AFTER_MANY
        else:
            was_held = self._first < self._not_before
            self._gap = min(2 * self._gap, LONGEST_GAP) if was_held else GAP_AFTER_MANY
            gap = self._gap
        self._not_before = now + gap
        self._newest, self._examples = None, []
        self._states.clear()
        self._level, self._only_unseen = 0, True
        return taken

    def _summary(self, number: int) -> Notice:
        ended = number - self._states[""]
        counts = [(n, verbs) for state, verbs in _VERBS.items() if (n := self._states[state])]
        if len(counts) == 1:
            [(n, verbs)] = counts
            parts = [f"1 task {verbs[0]}" if n == 1 else f"{n:,} tasks {verbs[1]}"]
        else:
            parts = [f"{n:,} {verbs[n > 1]}" for n, verbs in counts]
        if counts[1:]:
            parts[0] = f"{ended:,} tasks ended: {parts[0]}"
        if ended < number:
            parts.append(f"{number - ended:,} more" if ended else f"{number:,} notifications")
        title = ", ".join(parts)
        some = [each.name if each.state else each.line() for each in self._examples]
        text = ", ".join(some) + (f" and {number - len(some):,} more" if number > len(some) else "")
        return Notice(
            title,
            truncate(text, MAX_TEXT),
            LEVELS[self._level],
            only_unseen=self._only_unseen,
        )
