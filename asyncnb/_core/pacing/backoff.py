"""How long to wait before the next attempt: twice as long each time, with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

#: Seconds before the first retry after a failure, and at most before any later one.
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The one backoff of asyncnb: ``first`` seconds, doubled each time, at most ``longest``.

    With ``jitter``, each delay is a random time between 0 and that ("full jitter"), so that the
    calls which failed together are not repeated together.
    """

    first: float = FIRST_DELAY
    longest: float = LONGEST_DELAY
    jitter: bool = True
    #: A separate generator: drawing from the module's would change the numbers of a seeded program.
    _random: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after ``attempt`` attempts, the last of which failed."""
        # 2**1024 has no float
        longest = min(self.longest, self.first * 2.0 ** min(attempt - 1, 1000))
        return self._random.uniform(0, longest) if self.jitter else longest

    def spread(self) -> float:
        """Return what to add to a delay that a server asked for: up to ``first``, with jitter."""
        return self._random.uniform(0, min(self.first, self.longest)) if self.jitter else 0.0
