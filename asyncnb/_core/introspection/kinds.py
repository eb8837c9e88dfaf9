"""What an object is, without running any code of its class.

``isinstance()`` asks an object that is of no such class for its ``__class__``, and ``getattr`` and
``vars`` ask it for any attribute. A proxy answers for what it represents: it may load a page, or
raise because there is no request. So code that looks at unknown objects asks the type.
"""

from __future__ import annotations

import types
from typing import Any

Kinds = type | tuple[type, ...] | types.UnionType


def is_a(thing: object, kinds: Kinds) -> bool:
    """Return whether the type of ``thing`` is one of ``kinds`` or a subclass. Any thread."""
    return issubclass(type(thing), kinds)


def is_future(thing: object) -> bool:
    """Return whether ``thing`` is an asyncio future, as ``asyncio.isfuture``. Any thread."""
    return getattr(type(thing), "_asyncio_future_blocking", None) is not None


def attributes_of(thing: object) -> dict[str, Any]:
    """Return the instance attributes of ``thing``; none if its class answers for them itself."""
    for kind in type(thing).__mro__:
        own = kind.__dict__.get("__dict__")
        if own is not None and type(own) is not types.GetSetDescriptorType:
            return {}
    try:
        found = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}
