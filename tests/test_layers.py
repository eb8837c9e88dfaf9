"""The rules of the layers, read off the imports and checked in fresh interpreters.

`_core` knows the standard library alone; `_kernel`, `_offload` and `widgets` know `_core`; one
file, `_extension.py`, joins them. CONTRIBUTING.md says why. A rule is a function from one file to
sentences, so that it can be tried on a bad file too: a rule that never says no guards nothing.

Not here: that the registry has one writer and that unloading puts everything back. Those are facts
of a running loop and a running kernel, tested in core/ and kernel/.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parsed import PACKAGE, trees

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("_core", "_kernel", "_offload", "_lab", "_client", "_mcp", "_cli", "widgets")

# What a layer may import besides the core.
KNOWS_BESIDES = {"_cli": {"_client", "_mcp"}, "_mcp": {"_client"}}

# Third-party modules that a layer may import, besides the standard library and `asyncnb._core`.
ALLOWED = {
    "_core": {"uvloop", "winloop"},
    "_kernel": {"IPython", "cronsim", "traitlets"},
    "_offload": {"cloudpickle", "dask", "distributed", "ipyparallel"},
    "_lab": {"hatchling"},
    "_client": {"_remote_debugging", "jupyter_core", "zmq"},
    "_mcp": {"anyio", "jupyter_client", "jupyter_core", "mcp", "pydantic"},
    "_cli": {"zmq", "jupyter_client", "jupyter_core", "nbclient", "nbformat", "packaging"},
    "widgets": {"anywidget", "ipywidgets", "traitlets"},
}
# Not before their first use: inside a function, or in a file of that name.
ON_FIRST_USE = {"cronsim", "dask", "distributed", "ipyparallel", "nbclient", "nbformat"}
# The files of `_offload` from the ground up. Each imports only files of earlier rows, for types and
# in functions too, so no ring of files is possible.
OFFLOAD_FLOORS = [
    row.split()
    for row in (
        "__init__ engines/__init__ far/__init__",
        "far/locks far/install far/job_task relay tracebacks",
        "far/running far/output far/notebook",
        "far/outcomes far/profiling",
        "far/remote",
        "far/worker far/line far/dask far/ipyparallel packing",
        "jobs",
        "engines/in_order engines/worker_hub engines/dask_plugins",
        "engines/process engines/executor engines/thread_pool engines/dask engines/ipyparallel",
        "engines/choose engines/own_threads",
        "calls map",
        "cells",
    )
]
# What engines know of the rest of `_offload`.
ENGINES_KNOW = {"jobs", "far", "engines"}

# The floors of a layer, from the ground up, by folder or file. What stands on one imports its own
# floor and lower ones, where type-only imports and imports in functions count as well.
CORE_FLOORS = {
    "_core/__init__.py": 0,
    "_core/base": 0,
    "_core/config.py": 1,
    "_core/frontend.py": 1,
    "_core/svg.py": 1,
    "_core/introspection": 1,
    "_core/pacing": 1,
    "_core/primitives": 2,
    "_core/repeating": 2,
    "_core/deadlocks": 3,
    "_core/events": 3,
    "_core/loop": 3,
    "_core/tracing": 3,
    "_core/launched": 4,
    "_core/listing": 5,
    "_core/mapping": 5,
    "_core/task_graph": 5,
    "_core/timeline": 5,
    "_core/leaks": 5,
    "_core/profiling": 5,
}
CORE_APART = ("_core/loop", "_core/tracing")
KERNEL_FLOORS = {
    "_kernel/__init__.py": 0,
    "_kernel/arguments.py": 0,
    "_kernel/cron.py": 0,
    "_kernel/map_arguments.py": 1,
    "_kernel/current_cell.py": 0,
    "_kernel/front_end.py": 0,
    "_kernel/undo.py": 0,
    "_kernel/variables.py": 0,
    "_kernel/ipykernel": 1,
    "_kernel/tables": 1,
    "_kernel/output": 2,
    "_kernel/awaiting": 3,
    "_kernel/cells": 3,
    "_kernel/magics": 4,
}
# Neighbours on one floor that do not know each other.
KERNEL_APART = ("_kernel/awaiting", "_kernel/cells")

# What ipykernel's objects have: the shell, the kernel, its session, sockets, threads and streams.
# One folder knows these names, and so the versions of ipykernel that have them.
KNOWS_IPYKERNEL = "_kernel/ipykernel"
OF_THE_SHELL = {"kernel", "set_parent", "get_parent", "set_thread_parent", "_parent_header"}
OF_THE_KERNEL = {"shell_handlers", "control_handlers", "comm_manager", "session", "io_loop"}
OF_THE_KERNEL |= {"asyncio_loop", "control_thread", "iopub_socket", "iopub_thread", "raw_input"}
OF_THE_KERNEL |= {"getpass", "shell_channel_thread", "shell_channel_thread_main", "shell_stream"}
OF_THE_KERNEL |= {"control_stream", "pre_handler_hook", "post_handler_hook", "debugger", "_topic"}
OF_THE_KERNEL |= {"_publish_status", "_shell_parent", "_shell_context", "_main_asyncio_lock"}
OF_ITS_STREAMS = {"parent_header", "pub_socket", "pub_thread", "flush_interval", "_schedule_flush"}
OF_ITS_STREAMS |= {"_io_loop", "_flush", "on_recv", "feed_identities", "deserialize"}
MESSAGE_TYPES = {"execute_request", "shutdown_request", "comm_open", "comm_msg", "comm_close"}
IPYKERNEL = OF_THE_SHELL | OF_THE_KERNEL | OF_ITS_STREAMS | MESSAGE_TYPES
# As a text it may be another thing (`--on kernel`) wherever it is no attribute that is asked for.
WORDS = {"kernel", "session", "debugger"}


@dataclass(frozen=True)
class Import:
    module: str  # absolute: "asyncnb._core.loop.embedded", "os.path"
    line: int
    in_function: bool  # runs when called, not at import
    type_only: bool  # under `if TYPE_CHECKING:`, runs never
    names: tuple[str, ...] = ()  # of `from module import names`

    @property
    def paths(self) -> list[str]:
        """What it may reach, below asyncnb/ and without suffix: "_core/loop/embedded"."""
        reached = [f"{self.module}.{name}" for name in self.names] + [self.module]
        return ["/".join(each.split(".")[1:]) for each in reached if self.top == "asyncnb"]

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def layer(self) -> str | None:
        """The layer or the top-level file of asyncnb that it reaches into, if any."""
        parts = self.module.split(".")
        return (parts[1] if len(parts) > 1 else "") if parts[0] == "asyncnb" else None


@dataclass(frozen=True)
class Source:
    path: Path  # relative to the package
    tree: ast.Module

    @property
    def layer(self) -> str | None:
        """Its layer, or None for the files at the top."""
        return self.path.parts[0] if len(self.path.parts) > 1 else None

    def imports(self) -> list[Import]:
        return self._all_imports

    @functools.cached_property
    def _all_imports(self) -> list[Import]:
        return list(self._imports(self.tree, in_function=False, type_only=False))

    def _imports(self, node: ast.AST, in_function: bool, type_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            names = [each.name for each in child.names] if isinstance(child, ast.ImportFrom) else []
            for module in self._modules(child):
                line = getattr(child, "lineno", 0)
                yield Import(module, line, in_function, type_only, tuple(names))
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                for part in child.body:
                    yield from self._imports(wrap(part), in_function, True)
                for part in child.orelse:
                    yield from self._imports(wrap(part), in_function, type_only)
            else:
                yield from self._imports(child, in_function or is_function, type_only)

    def _modules(self, node: ast.AST) -> list[str]:
        """The modules that this statement imports, or none if it is no import."""
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["asyncnb", *self.path.parent.parts]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *filter(None, [node.module])])
            if base == "asyncnb":  # `from . import _core`: what counts is the submodule
                return [f"asyncnb.{alias.name}" for alias in node.names]
            return [base]
        if isinstance(node, ast.Call) and node.args:
            # importlib.import_module("x") and __import__("x") are imports too.
            function = node.func
            name = getattr(function, "attr", getattr(function, "id", ""))
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                return [str(first.value)]
        return []


def wrap(statement: ast.stmt) -> ast.Module:
    return ast.Module(body=[statement], type_ignores=[])


@functools.cache  # with what is read off them
def sources() -> list[Source]:
    return [Source(path.relative_to(PACKAGE), tree) for path, tree in trees().items()]


# The rules. Each takes one file and says what is wrong with it.


def third_party_stays_in_its_layer(source: Source) -> Iterator[str]:
    allowed = ALLOWED.get(source.layer or "", set())
    if source.path.name == "_feed.py":
        allowed = set()  # it must run, and be tested, without any widget
    for found in source.imports():
        if found.top in sys.stdlib_module_names or found.top == "asyncnb" or found.type_only:
            continue
        if source.path == Path("testing.py") and found.in_function:
            continue  # the tools for kernels bring the kernel along when they are called
        if source.path == Path("_extension.py") and found.top == "IPython":
            continue
        if source.path == Path("_offload/far/notebook.py") and found.top in (
            "IPython",
            "traitlets",
        ):
            continue  # it runs at the far end, for what cells do with IPython
        if found.top not in allowed:
            yield f"{source.path}:{found.line} imports {found.module}"


def layers_know_the_core_alone(source: Source) -> Iterator[str]:
    if source.layer is None:
        return
    for found in source.imports():
        known = ("_core", source.layer, *KNOWS_BESIDES.get(source.layer, ()))
        if found.layer is not None and found.layer not in known:
            yield f"{source.path}:{found.line} imports {found.module}, no business of its layer"


def top_files_know_the_core_and_reach_the_rest_through_the_extension(
    source: Source,
) -> Iterator[str]:
    if source.layer is not None or source.path == Path("_extension.py"):
        return
    for found in source.imports():
        if found.layer in (None, "_core") or found.type_only:
            continue
        if (
            source.path == Path("_offloading.py")
            and found.layer == "_offload"
            and found.in_function
        ):
            continue  # plain Python has no extension to load, and may send its work away too
        if source.path == Path("__main__.py") and found.layer == "_cli":
            continue
        if found.layer in LAYERS:
            yield f"{source.path}:{found.line} imports {found.module}: leave that to _extension.py"
        elif found.layer == "_extension" and not found.in_function:
            yield f"{source.path}:{found.line} imports {found.module} before it is needed"


def the_far_end_imports_only_its_own_folder(source: Source) -> Iterator[str]:
    """By `from .x`, as its text runs under another name on machines without asyncnb."""
    if source.path.parent != Path("_offload/far"):
        return
    for node in ast.walk(source.tree):
        for module in source._modules(node):
            if module.partition(".")[0] == "asyncnb" and getattr(node, "level", 0) != 1:
                line = getattr(node, "lineno", 0)
                yield f"{source.path}:{line} imports {module}, which the far end need not have"


def offloading_keeps_its_floors(source: Source) -> Iterator[str]:
    if source.layer != "_offload":
        return
    floors = {name: floor for floor, row in enumerate(OFFLOAD_FLOORS) for name in row}
    own = source.path.relative_to("_offload").with_suffix("").as_posix()
    if own not in floors:
        yield f"{source.path} has no row in OFFLOAD_FLOORS"
        return
    for path, line in files_imported(source, "asyncnb._offload."):
        other = path if path in floors else f"{path}/__init__"
        if other in floors and floors[other] >= floors[own]:
            yield f"{source.path}:{line} imports {path}, which is not below it"
        folder = path.partition("/")[0]
        if own.startswith("engines/") and other in floors and folder not in ENGINES_KNOW:
            yield f"{source.path}:{line} imports {path}: engines know {sorted(ENGINES_KNOW)} alone"


def files_imported(source: Source, package: str) -> Iterator[tuple[str, int]]:
    """Yield each path below ``package`` that is imported, without a suffix, and the line."""
    for node in ast.walk(source.tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        for module in source._modules(node):
            for full in (module, *(f"{module}.{name}" for name in names)):
                if full.startswith(package):
                    path = full.removeprefix(package).replace(".", "/")
                    yield path, getattr(node, "lineno", 0)


def nothing_imports_ipykernel(source: Source) -> Iterator[str]:
    for found in source.imports():
        if found.top == "ipykernel":
            yield f"{source.path}:{found.line} imports {found.module}: ask the object instead"


def one_folder_knows_ipykernel(source: Source) -> Iterator[str]:
    """By what is reached for, whatever the object is called and wherever it came from."""
    if source.path.is_relative_to(KNOWS_IPYKERNEL) or source.layer not in (None, "_kernel"):
        return  # other layers get no object of ipykernel's; dask's have names like these
    for node in ast.walk(source.tree):
        found: object = None
        match node:
            case ast.Attribute(attr=found):
                pass
            case ast.Constant(value=found) if found in WORDS:
                found = None
            case ast.Constant(value=found):
                pass  # getattr(it, "name"), vars(it)["name"], for name in ("name", ...)
            case ast.Call(args=[_, ast.Constant(value=found), *_]) if name_of(node.func) in ATTRS:
                pass
            case ast.Subscript(slice=ast.Constant(value=found)) if "vars" in ast.dump(node.value):
                pass
        if isinstance(found, str) and found in IPYKERNEL:
            line = getattr(node, "lineno", 0)
            yield f"{source.path}:{line} reaches for {found!r}: leave that to {KNOWS_IPYKERNEL}"


ATTRS = {"getattr", "hasattr", "setattr", "delattr", "attrgetter", "set"}


def name_of(function: ast.expr) -> str:
    return str(getattr(function, "attr", getattr(function, "id", "")))


def climbs(source: Source, floors: dict[str, int], apart: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield what ``source`` imports from a higher floor, or from a folder that is kept apart."""
    own = place_on(floors, source.path.as_posix())
    if own is None:
        if source.layer in {name.partition("/")[0] for name in floors}:
            yield f"{source.path} has no floor"
        return
    for found in source.imports():
        for other in {name for path in found.paths if (name := place_on(floors, path))}:
            if floors[other] > floors[own]:
                yield f"{source.path}:{found.line} imports {found.module}, which is above it"
            elif own != other and own in apart and other in apart:
                yield f"{source.path}:{found.line} imports {found.module}; keep them apart"


