"""What is built from the repository: the site, the wheel, the environment of binder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from asyncnb._cli import demo

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


def run(*command: str | Path, **kwargs: object) -> str:
    """Run a program and return what it printed; fail with that if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **{"cwd": ROOT, "timeout": 600, **kwargs},  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(400)  # most of a minute on an idle machine
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    config = ROOT / ".docs" / "mkdocs.yml"
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    run(sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", tmp_path, env=env)
    for page in ("index.html", "05_task_groups.html", "reference/how_to.html", "changelog.html"):
        assert (tmp_path / page).is_file()
    assert "Open the task group" in (tmp_path / "reference" / "api.html").read_text()
    assert not dead_links(tmp_path)


class Page(HTMLParser):
    """What a page of the site leads to, and what in it can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("id", "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src") and value:
                self.links.append(value)


def dead_links(site: Path) -> list[str]:
    """The links between pages of a built site whose file or anchor is not there."""
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            here = target.exists() and (
                target not in pages or unquote(parts.fragment) in pages[target].anchors
            )
            if not here:
                dead.append(f"{path.relative_to(site)}: {link}")
    return dead


def test_a_dead_link_of_the_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text("<h1 id='there'>B</h1>")
    links = ("b.html", "b.html#there", "b.html#nowhere", "c.html", "#gone", "https://x.org/y")
    (tmp_path / "a.html").write_text("".join(f"<a href='{link}'>x</a>" for link in links))
    assert dead_links(tmp_path) == [
        f"a.html: {link}" for link in ("b.html#nowhere", "c.html", "#gone")
    ]


@pytest.mark.slow
def test_every_public_name_is_typed_for_users_of_pyright(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    command = ["-m", "pyright", "--pythonpath", sys.executable, "--verifytypes", "asyncnb"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = run(sys.executable, *command, "--ignoreexternal", cwd=tmp_path, env=env)
    assert "Type completeness score: 100%" in said


def built_wheel(folder: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    [wheel] = folder.glob("*.whl")
    return wheel


def new_environment(folder: Path) -> Path:
    """Make an empty environment and return its Python."""
    run(sys.executable, "-m", "venv", folder)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def install(python: Path, *what: str | Path) -> None:
    run(python, "-m", "pip", "install", "-q", "--no-compile", *what)


def run_in(python: Path, notebook: Path, folder: Path) -> None:
    """Run a tutorial with the packages of another environment, away from the source."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ASYNCNB"))}
    env |= {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_DATA_DIR": str(folder / "data")}
    command = ["-m", "nbconvert", "--to", "notebook", "--execute", "--stdout"]
    shown = run(python, *command, notebook, cwd=folder, env=env)
    assert "prime number 3000 is 27449" in shown


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_alone_runs_the_first_tutorial(tmp_path: Path) -> None:
    wheel = built_wheel(tmp_path / "wheel")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"asyncnb/__init__.py", "asyncnb/py.typed", "asyncnb/_core/primitives/tasks.py"} <= names
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "asyncnb").rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "_lab" not in path.parts
    }
    source |= {f"asyncnb/_cli/demo_files/{name}" for name in demo.FILES}
    # Besides the extension of JupyterLab, of which tests/test_wheel.py is.
    own = (".data/data/", ".dist-info/")
    assert {n for n in names if not any(part in n for part in own)} == source

    python = new_environment(tmp_path / "env")
    install(python, wheel, "nbconvert", "twine")
    assert "PASSED" in run(python, "-m", "twine", "check", "--strict", wheel)
    run_in(python, NOTEBOOKS / "01_quickstart.ipynb", tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name == "nt", reason="binder's machines run Linux, and postBuild is bash")
def test_what_binder_installs_runs_the_tutorials(tmp_path: Path) -> None:
    python = new_environment(tmp_path / "env")
    install(python, "-r", ROOT / "binder" / "requirements.txt")
    env = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    env.pop("PYTHONPATH", None)
    run("bash", ROOT / "binder" / "postBuild", env=env)
    run_in(python, NOTEBOOKS / "01_quickstart.ipynb", tmp_path)
    # Of the others, test_packages.py compares what they import with what is installed, which is
    # quick. `make notebooks` runs them here.
    if os.environ.get("ASYNCNB_EVERY_NOTEBOOK"):
        others = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))[1:]
        env = {k: v for k, v in env.items() if not k.startswith(("PYTHON", "ASYNCNB"))}
        env |= {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_DATA_DIR": str(tmp_path / "data")}
        command = ["-m", "nbconvert", "--to", "notebook", "--execute", "--output-dir", tmp_path]
        run(python, *command, *others, cwd=tmp_path, env=env)
