"""Sizes in bytes, as users write and read them; the limit on the data sent elsewhere."""

from __future__ import annotations

#: The maximum number of bytes sent with a task to where it runs, unless an option changes it.
OFFLOAD_LIMIT = 256 * 10**6

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: int | str) -> int:
    """Return a number of bytes; raise ValueError with an example for anything else."""
    if isinstance(text, int) and text > 0:
        return text
    words = str(text).strip().upper()
    number = words.rstrip("BKMGTI ")
    try:
        size = int(float(number) * _UNITS[words[len(number) :].strip()])
        if size <= 0:
            raise ValueError
    except (KeyError, ValueError, OverflowError):
        raise ValueError(
            f"A size is a number of bytes, such as 500000000, or '500 MB', not {text!r}."
        ) from None
    return size


def size_text(size: float) -> str:
    """Return ``size`` bytes as a user would write it, such as ``1.5 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