def place_on(floors: dict[str, int], path: str) -> str | None:
    """Return the folder or the file of the table that ``path`` is, or is in."""
    for name in floors:
        stem = name.removesuffix(".py")
        if path in (name, stem) or path.startswith(f"{stem}/"):
            return name
    return None


def ring(found: list[Source]) -> str | None:
    """Return a ring of files that import each other, as "a.py -> b.py -> a.py"; None if none do."""
    files = {source.path.with_suffix("").as_posix(): source for source in found}
    graph: dict[str, set[str]] = {}
    for name, source in files.items():
        reached = (path for each in source.imports() for path in each.paths)
        graph[name] = {path for path in reached if path in files}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as exc:
        return " -> ".join(f"{files[name].path}" for name in reversed(exc.args[1]))
    return None


def the_core_keeps_its_floors(source: Source) -> Iterator[str]:
    if source.layer == "_core":
        yield from climbs(source, CORE_FLOORS, CORE_APART)


def the_kernel_side_keeps_its_floors(source: Source) -> Iterator[str]:
    if source.layer == "_kernel":
        yield from climbs(source, KERNEL_FLOORS, KERNEL_APART)


def modules_set_their_own_globals(source: Source) -> Iterator[str]:
    """No other module of asyncnb does: by an assignment, or by what sets attributes by name."""
    modules = {
        alias.asname or alias.name
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if is_module(source, node, alias.name)
    }
    for node in ast.walk(source.tree):
        found: ast.expr | None = None
        match node:
            case ast.Attribute(value=found, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Call(args=[found, ast.Constant(value=str()), *_]) if sets(node.func):
                pass
            case ast.Subscript(
                value=ast.Call(args=[found]), ctx=ast.Store() | ast.Del()
            ):  # vars(module)["name"] = ...
                pass
        if isinstance(found, ast.Name) and found.id in modules:
            line = getattr(node, "lineno", 0)
            yield f"{source.path}:{line} sets a global of the module {found.id!r}"


def sets(function: ast.expr) -> bool:
    return name_of(function).strip("_") in ("set", "setattr", "setter", "delattr")


def is_module(source: Source, node: ast.ImportFrom, name: str) -> bool:
    """Return whether ``from node import name`` gives a module of asyncnb, and no name of one."""
    paths = [f"{module}.{name}" for module in source._modules(node)]
    return any(
        path.startswith("asyncnb.") and (ROOT / path.replace(".", "/")).with_suffix(".py").exists()
        for path in paths
    )


def files_are_short(source: Source) -> Iterator[str]:
    lines = max((getattr(node, "end_lineno", 0) for node in source.tree.body), default=0)
    if lines > 500:
        yield f"{source.path} has {lines} lines: which concept is missing in it?"


def heavy_modules_wait_for_their_first_use(source: Source) -> Iterator[str]:
    for found in source.imports():
        if found.type_only or found.in_function:
            continue
        if found.top in ON_FIRST_USE and found.top not in source.path.stem:
            yield f"{source.path}:{found.line} imports {found.module} at once"
        if found.layer in ("_offload", "widgets") and source.layer != found.layer:
            yield f"{source.path}:{found.line} imports {found.module} at once"


def facts_are_frozen(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if not (isinstance(node, ast.ClassDef) and node.name == "TaskInfo"):
            continue
        said = [ast.unparse(part) for part in (*node.decorator_list, *node.bases)]
        if not any("frozen=True" in part or part.endswith("NamedTuple") for part in said):
            yield f"{source.path}:{node.lineno} TaskInfo can be changed by whoever reads it"


RULES = [
    third_party_stays_in_its_layer,
    layers_know_the_core_alone,
    top_files_know_the_core_and_reach_the_rest_through_the_extension,
    the_far_end_imports_only_its_own_folder,
    offloading_keeps_its_floors,
    nothing_imports_ipykernel,
    one_folder_knows_ipykernel,
    the_core_keeps_its_floors,
    the_kernel_side_keeps_its_floors,
    modules_set_their_own_globals,
    files_are_short,
    heavy_modules_wait_for_their_first_use,
    facts_are_frozen,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule):
    found = sources()
    assert found, f"no file under {PACKAGE}"
    assert not [sentence for source in found for sentence in rule(source)]


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (third_party_stays_in_its_layer, "_core/_x.py", "import IPython"),
        (third_party_stays_in_its_layer, "_core/_x.py", "def f():\n    from tornado import ioloop"),
        (third_party_stays_in_its_layer, "_kernel/_x.py", "import anywidget"),
        (third_party_stays_in_its_layer, "_offload/calls.py", "import IPython"),
        (third_party_stays_in_its_layer, "widgets/_feed.py", "import anywidget"),
        (third_party_stays_in_its_layer, "__init__.py", "def f():\n    import anywidget"),
        (third_party_stays_in_its_layer, "testing.py", "import IPython"),
        (layers_know_the_core_alone, "_core/_x.py", "from .._kernel import _output"),
        (layers_know_the_core_alone, "_core/_x.py", "from .. import _kernel"),
        (layers_know_the_core_alone, "_kernel/_x.py", "from ..widgets._feed import Feed"),
        (layers_know_the_core_alone, "_kernel/_x.py", "from .. import _extension"),
        (layers_know_the_core_alone, "widgets/_x.py", "def f():\n    import asyncnb._kernel"),
        (
            layers_know_the_core_alone,
            "_kernel/_x.py",
            "import importlib\nimportlib.import_module('asyncnb.widgets')",
        ),
        (
            top_files_know_the_core_and_reach_the_rest_through_the_extension,
            "__init__.py",
            "def f():\n    from .widgets import dashboard",
        ),
        (
            top_files_know_the_core_and_reach_the_rest_through_the_extension,
            "__init__.py",
            "from ._extension import load",
        ),
        (
            top_files_know_the_core_and_reach_the_rest_through_the_extension,
            "_offloading.py",
            "from asyncnb._offload.calls import offload",
        ),
        *(
            (the_far_end_imports_only_its_own_folder, "_offload/far/x.py", text)
            for text in (
                "import asyncnb",
                "from asyncnb._core.base.locks import fork_safe_lock",
                "def f():\n    from asyncnb._offload.far import remote",
                "if TYPE_CHECKING:\n    from asyncnb._offload.jobs import Job",
                "from ..jobs import Job",
                "import importlib\nimportlib.import_module('asyncnb.testing')",
            )
        ),
        *(
            (offloading_keeps_its_floors, path, text)
            for path, text in (
                ("_offload/jobs.py", "from asyncnb._offload.engines.choose import engine_for"),
                ("_offload/jobs.py", "from asyncnb._offload import calls"),
                ("_offload/jobs.py", "def f():\n    from asyncnb._offload import packing, calls"),
                (
                    "_offload/calls.py",
                    "if TYPE_CHECKING:\n    from asyncnb._offload.map import Stream",
                ),
                ("_offload/engines/process.py", "from asyncnb._offload.packing import dump"),
                ("_offload/far/running.py", "from .remote import run_job"),
                ("_offload/far/running.py", "from . import remote"),
                ("_offload/x.py", ""),
            )
        ),
        (
            nothing_imports_ipykernel,
            "_kernel/output/router.py",
            "from ipykernel.iostream import OutStream",
        ),
        (heavy_modules_wait_for_their_first_use, "_offload/jobs.py", "import distributed"),
        (one_folder_knows_ipykernel, "_kernel/magics/magics.py", "shell.kernel"),
        (one_folder_knows_ipykernel, "_kernel/magics/magics.py", "getattr(shell, 'kernel', None)"),
        (one_folder_knows_ipykernel, "_kernel/magics/magics.py", "vars(shell)['kernel']"),
        (one_folder_knows_ipykernel, "_kernel/output/router.py", "given.iopub_socket"),
        (one_folder_knows_ipykernel, "_kernel/output/router.py", "given['execute_request'] = f"),
        (one_folder_knows_ipykernel, "_kernel/output/router.py", "undo.set(x, 'raw_input', f)"),
        (
            one_folder_knows_ipykernel,
            "_kernel/output/router.py",
            "for name in ('_flush',): f(name)",
        ),
        (one_folder_knows_ipykernel, "_kernel/output/router.py", "sys.stdout.pub_thread"),
        (one_folder_knows_ipykernel, "_kernel/cells/wait.py", "hook.session.send(x)"),
        (one_folder_knows_ipykernel, "_kernel/cells/wait.py", "hasattr(hook, 'session')"),
        (one_folder_knows_ipykernel, "_extension.py", "kernel.shell_stream"),
        (the_core_keeps_its_floors, "_core/base/x.py", "from asyncnb._core.config import config"),
        (
            the_core_keeps_its_floors,
            "_core/base/x.py",
            "if TYPE_CHECKING:\n    from asyncnb._core.introspection.info import TaskInfo",
        ),
        (
            the_core_keeps_its_floors,
            "_core/primitives/x.py",
            "def f():\n    from asyncnb._core.launched import record",
        ),
        (the_core_keeps_its_floors, "_core/loop/x.py", "from asyncnb._core.tracing import trace"),
        (the_core_keeps_its_floors, "_core/launched/x.py", "from ..timeline import data"),
        (the_core_keeps_its_floors, "_core/x.py", ""),
        *(
            (modules_set_their_own_globals, "_kernel/undo.py", f"{imports}\n{text}")
            for imports in (
                "from asyncnb._core import frontend",
                "from asyncnb._core import frontend as it",
                "def f():\n    from .._core import frontend",
            )
            for text in (
                "{}.current = None",
                "{}.current: int = 1",
                "{}.current += 1",
                "del {}.current",
                "setattr({}, 'current', 1)",
                "self.undo.set({}, 'current', 1)",
                "vars({})['current'] = 1",
                "for {}.current in x: pass",
            )
            for text in [text.format("it" if " it" in imports else "frontend")]
        ),
        (files_are_short, "_core/x.py", "x = 1\n" * 501),
        *(
            (the_kernel_side_keeps_its_floors, path, text)
            for path, text in (
                ("_kernel/undo.py", "from asyncnb._kernel.output.router import OutputRouter"),
                ("_kernel/output/x.py", "from asyncnb._kernel.cells import compiled"),
                ("_kernel/output/x.py", "from ..cells.compiled import compile_cell"),
                ("_kernel/tables/x.py", "def f():\n    from asyncnb._kernel.output import router"),
                (
                    "_kernel/ipykernel/x.py",
                    "if TYPE_CHECKING:\n    from asyncnb._kernel.output.router import OutputRouter",
                ),
                ("_kernel/awaiting/x.py", "from asyncnb._kernel.cells.wait import wait"),
                ("_kernel/cells/x.py", "from asyncnb._kernel.awaiting import autoawait"),
                ("_kernel/cells/x.py", "import asyncnb._kernel.magics.verbs"),
                ("_kernel/x.py", ""),
                ("_kernel/more/x.py", ""),
            )
        ),
        (heavy_modules_wait_for_their_first_use, "_extension.py", "from .widgets import _chip"),
        (facts_are_frozen, "_core/introspection/info.py", "@dataclass\nclass TaskInfo: ..."),
    ],
)
def test_rule_says_no(rule, path, text):
    assert list(rule(Source(Path(path), ast.parse(text))))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("_core/base/_x.py", "import asyncio, os.path\nfrom . import _y\nfrom ._y import z"),
        ("_core/base/_x.py", "try:\n    import uvloop\nexcept ImportError:\n    pass"),
        ("_offload/calls.py", "def f():\n    import distributed"),
        ("_offload/calls.py", "from asyncnb._offload import jobs"),
        ("_offload/engines/dask.py", "from asyncnb._offload.far.install import installer"),
        ("_offload/far/remote.py", "import os\nfrom . import running\nfrom .output import Stream"),
        ("_offload/engines/ipyparallel.py", "import ipyparallel"),
        ("_kernel/undo.py", "from IPython.core.error import UsageError\nfrom .._core import _x"),
        ("widgets/_x.py", "import anywidget, traitlets\nfrom ._feed import Feed"),
        ("__init__.py", "from ._core._loop import launch\ndef f():\n    from . import _extension"),
        ("_offloading.py", "def f():\n    from asyncnb._offload.calls import offload"),
        ("__init__.py", "if TYPE_CHECKING:\n    from .widgets import Dashboard"),
        ("_extension.py", "def f():\n    from .widgets import _chip"),
        ("_core/launched/x.py", "from asyncnb._core.loop import current\nfrom . import record"),
        ("_core/loop/x.py", "from asyncnb._core import frontend\nfrontend.current.cell_of('x')"),
        ("_core/loop/x.py", "from asyncnb._core.config import config\nconfig.record_all = True"),
        ("_kernel/ipykernel/x.py", "shell.kernel.session.send"),
        ("_kernel/cells/x.py", "kind = 'kernel' if args.on == 'session' else kernel_of(ip)"),
        ("_kernel/cells/x.py", "from asyncnb._kernel.output.router import OutputRouter"),
        ("_kernel/magics/x.py", "from asyncnb._kernel import undo\nfrom . import verbs"),
        ("_core/introspection/info.py", "@dataclass(frozen=True, slots=True)\nclass TaskInfo: ..."),
    ],
)
def test_rules_say_yes(path, text):
    source = Source(Path(path), ast.parse(text))
    assert not [sentence for rule in RULES for sentence in rule(source)]


