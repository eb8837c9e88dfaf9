"""What code can reach: the objects that lead from a suspended coroutine to a primitive.

A walk over references, as the garbage collector does it, which stops at what belongs to others
(tasks, loops, modules) and follows a function to the globals it names.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import os
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any

from asyncnb._core.base.frames import PACKAGE
from asyncnb._core.introspection.kinds import is_a
from asyncnb._core.primitives.timeouts import InnermostTimeouts

#: Most objects that one walk visits. Beyond that everything counts as reached.
MAX_OBJECTS = 200_000

_SKIPPED = (
    asyncio.Task,
    asyncio.AbstractEventLoop,
    contextvars.Context,
    contextvars.Token,
    types.FrameType,
    types.BuiltinFunctionType,
    weakref.ReferenceType,
    InnermostTimeouts,
)
#: Instances of what these packages define lead to the whole shell, and so to every name in it.
_SHELLS = ("IPython", "ipykernel", "traitlets", "zmq", "tornado", "jupyter_client")
_OURS = ("asyncnb._core.primitives", "asyncnb._core.base")


class Walk:
    """One walk; each object is visited once, however often it is continued from new roots."""

    def __init__(self, wanted: Iterable[Any]) -> None:
        self._wanted = {id(it) for it in wanted}
        self._seen: set[int] = set()
        #: Keeps what is visited alive, so that no id is used again.
        self._held: list[Any] = []
        self._named: set[tuple[int, int]] = set()
        #: The ids of those of ``wanted`` that have been reached.
        self.reached: set[int] = set()
        #: Names that the code on the way uses: attributes, methods, globals.
        self.names: set[str] = set()
        self.exhausted = False

    @property
    def visits(self) -> int:
        """The number of objects visited."""
        return len(self._seen)

    def go(self, roots: Iterable[Any]) -> None:
        """Continue from ``roots``."""
        layer = list(roots)
        while layer and not self.exhausted:
            following: list[Any] = []
            plain: list[Any] = []
            for it in layer:
                key = id(it)
                if key in self._seen:
                    continue
                self._seen.add(key)
                self._held.append(it)
                if key in self._wanted:
                    self.reached.add(key)
                kind = type(it)
                if kind is types.FunctionType:
                    following += self._of_function(it)
                elif kind is types.CodeType or kind is str:
                    continue
                elif is_a(it, type):
                    following += self._of_class(it)
                elif (
                    kind is types.ModuleType
                    or is_a(it, _SKIPPED)
                    or _is_shell(str(kind.__module__))
                ):
                    continue
                elif kind is dict and is_namespace(it):
                    continue  # code names what it uses of it
                elif gc.is_tracked(it) or kind is tuple or kind is dict:
                    plain.append(it)
            if len(self._seen) > MAX_OBJECTS:
                self.exhausted = True
            layer = following + gc.get_referents(*plain)

    def _of_function(self, function: types.FunctionType) -> list[Any]:
        found: list[Any] = [function.__defaults__, function.__kwdefaults__]
        found += [getattr(function, "__wrapped__", None)]
        for cell in function.__closure__ or ():
            try:
                found.append(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        return found + self._of_code(function.__code__, function.__globals__)

    def _of_code(self, code: types.CodeType, names: dict[str, Any]) -> list[Any]:
        if (id(code), id(names)) in self._named:
            return []
        self._named.add((id(code), id(names)))
        self._held.append(code)
        self.names.update(code.co_names)
        found = []
        for name in code.co_names:
            value = names.get(name)
            if type(value) is types.ModuleType:
                if is_user_module(value.__name__):
                    module = vars(value)
                    found += [module[other] for other in code.co_names if other in module]
            elif value is not None:
                found.append(value)
        for const in code.co_consts:
            if type(const) is types.CodeType:
                found += self._of_code(const, names)
        return found

    def _of_class(self, kind: type) -> list[Any]:
        if not is_user_module(kind.__module__):
            return []
        found = []
        for value in vars(kind).values():
            if type(value) in (staticmethod, classmethod):
                value = value.__func__
            elif type(value) is property:
                value = value.fget
            if is_a(value, types.FunctionType | dict | list | set):
                found.append(value)
        return found + list(kind.__mro__[1:])


def of_frame(frame: types.FrameType) -> list[Any]:
    """Return what the user's code in a running frame refers to; nothing for other code."""
    code, names = frame.f_code, frame.f_globals
    if not is_user_module(str(names.get("__name__"))):
        return []
    used = [names.get(name) for name in code.co_names]
    if code.co_flags & inspect.CO_OPTIMIZED:  # not the body of a cell, whose locals are globals
        used += frame.f_locals.values()
    return [it for it in used if it is not None]


def is_namespace(it: Any) -> bool:
    """Return whether ``it`` is the dict of a module's globals, such as that of the notebook."""
    return type(it) is dict and "__name__" in it and "__builtins__" in it


@functools.lru_cache(maxsize=4096)
def _is_shell(module: str) -> bool:
    root = module.partition(".")[0]
    return root in _SHELLS or (root == "asyncnb" and not module.startswith(_OURS))


@functools.lru_cache(maxsize=4096)
def is_user_module(name: str) -> bool:
    """Return whether a module is the user's: neither standard library, nor installed, nor ours."""
    root = str(name).partition(".")[0]
    if root in sys.stdlib_module_names:
        return root == "__main__"
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    folders = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
    return not file.startswith(PACKAGE) and not any(folder in file for folder in folders)
