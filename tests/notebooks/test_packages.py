"""Each tutorial finds its packages where it is opened, and says on top which it needs."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import itertools
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def imported(notebook: Path) -> set[str]:
    """Return the modules outside the standard library that the cells of a notebook import."""
    modules = set()
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        source = re.sub(r"\A%%.*\n", "", cell.source)  # the cell below a cell magic is code, too
        for node in ast.walk(ast.parse(TransformerManager().transform_cell(source))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add((node.module or "").partition(".")[0])
    return modules - set(sys.stdlib_module_names) - {"asyncnb"}


def installed_with(requirements: Iterable[str]) -> set[str]:
    """Return the names of all packages that these requirements install, as installed here."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = ["", *requirement.extras]
        marker = requirement.marker
        if name in found or (marker and not any(marker.evaluate({"extra": e}) for e in extras)):
            continue
        found.add(name)
        needed = importlib.metadata.requires(name) or ()
        for line in needed:
            wanted = Requirement(line)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in extras):
                wanted.marker = None
                waiting.append(wanted)
    return found


@functools.cache
def packages_by_module() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()  # reads a file of each package: once


def packages_of(module: str) -> set[str]:
    """Return the packages that have this module."""
    return {canonicalize_name(name) for name in packages_by_module().get(module, ())}


def missing(notebook: Path, available: set[str]) -> set[str]:
    return {module for module in imported(notebook) if not packages_of(module) & available}


OWN = PROJECT["project"]["dependencies"]
BINDER = [
    line
    for line in (ROOT / "binder" / "requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
#: What `make lab` and Binder install besides asyncnb itself.
PLACES = {"binder": BINDER, "lab": PROJECT["dependency-groups"]["lab"]}


@pytest.mark.parametrize("place", PLACES)
def test_all_tutorials_find_their_packages(place: str) -> None:
    available = installed_with([*OWN, *PLACES[place]])
    assert {path.name: lacks for path in TUTORIALS if (lacks := missing(path, available))} == {}


def test_a_package_that_a_place_lacks_is_noticed() -> None:
    with_all = installed_with([*OWN, *BINDER])
    without = installed_with([*OWN, *(line for line in BINDER if line != "distributed")])
    [notebook] = [path for path in TUTORIALS if path.stem.startswith("17")]
    assert missing(notebook, with_all) == set()
    assert missing(notebook, without) == {"distributed"}


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_says_on_top_what_to_install(notebook: Path) -> None:
    cells = nbformat.read(notebook, as_version=4).cells
    above = itertools.takewhile(lambda cell: cell.cell_type == "markdown", cells)
    top = "\n".join(cell.source for cell in above)
    needed = missing(notebook, installed_with(OWN))
    assert needed <= set(re.findall(r"[\w-]+", top))
    for line in re.findall(r"`pip install ([^`]*)`", top):
        assert set(line.split()) == needed