# Rings: a rule of all files together.


def test_no_files_import_each_other_in_a_ring():
    assert ring(sources()) is None


@pytest.mark.parametrize(
    ("importing", "rings"),
    [
        ("from asyncnb._core.b import f", True),
        ("from asyncnb._core import b", True),
        ("from . import b", True),
        ("import asyncnb._core.b", True),
        ("def f():\n    from .b import f", True),
        ("if TYPE_CHECKING:\n    from .b import f", True),
        ("import b", False),
    ],
)
def test_a_ring_of_files_is_found(importing, rings):
    texts = {"a": importing, "b": "from asyncnb._core.c import f", "c": "from . import a"}
    files = [Source(Path(f"_core/{name}.py"), ast.parse(text)) for name, text in texts.items()]
    found = ring(files)
    assert (found is not None) is rings
    if found:
        assert "_core/a.py -> _core/b.py" in found and "_core/b.py -> _core/c.py" in found


def test_no_folder_is_a_heap():
    folders: dict[Path, int] = {}
    for path in PACKAGE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            folders[path.parent] = folders.get(path.parent, 0) + 1
    assert {str(folder): files for folder, files in folders.items() if files > 20} == {}


# What static reading cannot know: fresh interpreters.

BARE = """
class NotInstalled:
    absent = {"IPython", "anywidget", "dask", "distributed", "ipykernel", "ipyparallel",
              "ipywidgets", "traitlets", "tornado", "zmq"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import sys
sys.meta_path.insert(0, NotInstalled())
"""


