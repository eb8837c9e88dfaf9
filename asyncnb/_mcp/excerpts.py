"""Shortens what an agent gets to read: a head and a tail of lines, and a count between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asyncnb._client.received import Excerpt
from asyncnb._core.base.text import count

#: Characters of a line that are returned, and of a whole answer.
MAX_LINE: Final = 500
MAX_TEXT: Final = 100_000


@dataclass
class Short:
    """Text that was shortened."""

    text: str
    #: Lines from the cursor on, as far as they are counted.
    lines: int
    #: Lines, and characters that are no longer kept, that ``text`` leaves out.
    omitted: int
    gone: int
    cursor: int


def shorten(found: Excerpt, head: int, tail: int) -> Short:
    """Return the first ``head`` and the last ``tail`` lines.

    With ``tail`` 0, the cursor is at the end of the head, so that the next answer continues there.
    """
    first = found.head.splitlines(keepends=True)
    last = found.tail.splitlines(keepends=True) if found.gone else []
    # A line that begins in the part that is kept may end in the one that is not.
    lines = found.head.count("\n") + found.gone_lines + found.tail.count("\n")
    lines += not (found.tail or found.head or "\n").endswith("\n")
    if not tail and len(first) > head:
        shown = first[:head]
        cursor = found.cursor - len(found.tail) - found.gone - sum(map(len, first[head:]))
        return Short(_joined(shown), lines, 0, 0, cursor)
    if not found.gone and len(first) <= head + tail:
        return Short(_joined(first), lines, 0, 0, found.cursor)
    beginning = first[:head]
    rest = first[head:] if not found.gone else last
    end = rest[max(0, len(rest) - tail) :] if tail else []
    omitted = lines - len(beginning) - len(end)
    marker = f"… {count(omitted, 'line')} omitted …\n"
    if found.gone:
        marker = (
            f"… {count(omitted, 'line')} omitted; {count(found.gone, 'character')} of that "
            "no longer kept …\n"
        )
    elif not head:
        marker = ""
    if beginning and not beginning[-1].endswith("\n"):
        marker = "\n" + marker
    text = _joined(beginning) + marker + _joined(end)
    return Short(text, lines, omitted, found.gone, found.cursor)


def _joined(lines: list[str]) -> str:
    """Return the lines as one text, each not too long, nor all of them."""
    text = "".join(_cut(line) for line in lines)
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters omitted …\n{text[-half:]}"


def _cut(line: str) -> str:
    if len(line) <= MAX_LINE:
        return line
    end = "\n" if line.endswith("\n") else ""
    return f"{line[:MAX_LINE]}… {len(line) - MAX_LINE:,} more characters{end}"
