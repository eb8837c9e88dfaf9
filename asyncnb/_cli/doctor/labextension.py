"""The extension of JupyterLab: whether it is where servers look, and turned on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from jupyter_core.paths import jupyter_config_path, jupyter_path

from asyncnb._cli.doctor.finding import Finding
from asyncnb._cli.doctor.packages import version_of

SECTION: Final = "JupyterLab"
NAME: Final = "asyncnb"
#: The oldest releases that load it.
OLDEST: Final = {"jupyterlab": (4, 2), "notebook": (7, 2)}


def findings() -> Iterator[Finding]:
    """Yield whether the extension is installed, fits and is turned on."""
    for package, oldest in OLDEST.items():
        version = version_of(package)
        if version is not None and _numbers(version) < oldest:
            text = f"{version} is too old for the Tasks panel, which needs {_dotted(oldest)}"
            fix = f"pip install --upgrade '{package}>={_dotted(oldest)}'"
            yield Finding(SECTION, package, text, "note", fix)
    folders = [Path(path, NAME) for path in jupyter_path("labextensions")]
    folder = next((each for each in folders if (each / "package.json").is_file()), None)
    if folder is None:
        yield Finding(
            SECTION,
            "extension",
            "not found where this environment's servers look, so there is no Tasks panel",
            "note",
            "pip install --force-reinstall --no-deps asyncnb, where JupyterLab runs",
        )
        return
    own, found = version_of("asyncnb"), str(_read(folder / "package.json").get("version", "?"))
    if own is not None and _plain(own) != _plain(found):
        text = f"{found}, but asyncnb is {own}: {folder}"
        fix = "pip install --force-reinstall --no-deps asyncnb"
        yield Finding(SECTION, "extension", text, "note", fix)
    else:
        yield Finding(SECTION, "extension", f"{found}, {folder}")
    for file, entry in _disabled():
        yield Finding(
            SECTION,
            "turned off",
            f"{entry} in {file}",
            "problem",
            f"jupyter labextension enable {entry}",
        )


def _disabled() -> Iterator[tuple[Path, str]]:
    """Yield the files that turn the extension, or one of its plugins, off, and the entry."""
    places = [Path(path, "labconfig") for path in jupyter_config_path()]
    places += [Path(path, "lab", "settings") for path in jupyter_path()]
    merged: dict[str, tuple[Path, bool]] = {}
    for folder in reversed(places):  # the first one decides
        file = folder / "page_config.json"
        entries = _read(file).get("disabledExtensions") or {}
        if isinstance(entries, list):
            entries = dict.fromkeys(entries, True)
        if isinstance(entries, dict):
            merged |= {name: (file, bool(off)) for name, off in entries.items()}
    for name, (file, off) in merged.items():
        if off and (name == NAME or str(name).startswith(f"{NAME}:")):
            yield file, name


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _numbers(version: str) -> tuple[int, ...]:
    found = []
    for part in version.split(".")[:2]:
        digits = "".join(char for char in part if char.isdigit())
        found.append(int(digits or 0))
    return tuple(found)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _plain(version: str) -> str:
    """Return a version without what npm and Python write differently: 0.1.0-dev0 is 0.1.0.dev0."""
    return version.replace("-", "").replace(".", "")
