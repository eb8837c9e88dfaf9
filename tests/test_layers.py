"""The rules of the layers, read off the imports and checked in fresh interpreters.

`_core` knows the standard library alone; `_kernel`, `_offload` and `widgets` know `_core`; one
file, `_extension.py`, joins them. CONTRIBUTING.md says why. A rule is a function from one file to
sentences, so that it can be tried on a bad file too: a rule that never says no guards nothing.

Not here: that the registry has one writer and that unloading puts everything back. Those are facts
of a running loop and a running kernel, tested in core/ and kernel/.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "asyncnb"
LAYERS = ("_core", "_kernel", "_offload", "widgets")

# Third-party modules that a layer may import, besides the standard library and `asyncnb._core`.
ALLOWED = {
    "_core": {"uvloop", "winloop"},
    "_kernel": {"IPython", "traitlets"},
    "_offload": {"cloudpickle", "dask", "distributed", "ipyparallel"},
    "widgets": {"anywidget", "ipywidgets", "traitlets"},
}
# Not before their first use: inside a function, or in a file of that name.
ON_FIRST_USE = {"dask", "distributed", "ipyparallel"}
# The kernel is reached through the shell, `shell.kernel`, and by what it can do; only in these.
MAY_TOUCH_THE_KERNEL = {"router.py", "autoawait.py", "comm_channel.py"}


@dataclass(frozen=True)
class Import:
    module: str  # absolute: "asyncnb._core.loop.embedded", "os.path"
    line: int
    in_function: bool  # runs when called, not at import
    type_only: bool  # under `if TYPE_CHECKING:`, runs never

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

    def imports(self) -> Iterator[Import]:
        yield from self._imports(self.tree, in_function=False, type_only=False)

    def _imports(self, node: ast.AST, in_function: bool, type_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            for module in self._modules(child):
                yield Import(module, getattr(child, "lineno", 0), in_function, type_only)
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


def sources() -> list[Source]:
    return [
        Source(path.relative_to(PACKAGE), ast.parse(path.read_text(encoding="utf-8"), str(path)))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


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
        if source.path == Path("_offload/_notebook.py") and found.top in ("IPython", "traitlets"):
            continue  # it runs at the far end, for what cells do with IPython
        if found.top not in allowed:
            yield f"{source.path}:{found.line} imports {found.module}"


def layers_know_the_core_alone(source: Source) -> Iterator[str]:
    if source.layer is None:
        return
    for found in source.imports():
        if found.layer is not None and found.layer not in ("_core", source.layer):
            yield f"{source.path}:{found.line} imports {found.module}, no business of its layer"


def top_files_know_the_core_and_reach_the_rest_through_the_extension(
    source: Source,
) -> Iterator[str]:
    if source.layer is not None or source.path == Path("_extension.py"):
        return
    for found in source.imports():
        if found.layer in (None, "_core") or found.type_only:
            continue
        if source.path == Path("_elsewhere.py") and found.layer == "_offload" and found.in_function:
            continue  # plain Python has no extension to load, and may send its work away too
        if found.layer in LAYERS:
            yield f"{source.path}:{found.line} imports {found.module}: leave that to _extension.py"
        elif found.layer == "_extension" and not found.in_function:
            yield f"{source.path}:{found.line} imports {found.module} before it is needed"


def nothing_imports_ipykernel(source: Source) -> Iterator[str]:
    for found in source.imports():
        if found.top == "ipykernel":
            yield f"{source.path}:{found.line} imports {found.module}: ask the object instead"


def few_files_touch_the_kernel(source: Source) -> Iterator[str]:
    if source.layer != "_kernel" or source.path.name in MAY_TOUCH_THE_KERNEL:
        return
    for node in ast.walk(source.tree):
        by_name = (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr")
            and len(node.args) > 1
            and isinstance(node.args[1], ast.Constant)
            and node.args[1].value == "kernel"
        )
        if by_name or (isinstance(node, ast.Attribute) and node.attr == "kernel"):
            yield f"{source.path}:{node.lineno} touches the kernel"  # type: ignore[attr-defined]


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
    nothing_imports_ipykernel,
    few_files_touch_the_kernel,
    heavy_modules_wait_for_their_first_use,
    facts_are_frozen,
]


# Folders whose files import each other in one direction only; the others follow.
WITHOUT_RINGS = ("_core/timeline", "_kernel/tables", "_kernel/magics", "widgets")


def module_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(("asyncnb", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def rings(found: list[Source]) -> list[list[str]]:
    """Return the sets of modules that import each other, directly or through others.

    Imports in functions and for types alone count: who reads one file of a ring reads them all.
    """
    modules = {module_of(source.path) for source in found}
    after: dict[str, set[str]] = {}
    for source in found:
        names = {each.module for each in source.imports()}
        for node in ast.walk(source.tree):  # `from package import module`
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        after[module_of(source.path)] = (names & modules) - {module_of(source.path)}

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(after[start])
        while todo:
            if (module := todo.pop()) not in seen:
                seen.add(module)
                todo += after[module]
        return seen

    reach = {module: reached(module) for module in after}
    found_rings = {
        tuple(sorted(other for other in reach[module] if module in reach[other]))
        for module in after
        if module in reach[module]
    }
    return [list(ring) for ring in sorted(found_rings)]


@pytest.mark.parametrize("folder", WITHOUT_RINGS)
def test_no_files_of_a_folder_import_each_other_in_a_ring(folder):
    prefix = f"asyncnb.{folder.replace('/', '.')}."
    found = rings(sources())
    assert not [ring for ring in found if any(each.startswith(prefix) for each in ring)]


def test_a_ring_is_found_through_functions_and_types():
    texts = {
        "_core/a.py": "def f():\n    from asyncnb._core import b",
        "_core/b.py": "if TYPE_CHECKING:\n    from asyncnb._core.c import x",
        "_core/c.py": "from asyncnb._core.a import y",
        "_core/d.py": "from asyncnb._core.a import y",
    }
    found = rings([Source(Path(path), ast.parse(text)) for path, text in texts.items()])
    assert found == [["asyncnb._core.a", "asyncnb._core.b", "asyncnb._core.c"]]


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
        (third_party_stays_in_its_layer, "_offload/_x.py", "import IPython"),
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
            "_elsewhere.py",
            "from asyncnb._offload._calls import offload",
        ),
        (
            nothing_imports_ipykernel,
            "_kernel/output/router.py",
            "from ipykernel.iostream import OutStream",
        ),
        (few_files_touch_the_kernel, "_kernel/magics/magics.py", "shell.kernel.io_loop"),
        (few_files_touch_the_kernel, "_kernel/magics/magics.py", "getattr(shell, 'kernel', None)"),
        (heavy_modules_wait_for_their_first_use, "_offload/_pool.py", "import distributed"),
        (heavy_modules_wait_for_their_first_use, "_extension.py", "from .widgets import _chip"),
        (facts_are_frozen, "_core/introspection/info.py", "@dataclass\nclass TaskInfo: ..."),
    ],
)
def test_rule_says_no(rule, path, text):
    assert list(rule(Source(Path(path), ast.parse(text))))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("_core/_x.py", "import asyncio, os.path\nfrom . import _y\nfrom ._y import z"),
        ("_core/_x.py", "try:\n    import uvloop\nexcept ImportError:\n    pass"),
        ("_kernel/_x.py", "from IPython.core.error import UsageError\nfrom .._core import _loop"),
        ("_offload/_x.py", "def f():\n    import distributed"),
        ("_offload/_ipyparallel.py", "import ipyparallel"),
        ("widgets/_x.py", "import anywidget, traitlets\nfrom ._feed import Feed"),
        ("__init__.py", "from ._core._loop import launch\ndef f():\n    from . import _extension"),
        ("_elsewhere.py", "def f():\n    from asyncnb._offload._calls import offload"),
        ("__init__.py", "if TYPE_CHECKING:\n    from .widgets import Dashboard"),
        ("_extension.py", "def f():\n    from .widgets import _chip"),
        ("_core/introspection/info.py", "@dataclass(frozen=True, slots=True)\nclass TaskInfo: ..."),
    ],
)
def test_rules_say_yes(path, text):
    source = Source(Path(path), ast.parse(text))
    assert not [sentence for rule in RULES for sentence in rule(source)]


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
