"""What a save file holds of a result and of a failure, and how both are read again.

A result is JSON, or a pickle where the user chose that. A failure is never a pickle: it is its
type, message, arguments and traceback as text. It is rebuilt with its type only if the module of
that type is imported already, and without its ``__init__``, so that no file can make code run.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from asyncnb._core.base.errors import RemoteError, SaveError, safe_str
from asyncnb._core.base.frames import is_internal_frame
from asyncnb._core.base.text import brief
from asyncnb._core.mapping.json_values import UnfitForJsonError, dump_exactly

JSON, PICKLE, ERROR, TEXT = "json", "pickle", "error", "text"

#: Longer tracebacks lose their middle: a recursion has ten thousand lines.
_MAX_TRACEBACK = 20_000
_MAX_MESSAGE = 100_000


def encode_result(value: Any, allow_pickle: bool, path: str) -> tuple[str, str | bytes]:
    """Return the kind and the stored form of a result. Raises SaveError if it has none."""
    try:
        return JSON, dump_exactly(value)
    except UnfitForJsonError as exc:
        reason = str(exc)
    if not allow_pickle:
        raise SaveError(
            f"{path} saves results as JSON, and the {reason}, which JSON does not give back as it "
            "was: return dicts with str keys, lists, str, numbers, bool and None, or let it pickle "
            f"other results with save=asyncnb.Save({path!r}, pickle=True). The run has stopped; "
            "what was saved before is intact."
        )
    import pickle

    try:
        return PICKLE, pickle.dumps(value, protocol=5)
    except Exception as exc:
        raise SaveError(
            f"{path} cannot save this result ({brief(value)}): pickle refuses it with "
            f"{type(exc).__name__}: {safe_str(exc)}. The run has stopped; what was saved before is "
            "intact."
        ) from exc


def decode_result(kind: str, data: Any, allow_pickle: bool, path: str) -> Any:
    """Return a stored result. Raises SaveError for a pickle that may not be read, or cannot."""
    if kind == JSON:
        return json.loads(data)
    if not allow_pickle:
        raise SaveError(
            f"{path} holds pickled results, and reading a pickle runs code that is in the file. If "
            f"the file is yours, allow it: asyncnb.Save({path!r}, pickle=True)"
        )
    import pickle

    try:
        return pickle.loads(data)
    except Exception as exc:
        raise SaveError(
            f"A result in {path} cannot be unpickled: {type(exc).__name__}: {safe_str(exc)}"
        ) from exc


def encode_item(item: Any, key: str) -> tuple[str, str | None]:
    """Return the kind and the stored form of an item: JSON, or its repr; None if the key is it."""
    try:
        text = dump_exactly(item)
    except UnfitForJsonError:
        try:
            return TEXT, brief(item, 200).encode("utf-8", "backslashreplace").decode()
        except Exception:  # its __repr__ raises
            return TEXT, f"<{type(item).__qualname__}>"
    return JSON, None if text == key else text


def decode_item(kind: str, data: str | None, key: str) -> Any:
    """Return a stored item, or its repr if it could not be stored."""
    return data if kind == TEXT else json.loads(key if data is None else data)


def encode_failure(exc: BaseException) -> str:
    """Return what is stored of a failure, as JSON."""
    try:
        arguments: Any = json.loads(dump_exactly(list(exc.args)))
    except UnfitForJsonError:
        arguments = None
    try:
        entry = exc.__traceback__
        while entry is not None and is_internal_frame(entry.tb_frame):
            entry = entry.tb_next  # of what made the call
        lines = "".join(traceback.format_exception(type(exc), exc, entry or exc.__traceback__))
    except Exception as broken:  # its __str__ or its cause's raises
        lines = f"<no traceback: formatting it raised {type(broken).__name__}>"
    if len(lines) > _MAX_TRACEBACK:
        half = _MAX_TRACEBACK // 2
        lines = f"{lines[:half]}\n...\n{lines[-half:]}"
    notes = [note for note in getattr(exc, "__notes__", ()) if isinstance(note, str)]
    described = {
        "type": f"{type(exc).__module__}:{type(exc).__qualname__}",
        "message": safe_str(exc)[:_MAX_MESSAGE],
        "arguments": arguments,
        "notes": notes,
        "traceback": lines,
    }
    return json.dumps(described)  # ASCII: messages may have lone surrogates


def decode_failure(data: str, path: str) -> BaseException:
    """Return a failure like the one that was stored; its traceback is in a note.

    It has the type, the arguments and the message of the original. Other attributes are lost. If
    the type is not known here, or shows another message without them, it is a RemoteError.
    """
    described = json.loads(data)
    exc = _rebuild(described["type"], described["arguments"])
    if exc is None or safe_str(exc) != described["message"]:
        module, _, name = described["type"].partition(":")
        name = name if module == "builtins" else f"{module}.{name}"
        exc = RemoteError(f"{name}: {described['message']}")
    for note in described["notes"]:
        exc.add_note(note)
    exc.add_note(f"Saved in {path}; this is where it was raised:\n{described['traceback']}")
    return exc


def failure_line(data: str) -> tuple[str, str]:
    """Return the name of the type and the message of a stored failure."""
    described = json.loads(data)
    return described["type"].rpartition(":")[2], described["message"]


def _rebuild(named: str, arguments: list[Any] | None) -> BaseException | None:
    kind = _loaded_type(named)
    if kind is None or arguments is None:
        return None
    try:
        if kind.__module__ == "builtins":
            return kind(*arguments)
        # Not the type's __init__, which may want other arguments, or do something.
        base: Any = next(each for each in kind.__mro__ if each.__module__ == "builtins")
        exc: BaseException = base.__new__(kind, *arguments)
        exc.args = tuple(arguments)
    except Exception:
        return None
    return exc


def _loaded_type(named: str) -> type[Exception] | None:
    """Return the exception type of that name. Imports nothing: the name comes from a file."""
    module, _, path = named.partition(":")
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = vars(found).get(name) if isinstance(found, type | type(sys)) else None
    return found if isinstance(found, type) and issubclass(found, Exception) else None
