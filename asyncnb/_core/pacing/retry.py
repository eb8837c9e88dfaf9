"""What ``retry=`` may be: a number, a Retry, an object of tenacity; checked."""

from __future__ import annotations

import sys

from asyncnb._core.base.text import brief
from asyncnb._core.pacing.policy import Retry
from asyncnb._core.pacing.retries import RunRetries

_EXAMPLES = "a number of retries, asyncnb.Retry(3, on=OSError) or an AsyncRetrying of tenacity"


def as_retry(value: object) -> RunRetries | None:
    """Return the retries of one run for ``retry=value``; None for None.

    ``value`` is a number of retries, a Retry, or a ``Retrying`` or ``AsyncRetrying`` object of
    tenacity. Raises TypeError or ValueError, with a sentence, for anything else.
    """
    if value is None:
        return None
    if isinstance(value, Retry):
        return RunRetries(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return RunRetries(Retry(value))
    tenacity = sys.modules.get("tenacity")  # an object of it exists only if it was imported
    if tenacity is not None and isinstance(value, tenacity.BaseRetrying):
        from asyncnb._core.pacing.tenacity_retries import TenacityRetries

        return TenacityRetries(value)
    given = type(value).__name__
    if isinstance(value, bool):
        hint = ": write how often, retry=3" if value else ": omit it, or set it to None"
        raise TypeError(f"retry={value} does not say how often{hint}")
    if isinstance(value, type):
        if issubclass(value, BaseException):
            raise TypeError(
                f"retry={value.__name__} does not say how often: "
                f"asyncnb.Retry(3, on={value.__name__})"
            )
        raise TypeError(f"retry must be an object, not the class {value.__name__}: call it first")
    if callable(value):
        raise TypeError(
            f"retry must be {_EXAMPLES}, not a function: a decorator such as tenacity's @retry "
            "belongs on the function that map calls; a predicate is asyncnb.Retry(3, on=function)"
        )
    if isinstance(value, float | str):
        given = brief(value, 40)
    raise TypeError(f"retry must be {_EXAMPLES}, not {given}")
