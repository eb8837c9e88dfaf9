"""Validation of the time limits that users pass."""

from __future__ import annotations

import math
import numbers

from asyncnb._core.base.text import brief


def check_timeout(timeout: object, *, what: str = "timeout") -> float | None:
    """Return ``timeout`` in seconds; None and infinity mean no limit.

    Raises TypeError if it is not a number and ValueError if the number is not a valid duration,
    each with a sentence that names ``what``.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, numbers.Real):
        given = f"{type(timeout).__name__}" if not isinstance(timeout, bool | str) else ""
        raise TypeError(
            f"{what} must be a number of seconds or None, not {given or brief(timeout, 40)}."
        )
    try:
        seconds = float(timeout)
    except OverflowError:
        raise ValueError(f"{what} must be 0 or more seconds, not a number that large.") from None
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"{what} must be 0 or more seconds, not {timeout!r}.")
    return seconds
