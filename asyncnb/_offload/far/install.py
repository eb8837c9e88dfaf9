"""The text of our far end, for workers that may not have asyncnb installed.

A worker gets the modules once, by ``install``, under names that hold a digest of their text, and
the kernel has them under the same names: so a job's function travels as a name.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


@functools.cache
def far_modules(glue: str) -> list[tuple[str, str]]:
    """Return (name, text) of ``remote``, ``notebook`` and the module ``glue``.

    The latter know the first as REMOTE.
    """
    files = ("remote", "notebook", glue)
    texts = [(_HERE / f"{name}.py").read_text(encoding="utf-8") for name in files]
    digest = hashlib.sha256("".join(texts).encode()).hexdigest()[:12]
    name = f"_asyncnb_{glue}_{digest}"
    names = [f"{name}_{file}" for file in files[:-1]]
    return list(zip([*names, name], texts, strict=True))


def here(glue: str) -> types.ModuleType:
    """Return the module ``glue`` as the workers know it."""
    modules = far_modules(glue)
    installer()(modules)
    return sys.modules[modules[-1][0]]


def installer() -> Callable[[list[tuple[str, str]]], None]:
    """Return ``install`` as a function that is pickled with its code, not by its name."""
    function = types.FunctionType(install.__code__, {"__builtins__": __builtins__}, "install")
    function.__module__ = "__main__"
    return function


def install(modules: list[tuple[str, str]]) -> Any:
    """Make the modules from their texts, unless they are there; runs anywhere."""
    import sys
    import types

    remote = modules[0][0]
    for name, text in modules:
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.__file__ = f"<{name}>"
            module.__dict__["REMOTE"] = remote
            # Complete before it can be found: several threads may run this.
            exec(compile(text, module.__file__, "exec"), module.__dict__)
            sys.modules[name] = module
