"""Which function a save file belongs to: its name, its source, and arguments bound to it."""

from __future__ import annotations

import functools
import hashlib
import inspect
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncnb._core.mapping.json_values import UnfitForJsonError, dump_exactly


@dataclass(frozen=True)
class Identity:
    """A function as a save file knows it."""

    #: ``module.qualified_name``.
    name: str
    #: A hash of its source without comments and blank lines, or of its bytecode.
    source: str
    #: The arguments that a ``functools.partial`` or a bound method adds, as text.
    arguments: str


def identify(function: Callable[..., Any]) -> Identity:
    """Return the identity of ``function``. Any callable, any thread.

    What the function calls and the variables it reads are not part of it.
    """
    bound: list[str] = []
    while isinstance(function, functools.partial):
        bound += [_text(value) for value in function.args]
        bound += [f"{name}={_text(value)}" for name, value in sorted(function.keywords.items())]
        function = function.func
    if isinstance(function, types.MethodType):
        if not isinstance(function.__self__, type):
            bound.append(f"self={_text(function.__self__)}")
        function = function.__func__
    named: Any = function
    if not hasattr(named, "__qualname__"):  # an object with __call__
        bound.append(f"self={_text(function)}")
        named = type(function)
    name = f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"
    return Identity(name, _source_hash(function), ", ".join(bound))


def _text(value: Any) -> str:
    try:
        text = dump_exactly(value)
    except UnfitForJsonError:
        if callable(value) and hasattr(value, "__qualname__"):
            return f"<{value.__module__}.{value.__qualname__}>"
        return f"<{type(value).__module__}.{type(value).__qualname__}>"
    if len(text) > 100:
        text = f"{text[:20]}… sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text


def _source_hash(function: Any) -> str:
    inner = inspect.unwrap(function)
    if not isinstance(inner, types.FunctionType | type):
        call = getattr(type(inner), "__call__", None)  # noqa: B004
        inner = call if isinstance(call, types.FunctionType) else type(inner)
    code = getattr(inner, "__code__", None)
    try:
        # The cell of %%amap: its options may change, and are lines of its source for inspect.
        source = getattr(inner, "_asyncnb_source", None)
        if source is None:
            if isinstance(code, types.CodeType) and code.co_filename == "<string>":
                # The name that exec() gives to all it compiles, and `python -c` to its code: 3.13
                # finds the lines of the latter for either (linecache has them as "<string>").
                raise OSError
            source = inspect.getsource(inner)
        text = _essential(source).encode("utf-8", "backslashreplace")
    except (OSError, TypeError, SyntaxError):
        # exec(), a deleted file, a class of a cell, C
        text = _code_bytes(code) if isinstance(code, types.CodeType) else b""
    return hashlib.sha256(text).hexdigest()[:32]


def _essential(source: str) -> str:
    """Return ``source`` without what changes nothing. The same on every version of Python."""
    lines = (line.rstrip() for line in textwrap.dedent(source).splitlines())
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def _code_bytes(code: types.CodeType) -> bytes:
    parts = [code.co_code, repr(code.co_names).encode("utf-8", "backslashreplace")]
    for const in code.co_consts:
        is_code = isinstance(const, types.CodeType)
        parts.append(_code_bytes(const) if is_code else repr(const).encode("utf-8", "replace"))
    return b"\0".join(parts)
