"""Pickles what goes to a worker; refuses with an explanation what cannot be pickled."""

from __future__ import annotations

import os
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from asyncnb._core.base.errors import OffloadError
from asyncnb._core.base.sizes import OFFLOAD_LIMIT, parse_size, size_text
from asyncnb._offload.far import outcomes

#: Bytes of a call below which no limit is looked up, as that takes longer than pickling it.
UNLIMITED = 500

_limit: int | None = None


def set_limit(limit: int | str | None) -> None:
    """Set how many bytes a task may send: a number, ``"500 MB"``, or None for the default.

    The option ``offload_limit`` calls this. Raises ValueError for anything else. From any thread;
    applies to tasks launched from now on.
    """
    global _limit
    _limit = None if limit is None else parse_size(limit)


def limit() -> int:
    """Return how many bytes a task may send.

    As set, else the value of the environment variable ASYNCNB_OFFLOAD_LIMIT, else the default.
    """
    if _limit is not None:
        return _limit
    given = os.environ.get("ASYNCNB_OFFLOAD_LIMIT")
    if given:
        try:
            return parse_size(given)
        except ValueError as exc:
            warnings.warn(f"ASYNCNB_OFFLOAD_LIMIT: {exc}", stacklevel=2)
    return OFFLOAD_LIMIT


def dump(value: Any) -> bytes:
    """Pickle ``value``, including functions and classes of a notebook; raises as pickling does."""
    try:
        import cloudpickle  # noqa: F401
    except ImportError:
        raise OffloadError(
            "Sending code to another process needs cloudpickle: pip install cloudpickle"
        ) from None
    return outcomes.dump(value)


def pack(parts: Mapping[str, Any], whole: Any, *, instead: str) -> bytes:
    """Return ``whole`` pickled; ``parts`` are its parts, by the names that the user knows.

    Raises OffloadError, which names the part that cannot be pickled, or the largest parts if the
    whole exceeds the limit; ``instead`` says what to do then.
    """
    try:
        data = dump(whole)
    except OffloadError:
        raise
    except Exception as exc:
        raise OffloadError(_unpicklable(parts, exc, instead)) from None
    if len(data) > limit():
        sizes = sorted(((_size(part), name) for name, part in parts.items()), reverse=True)
        largest = ", ".join(f"{name} {size_text(size)}" for size, name in sizes[:3])
        raise OffloadError(
            f"This would send {size_text(len(data))}, and the limit is {size_text(limit())} "
            f"({largest}). {instead} Or set another limit with `%asyncnb option offload_limit 2GB` "
            "or the environment variable ASYNCNB_OFFLOAD_LIMIT."
        )
    return data


def _size(part: Any) -> int:
    return len(dump(part))


def _unpicklable(parts: Mapping[str, Any], exc: Exception, instead: str) -> str:
    for name, part in parts.items():
        try:
            dump(part)
        except Exception as why:
            return (
                f"{name} ({type(part).__name__}) cannot be sent to another process: "
                f"{type(why).__name__}: {why}. {instead}"
            )
    return f"This cannot be sent to another process: {type(exc).__name__}: {exc}. {instead}"


def pack_call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bytes:
    """Return a call as the payload of a job. Raises OffloadError if it cannot be sent."""
    if _is_plain(args) and _is_plain(kwargs.values()) and _is_by_name(function):
        # Two names take half as long to pickle and to unpickle as the function that they lead to.
        name = function.__module__, function.__name__
        data = pickle.dumps((name, tuple(args), dict(kwargs)), protocol=5)
        if len(data) < UNLIMITED or len(data) <= limit():
            return data
    parts = {f"argument {number}": value for number, value in enumerate(args, 1)}
    parts |= {f"argument {name!r}": value for name, value in kwargs.items()}
    parts[getattr(function, "__qualname__", repr(function))] = function
    return pack(
        parts,
        (function, tuple(args), dict(kwargs)),
        instead="Create it inside the function, or pass what it is made from.",
    )


def pack_cell(
    *,
    body: types.CodeType,
    last: types.CodeType | None,
    file: str,
    source: str,
    names: Mapping[str, Any],
    out: Sequence[str],
    namespace: dict[str, Any],
    notebook: bool,
    profile: bool = False,
) -> bytes:
    """Return a cell as the payload of a job. Raises OffloadError if a name cannot be sent.

    ``notebook`` says that it uses ``display``, magics or plots, which a worker has to provide;
    ``profile`` that it is sampled there.
    """
    # cloudpickle gives all functions with the same globals one common new dict of globals; through
    # one additional function, the other end finds this dict.
    anchor = types.FunctionType((lambda: None).__code__, namespace, "anchor")
    anchor.__module__ = "__main__"
    cell = {
        "body": body,
        "last": last,
        "file": file,
        "source": source,
        "names": dict(names),
        "out": list(out),
        "anchor": anchor,
        "notebook": notebook,
        "profile": profile,
    }
    return pack(
        names,
        cell,
        instead="Create it in the cell itself, or name with --in what to send.",
    )


def pack_shared(function: Callable[..., Any]) -> bytes:
    """Return the function of many jobs as bytes. Raises OffloadError if it cannot be sent."""
    name = getattr(function, "__qualname__", repr(function))
    return pack({name: function}, function, instead="Create what it uses inside the function.")


def pack_chunk(items: list[Any]) -> bytes:
    """Return the items of some calls as bytes. Raises OffloadError, naming the first bad one."""
    if _is_plain(items):
        return pickle.dumps(items, protocol=5)
    parts = {f"item {number} of this chunk": item for number, item in enumerate(items, 1)}
    return pack(parts, items, instead="Pass what it is made from.")


def _is_plain(values: Iterable[Any]) -> bool:
    return outcomes.PLAIN.issuperset(map(type, values))


def _is_by_name(function: Any) -> bool:
    """Return whether the worker can import it; cloudpickle's own check takes ten times as long."""
    if not isinstance(function, _FUNCTIONS):
        return False
    module = sys.modules.get(function.__module__ or "")
    if module is None or function.__module__ == "__main__":
        return False
    cloudpickle: Any = sys.modules.get("cloudpickle")
    if cloudpickle is None or cloudpickle.list_registry_pickle_by_value():
        return False
    return getattr(module, function.__name__, None) is function


_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)
