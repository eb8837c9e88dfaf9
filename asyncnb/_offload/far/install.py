"""The text of our far end, for workers that may not have asyncnb installed.

A worker gets the modules once, by ``install``, as a package whose name holds a digest of their
text, and the kernel has the same package: so a job's function travels as a name. Within it, as in
this folder, the modules know each other by relative imports.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Callable
from pathlib import Path

_HERE = Path(__file__).parent

#: What each far end is made of besides its own module, each after those that it imports.
_COMMON = ("locks", "running", "output", "outcomes", "notebook", "remote")

#: The name of a package, and the name and the text of each of its modules.
Package = tuple[str, list[tuple[str, str]]]


@functools.cache
def far_package(glue: str) -> Package:
    """Return the package of the module ``glue`` and all that it imports."""
    names = (*_COMMON, glue)
    modules = [(name, (_HERE / f"{name}.py").read_text(encoding="utf-8")) for name in names]
    digest = hashlib.sha256("".join(text for _, text in modules).encode()).hexdigest()[:12]
    return f"_asyncnb_{glue}_{digest}", modules


def local_module(glue: str) -> types.ModuleType:
    """Return the module ``glue`` as the workers know it."""
    package, modules = far_package(glue)
    installer()(package, modules)
    return sys.modules[f"{package}.{glue}"]


def installer() -> Callable[..., None]:
    """Return ``install`` as a function that is pickled with its code, not by its name."""
    function = types.FunctionType(install.__code__, {"__builtins__": __builtins__}, "install")
    function.__module__ = "__main__"
    return function


def install(package: str, modules: list[tuple[str, str]]) -> None:
    """Make the package from the texts of its modules, unless it is there; runs anywhere."""
    import os
    import sys
    from importlib.machinery import ModuleSpec
    from importlib.util import module_from_spec

    # Several threads may run this: a module is complete before it can be found, and the first wins.
    new = module_from_spec(ModuleSpec(package, None, is_package=True))
    parent = sys.modules.setdefault(package, new)
    for name, text in modules:
        full = f"{package}.{name}"
        if full not in sys.modules:
            module = module_from_spec(ModuleSpec(full, None))
            module.__file__ = f"<{package}>{os.sep}{name}.py"
            exec(compile(text, module.__file__, "exec"), module.__dict__)
            setattr(parent, name, sys.modules.setdefault(full, module))
