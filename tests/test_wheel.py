"""The extension of JupyterLab is in the wheel, the sdist and an editable install, ready to use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from asyncnb._cli.demo import FILES
from asyncnb._lab import build

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
DATA = f"asyncnb-{VERSION}.data/data/share/jupyter/labextensions/asyncnb/"
SOURCES = sorted((ROOT / "asyncnb" / "_lab").glob("src/*.js"))
#: What lies in a clone and belongs to no copy of it.
GENERATED = shutil.ignore_patterns("__pycache__", ".*")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what the project is built from, so that the build can leave nothing in the clone."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "asyncnb", copy / "asyncnb", ignore=GENERATED)
    for name in FILES:
        target = copy / "notebooks" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "notebooks" / name, target)
    return copy


def built(source: Path, target: str, folder: Path) -> Path:
    """Build as pip does, but with the hatchling that is installed, and return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = folder.iterdir()
    return file


def sources_in(folder: Path) -> list[Path]:
    """List its files, without what Python caches of those that it runs."""
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


def extension_in(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {
            name.removeprefix(DATA): opened.read(name)
            for name in opened.namelist()
            if name.startswith(DATA)
        }


def test_the_wheel_has_the_extension_and_the_sdist_builds_the_same(
    copy: Path, tmp_path: Path
) -> None:
    before = sources_in(copy)
    wheel = built(copy, "wheel", tmp_path / "wheel")
    sdist = built(copy, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    again = built(unpacked, "wheel", tmp_path / "again")
    assert sources_in(copy) == before

    extension = extension_in(wheel)
    assert extension == extension_in(again)
    build.build(tmp_path / "by hand", VERSION)
    by_hand = {
        path.relative_to(tmp_path / "by hand").as_posix(): path.read_bytes()
        for path in (tmp_path / "by hand").rglob("*")
        if path.is_file()
    }
    assert extension == by_hand

    with zipfile.ZipFile(wheel) as opened:
        texts = [opened.read(name) for name in opened.namelist() if name.endswith((".js", ".css"))]
        assert not [name for name in opened.namelist() if name.startswith("asyncnb/_lab/")]
        for name in FILES:  # of `asyncnb demo`
            notebook = (ROOT / "notebooks" / name).read_bytes()
            assert opened.read(f"asyncnb/_cli/demo_files/{name}") == notebook
    for source in SOURCES:
        first_line = source.read_bytes().split(b"\n")[0]
        assert first_line.startswith(b"// "), source
        parts = sum(source in part for part in build.PARTS.values()) or 1  # the glue is in none
        assert sum(text.count(first_line) for text in texts) == parts, source


def test_an_editable_install_has_it_too(copy: Path, tmp_path: Path) -> None:
    program = f"import hatchling.build as b; b.build_editable({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=copy, check=True, timeout=60)
    [wheel] = tmp_path.iterdir()
    assert "package.json" in extension_in(wheel)


def test_all_that_package_json_names_is_there(tmp_path: Path) -> None:
    build.build(tmp_path, "1.2.3.dev4")
    package = json.loads((tmp_path / "package.json").read_text())
    install = json.loads((tmp_path / "install.json").read_text())
    assert (package["name"], package["version"]) == ("asyncnb", "1.2.3-dev4")
    assert (install["packageManager"], install["packageName"]) == ("python", "asyncnb")
    entry = (tmp_path / package["jupyterlab"]["_build"]["load"]).read_text()
    named = set(re.findall(r"[a-z]+\.[0-9a-f]{16}\.(?:js|css)", entry))
    there = {path.name for path in (tmp_path / "static").iterdir()}
    assert len(named) == 4
    assert named | {Path(package["jupyterlab"]["_build"]["load"]).name} == there
    assert "@" not in re.sub(r'"@(jupyterlab|lumino)/', "", entry)  # every place is filled in
    schema = json.loads((tmp_path / "schemas/asyncnb/plugin.json").read_text())
    defaults = {name: each["default"] for name, each in schema["properties"].items()}
    settings = (ROOT / "asyncnb/_lab/src/settings.js").read_text()
    [written] = re.findall(r"const DEFAULTS = \{ (.*) \};", settings)
    assert written == ", ".join(f"{name}: {json.dumps(each)}" for name, each in defaults.items())


def test_a_changed_source_changes_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser keeps a file for good under its name: an old one must not be asked for."""
    build.build(tmp_path, "1.0")
    before = {path.name for path in (tmp_path / "static").iterdir()}
    changed = tmp_path / "style.css"
    changed.write_text("changed")
    monkeypatch.setitem(build.PARTS, "style.css", [changed])
    build.build(tmp_path / "again", "1.0")
    after = {path.name for path in (tmp_path / "again" / "static").iterdir()}
    assert {name.split(".")[0] for name in after - before} == {"style", "remoteEntry"}


def test_every_source_is_in_a_part_is_short_and_loads_nothing_from_outside() -> None:
    joined = {source for part in build.PARTS.values() for source in part}
    assert set(SOURCES) - joined == {build.SOURCES / "remoteEntry.js"}
    for source in joined | set(SOURCES):
        text = source.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 500, source
        outside = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not outside, (source, outside)
        # One scope for the files of a part: an import would be one more request, and its place.
        assert not re.search(r"^import |\bfrom \"", text, re.MULTILINE), source
