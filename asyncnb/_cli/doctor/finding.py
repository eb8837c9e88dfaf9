"""One line of ``asyncnb doctor``: a fact, and how to fix it if something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: ``note``: something optional is missing, or may surprise. ``problem``: something does not work.
Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """What was found; ``fix`` is a command, or a sentence, that changes it."""

    section: str
    name: str
    text: str
    status: Status = "ok"
    fix: str = ""
