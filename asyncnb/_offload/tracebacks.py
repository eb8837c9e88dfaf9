"""Rebuilds errors of workers, with tracebacks that show where they were raised.

A traceback cannot be pickled. What arrives is a description of its frames; here, frames are made at
the same lines of the same files, so that every formatter finds the same source.
"""

from __future__ import annotations

import linecache
import pickle
import types
from typing import Any

from asyncnb._core.base.errors import RemoteError
from asyncnb._core.introspection.stand_ins import stand_in

_GROUPS = ("ExceptionGroup", "BaseExceptionGroup")


def rebuild_error(described: dict[str, Any]) -> BaseException:
    """Return the exception that ``far/outcomes.describe_error`` described."""
    exc: BaseException | None = None
    if described["pickled"] is not None:
        try:
            exc = pickle.loads(described["pickled"])
        except Exception:
            exc = None  # its class does not exist here, or differs
    if not isinstance(exc, BaseException):
        kind, message, members = described["type"], described["message"], described["members"]
        if members:  # a member that cannot be rebuilt must not lose the others
            message = message if kind in _GROUPS else f"{kind}: {message}"
            exc = BaseExceptionGroup(message, [rebuild_error(member) for member in members])
        else:
            exc = RemoteError(f"{kind}: {message}")
    _complete(exc, described)
    return exc


def _complete(exc: BaseException, described: dict[str, Any]) -> None:
    for name in ("cause", "context"):
        if described[name] is not None:
            setattr(exc, f"__{name}__", rebuild_error(described[name]))
    exc.__suppress_context__ = described["suppress"]
    exc.__traceback__ = _traceback(described["frames"])
    if isinstance(exc, BaseExceptionGroup):
        for member, known in zip(exc.exceptions, described["members"], strict=False):
            _complete(member, known)


def _traceback(frames: list[tuple[Any, ...]]) -> types.TracebackType | None:
    found: types.TracebackType | None = None
    for file, function, position, line in reversed(frames):
        if line and not linecache.getline(file, position[0]):
            # A file of another machine, or a cell unknown to this kernel: only this line is known.
            lines = ["\n"] * (position[0] - 1) + [line]
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
        entry = stand_in(file, function, position)
        found = types.TracebackType(found, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return found
