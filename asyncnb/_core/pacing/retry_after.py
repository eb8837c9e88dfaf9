"""What an HTTP response says of retries, found in an exception: its status and Retry-After."""

from __future__ import annotations

import datetime
import email.utils
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

#: Statuses with which a service says that all its callers should wait: too many requests, and
#: service unavailable. With Retry-After, the pace of the whole run is held.
HOLDING = frozenset((429, 503))
#: Of the statuses that blame the request (4xx), those that may be different next time: timeout,
#: conflict, misdirected, locked, too early, too many requests.
TRANSIENT = frozenset((408, 409, 421, 423, 425, 429))
#: How far ``__cause__`` is followed: client libraries wrap the exceptions of those they use.
MAX_CAUSES = 5


class Answer(NamedTuple):
    """What an HTTP response, found in an exception, says."""

    #: The status code; None if the object with the headers has none.
    status: int | None
    #: The seconds after which the server wants the next request; None if it does not say.
    retry_after: float | None

    @property
    def holds(self) -> bool:
        """Whether all requests to that server should wait, not this one alone."""
        return self.retry_after is not None and self.status in HOLDING

    @property
    def final(self) -> bool:
        """Whether the same request would be refused again: 404, 401, 422."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in TRANSIENT


def find_answer(exc: BaseException) -> Answer | None:
    """Return what the HTTP response in ``exc`` says; None if there is none.

    Reads the exceptions of httpx, aiohttp, requests and urllib and those modelled on them: the
    response is the exception itself, its attribute ``response``, one of its arguments, or in the
    exception that caused it. No library is imported.
    """
    for _ in range(MAX_CAUSES):
        for found in _responses(exc):
            status = _status(found)
            headers = _get(found, "headers")
            if status is not None or headers is not None:
                return Answer(status, None if headers is None else _seconds(headers))
        cause = exc.__cause__
        if cause is None or cause is exc:
            return None
        exc = cause
    return None


def _responses(exc: BaseException) -> Iterator[object]:
    response = _get(exc, "response")  # httpx, requests, openai, botocore
    if response is not None:
        yield response
    if _get(exc, "headers") is not None:  # aiohttp, urllib
        yield exc
    # A ValueError("no result", 404) must not look like a response, nor a name that has headers.
    yield from (arg for arg in exc.args if _get(arg, "headers") is not None and _status(arg))


def _get(holder: object, name: str) -> Any:
    try:
        return getattr(holder, name, None)
    except Exception:  # a property of another library
        return None


def _status(found: object) -> int | None:
    for name in ("status_code", "status", "code"):
        status = _get(found, name)
        if isinstance(status, int) and 100 <= status < 600:
            return int(status)
    return None


def _seconds(headers: Any) -> float | None:
    milliseconds = _number(_header(headers, "Retry-After-Ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = _header(headers, "Retry-After")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    then = _date(value)
    if then is None:
        return None
    # By the server's own clock, if it tells: the two may differ by minutes.
    sent = _date(_header(headers, "Date") or "")
    return max(0.0, then - (time.time() if sent is None else sent))


def _header(headers: Any, name: str) -> str | None:
    try:
        value = headers.get(name)
        if value is None:
            value = headers.get(name.lower())  # a plain dict
    except Exception:
        return None
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return str(value) if isinstance(value, str | int | float) else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _date(text: str) -> float | None:
    try:
        found = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if found.tzinfo is None:  # "-0000", or an obsolete form: HTTP dates are UTC
        found = found.replace(tzinfo=datetime.UTC)
    try:
        return found.timestamp()
    except (ValueError, OverflowError):
        return None
