"""Which objects can be reached, and from where: the user's variables, or code that is running."""

from __future__ import annotations

import asyncio
import gc
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

from asyncnb._core.base.frames import is_internal_frame
from asyncnb._core.introspection.kinds import is_a
from asyncnb._core.leaks.resources import module_of

#: Packages that run the notebook; their objects lead to every variable.
HOSTS = ("IPython", "ipykernel", "traitlets", "zmq", "tornado", "comm", "asyncnb")
_ATOMS = (types.ModuleType, type, types.CodeType, types.BuiltinFunctionType)

_DESCEND, _LEAF, _FUNCTION = range(3)


class Ids:
    """Objects by their ids, in small sets: one of a million blocks for 0.1 s when it grows."""

    def __init__(self) -> None:
        #: An id is in the one of number ``id >> 4 & 63``.
        self.buckets: list[set[int]] = [set() for _ in range(64)]

    def add(self, thing: object) -> None:
        """Add an object."""
        self.buckets[id(thing) >> 4 & 63].add(id(thing))

    def __contains__(self, thing: object) -> bool:
        return id(thing) in self.buckets[id(thing) >> 4 & 63]


class Reach:
    """Walks from roots to the objects wanted, each object once.

    Nothing is reached through an event loop, a transport, a module or a class: what only these
    hold is what the code has left behind.
    """

    def __init__(self, wanted: Iterable[Any], stops: Iterable[Any]) -> None:
        self._wanted = {id(thing) for thing in wanted}
        #: Where each was reached from, by its id.
        self.found: dict[int, str] = {}
        self._seen = Ids()
        for thing in (*namespaces(), *stops):
            self._seen.add(thing)
        self._rules: dict[type, int] = {}

    @property
    def is_complete(self) -> bool:
        """Whether all that is wanted has been reached."""
        return len(self.found) == len(self._wanted)

    def walk(self, roots: Iterable[Any], label: str) -> None:
        """Note ``label`` for all that is wanted and reached from ``roots``, and not yet reached."""
        buckets, wanted, rules = self._seen.buckets, self._wanted, self._rules
        referents, is_tracked = gc.get_referents, gc.is_tracked
        waiting: list[Any] = []
        self._enter(roots, label, waiting)
        while waiting and not self.is_complete:
            for held in referents(waiting.pop()):
                if not is_tracked(held):
                    continue
                key = id(held)
                seen = buckets[key >> 4 & 63]
                if key in seen:
                    continue
                seen.add(key)
                if key in wanted:
                    self.found[key] = label
                kind = type(held)
                rule = rules.get(kind)
                if rule is None:
                    rule = rules[kind] = _rule(kind)
                if rule == _DESCEND:
                    waiting.append(held)
                elif rule == _FUNCTION:
                    self._enter(_of_function(held), label, waiting)

    def _enter(self, roots: Iterable[Any], label: str, waiting: list[Any]) -> None:
        for root in roots:
            if root in self._seen or not gc.is_tracked(root):
                continue
            self._seen.add(root)
            if id(root) in self._wanted:
                self.found[id(root)] = label
            rule = _rule(type(root))
            if rule == _DESCEND:
                waiting.append(root)
            elif rule == _FUNCTION:
                self._enter(_of_function(root), label, waiting)


def _rule(kind: type) -> int:
    if kind is types.FunctionType:
        return _FUNCTION
    if issubclass(kind, _ATOMS):
        return _LEAF
    if issubclass(kind, asyncio.AbstractEventLoop | asyncio.Handle | asyncio.BaseTransport):
        return _LEAF
    top = module_of(kind).partition(".")[0]
    if top == "asyncnb" and issubclass(kind, asyncio.Future):
        return _DESCEND
    if top in HOSTS or top in ("uvloop", "winloop", "selectors"):
        return _LEAF
    return _DESCEND


def _of_function(function: types.FunctionType) -> list[Any]:
    """Return what a function holds besides the globals of its module."""
    held = [function.__closure__, function.__defaults__, function.__kwdefaults__]
    return [each for each in (*held, function.__dict__) if each]


def namespaces() -> list[dict[str, Any]]:
    """Return the dictionaries of all modules."""
    modules: list[Any] = list(sys.modules.values())  # another thread may import something now
    return [vars(module) for module in modules if is_a(module, types.ModuleType)]


def module_values() -> Iterable[Any]:
    """Yield the values of all modules but ``__main__``, which is the user's, and asyncnb."""
    for name, module in list(sys.modules.items()):
        if name != "__main__" and not name.startswith("asyncnb"):
            yield from list(getattr(module, "__dict__", {}).values())


def thread_locals() -> Iterable[Any]:
    """Yield the local variables of all code that is running, in every thread but of asyncnb."""
    for frame in list(sys._current_frames().values()):
        at: types.FrameType | None = frame
        while at is not None:
            if not is_internal_frame(at) and at.f_locals is not at.f_globals:
                yield from list(at.f_locals.values())
            at = at.f_back


def walk_variables(reach: Reach, variables: Mapping[str, Any], label: str = "{}") -> None:
    """Walk from each of ``variables`` with its name as label, formatted by ``label``."""
    for name, value in list(variables.items()):
        reach.walk([value], label.format(name))
