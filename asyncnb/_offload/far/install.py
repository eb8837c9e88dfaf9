"""Sends the text of the far end to workers that may not have asyncnb installed.

``install`` makes a package of the modules, once in each worker; its name contains a digest of their
text. The kernel has the same package, so a job's function is pickled as a name. The modules use
relative imports, which work in the package as in this folder.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Callable
from pathlib import Path

_HERE = Path(__file__).parent

#: The modules of every far end besides its own one, each after those that it imports.
_COMMON = (
    *("locks", "job_task", "running", "profiling"),
    *("output", "outcomes", "notebook", "remote"),
)

#: The name of a package, and the name and the text of each of its modules.
Package = tuple[str, list[tuple[str, str]]]


@functools.cache
def far_package(glue: str) -> Package:
    """Return the package with the module ``glue`` and everything it imports."""
    names = (*_COMMON, glue)
    modules = [(name, (_HERE / f"{name}.py").read_text(encoding="utf-8")) for name in names]
    digest = hashlib.sha256("".join(text for _, text in modules).encode()).hexdigest()[:12]
    return f"_asyncnb_{glue}_{digest}", modules


def local_module(glue: str) -> types.ModuleType:
    """Return the module ``glue`` of the package, as the workers have it."""
    package, modules = far_package(glue)
    installer()(package, modules)
    return sys.modules[f"{package}.{glue}"]


def installer() -> Callable[..., None]:
    """Return ``install`` as a function that is pickled with its code, not by name."""
    function = types.FunctionType(install.__code__, {"__builtins__": __builtins__}, "install")
    function.__module__ = "__main__"
    return function


def install(package: str, modules: list[tuple[str, str]]) -> None:
    """Make the package from the texts of its modules, unless it exists; needs no globals."""
    import os
    import sys
    from importlib.machinery import ModuleSpec
    from importlib.util import module_from_spec

    # Several threads may run this: a module is complete before it can be found; the first one wins.
    new = module_from_spec(ModuleSpec(package, None, is_package=True))
    parent = sys.modules.setdefault(package, new)
    for name, text in modules:
        full = f"{package}.{name}"
        if full not in sys.modules:
            module = module_from_spec(ModuleSpec(full, None))
            module.__file__ = f"<{package}>{os.sep}{name}.py"
            exec(compile(text, module.__file__, "exec"), module.__dict__)
            setattr(parent, name, sys.modules.setdefault(full, module))
