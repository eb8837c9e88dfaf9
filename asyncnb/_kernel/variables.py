"""The variables of the user's namespace: names, types and shapes, without running their code.

A program asks, at any time and from another thread. So no ``repr``, no attribute and no ``len`` of
an object whose class might do anything there: only classes known by identity are inspected.
"""

from __future__ import annotations

import collections
import fnmatch
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

#: The ids of classes whose ``len`` runs no code of the user: a class in a set would be hashed,
#: which its metaclass may define.
_SIZED: Final = frozenset(
    id(cls)
    for cls in (
        *(bytearray, bytes, dict, frozenset, list, range, set, str, tuple),
        *(collections.Counter, collections.OrderedDict, collections.defaultdict),
        collections.deque,
    )
)
#: Classes of libraries whose ``shape`` is known without computing, by module.
_SHAPED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "numpy": ("ndarray",),
        "pandas": ("DataFrame", "Series", "Index", "RangeIndex", "DatetimeIndex", "MultiIndex"),
        "polars": ("DataFrame", "Series"),
        "pyarrow": ("Table", "RecordBatch"),
        "torch": ("Tensor",),
        "xarray": ("DataArray",),
    }
)
#: The most characters of a value, and of a name of a type, and the most variables of an answer.
MAX_VALUE: Final = 80
MAX_VARIABLES: Final = 1000
#: What IPython puts into the namespace, besides what it hides.
_OF_IPYTHON: Final = frozenset({"In", "Out", "exit", "quit", "open", "get_ipython"})

_qualname = type.__dict__["__qualname__"].__get__
_module = type.__dict__["__module__"].__get__


def variables(ip: Any, pattern: str, limit: int) -> dict[str, Any]:
    """Return the variables whose names match a glob pattern, in the order of their names.

    Each is an object with ``name``, ``type``, and if known ``length``, ``shape``, ``dtype`` and
    ``value``; ``total`` is how many match. Any thread.
    """
    # Copies are single operations of the interpreter: cells keep running meanwhile.
    namespace, hidden = ip.user_ns.copy(), ip.user_ns_hidden.copy()
    names = sorted(
        name
        for name, value in namespace.items()
        if type(name) is str
        and not name.startswith("_")
        and name not in _OF_IPYTHON
        and not (name in hidden and hidden[name] is value)
        and fnmatch.fnmatchcase(name, pattern)
    )
    shown = names[: min(limit, MAX_VARIABLES)]
    return {
        "total": len(names),
        "variables": [{"name": name[:200], **facts(namespace[name])} for name in shown],
    }


def facts(value: Any) -> dict[str, Any]:
    """Return what is known of a value without running code of its class."""
    cls = type(value)
    found: dict[str, Any] = {"type": type_name(cls)}
    small = cls is int and -(2**200) < value < 2**200
    if value is None or cls is bool or cls is float or small:
        found["value"] = repr(value)
    elif cls is str:
        found["value"] = repr(value[:MAX_VALUE]) + ("…" if len(value) > MAX_VALUE else "")
    if id(cls) in _SIZED:
        found["length"] = len(value)
    elif _is_shaped(cls):
        try:
            found["shape"] = [int(n) for n in value.shape][:32]
        except Exception:  # while another thread changes it
            return found
        dtype = getattr(value, "dtype", None)
        if dtype is not None:
            found["dtype"] = str(dtype)[:MAX_VALUE]
    return found


def _is_shaped(cls: type) -> bool:
    for module, names in _SHAPED.items():
        loaded = sys.modules.get(module)
        if loaded is not None and any(vars(loaded).get(name) is cls for name in names):
            return True
    return False


def type_name(cls: type) -> str:
    """Return the name of a class with its module, but for builtins; no metaclass is asked."""
    try:
        module, name = _module(cls), _qualname(cls)
    except Exception:
        return "?"
    if type(module) is not str or module == "builtins":
        return str(name)[:MAX_VALUE]
    return f"{module}.{name}"[:MAX_VALUE]
