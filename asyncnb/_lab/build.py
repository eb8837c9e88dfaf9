"""Write the prebuilt extension of JupyterLab: `python -m asyncnb._lab.build FOLDER`.

Nothing is compiled: the sources are joined into two ES modules, whose names get a hash of their
text, so that no browser takes an old one from its cache. The same sources give the same bytes. Only
the standard library is imported: the build of the wheel runs this file by its path.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

NAME = "asyncnb"
HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
WIDGETS = HERE.parent / "widgets" / "static"

# Loaded when JupyterLab starts, so it is small. The files share one scope and are joined in this
# order: a class comes before those that extend it.
EXTENSION = [
    WIDGETS / "format.js",
    SOURCES / "modules.js",
    SOURCES / "settings.js",
    SOURCES / "notices.js",
    SOURCES / "channel.js",
    SOURCES / "entry.js",
    SOURCES / "kernels.js",
    SOURCES / "background.js",
    SOURCES / "marks.js",
    SOURCES / "late_outputs.js",
    SOURCES / "loading.js",
    SOURCES / "cells.js",
    SOURCES / "storage.js",
    SOURCES / "side_panel.js",
    SOURCES / "running.js",
    SOURCES / "plugin.js",
]
# Loaded when the panel is first shown: the dashboard's own files, and what is around them.
PANEL = [
    WIDGETS / "format.js",
    WIDGETS / "store.js",
    WIDGETS / "tree.js",
    WIDGETS / "calls.js",
    WIDGETS / "bell.js",
    WIDGETS / "grid.js",
    WIDGETS / "detail.js",
    WIDGETS / "timeline.js",
    WIDGETS / "view.js",
    SOURCES / "storage.js",
    SOURCES / "section.js",
    SOURCES / "panel.js",
]
PARTS = {
    "extension.js": EXTENSION,
    "panel.js": PANEL,
    "style.css": [HERE / "style.css", HERE / "cells.css"],
    "panel.css": [
        WIDGETS / "dashboard.css",
        WIDGETS / "detail.css",
        WIDGETS / "timeline.css",
        HERE / "panel.css",
    ],
}
INSTALL = {
    "packageManager": "python",
    "packageName": NAME,
    "uninstallInstructions": f"Run `pip uninstall {NAME}`. To keep the package and turn off its "
    f"part in JupyterLab: `jupyter labextension disable {NAME}`.",
}


def build(folder: Path, version: str) -> None:
    """Write the extension's folder, replacing what was in it. OSError if it cannot be written."""
    static = {}
    names = {}  # "panel.js" -> "panel.0123456789abcdef.js"
    for part, sources in PARTS.items():
        text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
        names[part] = _hashed(part, text)
        static[names[part]] = text
    glue = (SOURCES / "remoteEntry.js").read_text(encoding="utf-8")
    for part, name in names.items():
        glue = glue.replace(f"@{part}@", name)
    entry = _hashed("remoteEntry.js", glue)
    static[entry] = glue

    shutil.rmtree(folder, ignore_errors=True)
    for name, text in static.items():
        _write(folder / "static" / name, text)
    for schema in sorted((HERE / "schema").glob("*.json")):
        _write(folder / "schemas" / NAME / schema.name, schema.read_text(encoding="utf-8"))
    _write(folder / "package.json", _as_json(_package(version, entry)))
    _write(folder / "install.json", _as_json(INSTALL))


def _package(version: str, entry: str) -> dict[str, Any]:
    text = (HERE / "package.json").read_text(encoding="utf-8")
    package = json.loads(text.replace("remoteEntry.js", entry))
    # npm's form of a version: 0.1.0.dev0 is 0.1.0-dev0 there.
    numbers = version.split(".")
    package["version"] = "-".join([".".join(numbers[:3]), *numbers[3:]])
    return dict(package)


def _hashed(name: str, text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{digest}.{suffix}"


def _as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())  # the same line ends on every platform


def main(arguments: list[str]) -> None:
    """Build into the folder `asyncnb` of the one that is named: a folder of `labextensions`."""
    if len(arguments) != 1:
        sys.exit("usage: python -m asyncnb._lab.build FOLDER   (writes FOLDER/asyncnb)")
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        version = version_of(NAME)
    except PackageNotFoundError:  # a clone that is not installed
        version = "0.0.0"
    build(Path(arguments[0]) / NAME, version)


if __name__ == "__main__":
    main(sys.argv[1:])