def python(code: str, *options: str) -> str:
    """Run code in a fresh interpreter that finds this asyncnb; return what it printed."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-I", *options, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        # Which loop is wanted is not the question here, and uvloop is out of reach under -S.
        env={name: value for name, value in os.environ.items() if name != "ASYNCNB_LOOP"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -S: without the installed packages, so also without uvloop; and with them, some blocked.
@pytest.mark.parametrize("options", [["-S"], []], ids=["standard library alone", "with uvloop"])
def test_import_works_without_ipython(options):
    assert python(BARE + "import asyncnb; print(asyncnb.__name__)", *options) == "asyncnb\n"


@pytest.mark.parametrize("options", [["-S"], []], ids=["standard library alone", "with uvloop"])
def test_every_core_module_works_without_ipython(options):
    paths = (path.relative_to(ROOT).with_suffix("") for path in PACKAGE.glob("_core/**/[_a-z]*.py"))
    names = sorted(".".join(path.parts) for path in paths if path.name != "__init__")
    python(BARE + f"import importlib\nfor name in {names}: importlib.import_module(name)", *options)


def loaded(code: str, *names: str) -> list[str]:
    """Those of the modules `names` that are loaded after the code."""
    printed = python(code + f"\nprint('loaded', *[n for n in {names} if n in sys.modules])")
    return printed.splitlines()[-1].split()[1:]


def test_import_loads_no_notebook_machinery():
    names = ["IPython", "ipykernel", "traitlets", "ipywidgets", "anywidget"]
    assert not loaded("import asyncnb", *names, "dask", "distributed", "ipyparallel")


LOOP = (
    "uvloop",
    "asyncnb._core.loop.embedded",
    "asyncnb._core.launched",
    "asyncnb._core.primitives",
)


def test_import_loads_what_a_first_name_needs_when_that_is_used():
    assert not loaded("import asyncnb", *LOOP)
    assert loaded("import asyncnb; asyncnb.sleep", *LOOP) == ["asyncnb._core.primitives"]


def test_load_ext_does_not_wait_for_the_modules_of_the_loop_and_of_tasks(tmp_path):
    code = f"""
    import os
    os.environ["IPYTHONDIR"] = {str(tmp_path)!r}
    from IPython.core.interactiveshell import InteractiveShell
    from asyncnb._core.loop import current
    current._EARLY_SECONDS = 60  # the other thread imports them after that
    shell = InteractiveShell.instance()
    assert shell.run_cell("%load_ext asyncnb").success
    """
    assert not loaded(textwrap.dedent(code), *LOOP, "asyncnb._kernel.cells.background")


@pytest.mark.skipif(not (PACKAGE / "_extension.py").exists(), reason="nothing to load yet")
def test_load_ext_loads_no_widgets_and_no_clusters(tmp_path):
    code = f"""
    import os
    os.environ["IPYTHONDIR"] = {str(tmp_path)!r}
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance()
    result = shell.run_cell("%load_ext asyncnb")
    assert result.success, result.error_in_exec
    assert "asyncnb" in shell.extension_manager.loaded
    """
    assert not loaded(
        textwrap.dedent(code), "ipywidgets", "anywidget", "dask", "distributed", "ipyparallel"
    )
