"""Which private names of other packages asyncnb reads, found in its code.

A name with one leading underscore is asyncnb's own if the class that says ``self`` has it, or else
if the same file, or a file of asyncnb that it imports, defines it. All others belong to Python or
to another package, and ``tests/leans.py`` has a row for each.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.parsed import PACKAGE, trees

#: Documented in spite of the underscore: of namedtuple, of os, and what IPython asks objects for.
DOCUMENTED = {"_asdict", "_exit", "_fields", "_replace", "_repr_html_", "_repr_mimebundle_"}
DOCUMENTED |= {"_render_traceback_"}

#: Attributes that asyncnb sets on objects of others begin so.
OURS = "_asyncnb"

#: What asyncnb's own objects have, read in files that do not import their class.
REACHED = {
    "_aborting",
    "_delegate",
    "_eager",
    "_inner",
    "_launched",
    "_pause",
    "_record",
    "_timeout",
}
REACHED |= {"_outer", "_state", "_trace", "_waiting"}
#: Called with a name as their second argument, or as any: such a name is an attribute.
TAKES_NAMES = {"getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller"}


class Use(NamedTuple):
    name: str
    file: str  # below asyncnb/, as in "_core/loop/embedded.py"
    line: int


def is_private(name: str) -> bool:
    return name[0:1] == "_" != name[1:2] and len(name) > 1 and name.isidentifier()


def is_known(name: str) -> bool:
    return name in DOCUMENTED or name.startswith(OURS)


class Source:
    """One file: the names that it defines, and the private ones that it reads."""

    def __init__(self, path: Path, root: Path) -> None:
        self.file = path.relative_to(root).as_posix()
        self.tree = trees().get(path) or ast.parse(path.read_text(encoding="utf-8"))

    @functools.cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    @functools.cached_property
    def defined(self) -> set[str]:
        """What the file gives its module and its classes."""
        names = {name for each in self.classes for name in own_names(each)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asyncnb"):
                names |= {alias.asname or alias.name for alias in node.names}
        return names

    @functools.cached_property
    def imports(self) -> set[str]:
        """The files of asyncnb that it imports, as ``_core/loop/embedded.py``."""
        found = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asyncnb"):
                folder = "/".join((node.module or "").split(".")[1:])
                found.add(f"{folder}.py")
                found |= {f"{folder}/{alias.name}.py" for alias in node.names}
        return found


@functools.cache
def own_names(cls: ast.ClassDef) -> set[str]:
    """Return the attributes that ``cls`` gives its instances itself."""
    names, slots = set(), None
    for node in cls.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=value):
                slots = {n.value for n in ast.walk(value) if isinstance(n, ast.Constant)}
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    for node in cls.body:
        match node:
            # With slots, a bare annotation is for an attribute of a base.
            case ast.AnnAssign(target=ast.Name(id=name)) if node.value or slots is None:
                names.add(name)
    if slots is not None:
        return names | {str(name) for name in slots}
    for inner in ast.walk(cls):
        match inner:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=attr, ctx=ast.Store()):
                names.add(attr)
    return names


@functools.cache
def sources(root: Path = PACKAGE) -> list[Source]:
    return [Source(path, root) for path in sorted(root.rglob("*.py"))]


def private_uses(files: list[Source]) -> Iterator[Use]:
    """Yield each private name that is not asyncnb's own."""
    by_file = {source.file: source for source in files}
    by_class: dict[str, list[ast.ClassDef]] = {}
    for source in files:
        for cls in source.classes:
            by_class.setdefault(cls.name, []).append(cls)
    modules = {Path(part).stem for source in files for part in Path(source.file).parts}

    def inherited(cls: ast.ClassDef) -> set[str]:
        names, todo, seen = set(), [cls], set()
        while todo:
            each = todo.pop()
            if each not in seen:
                seen.add(each)
                names |= own_names(each)
                for base in each.bases:
                    name = ast.unparse(base).split("[")[0].rpartition(".")[2]
                    todo += by_class.get(name, [])
        return names

    for source in files:
        near = set(source.defined)
        for other in source.imports & set(by_file):
            near |= by_file[other].defined

        def walk(
            node: ast.AST, cls: ast.ClassDef | None, source: Source = source, near: set[str] = near
        ) -> Iterator[Use]:
            for child in ast.iter_child_nodes(node):
                found = None
                match child:
                    case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=attr) if cls:
                        found = None if attr in inherited(cls) else attr
                    case ast.Attribute(attr=attr):
                        found = None if attr in near else attr
                    case ast.Constant(value=str(text)) if not text.endswith("_"):
                        attribute = isinstance(node, ast.Call) and (
                            ast.unparse(node.func).rpartition(".")[2] in TAKES_NAMES
                        )
                        known = near if attribute else near | modules
                        found = None if text in known else text
                    case ast.ImportFrom(module=module, names=aliases) if module:
                        if not module.startswith("asyncnb"):
                            for alias in aliases:
                                if is_private(alias.name):
                                    yield Use(alias.name, source.file, child.lineno)
                                elif is_private(module.split(".")[0]):
                                    yield Use(module, source.file, child.lineno)
                if found is not None and is_private(found) and not is_known(found):
                    yield Use(found, source.file, getattr(child, "lineno", 0))
                inside = child if isinstance(child, ast.ClassDef) else cls
                yield from walk(child, inside)

        yield from walk(source.tree, None)
