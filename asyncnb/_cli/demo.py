"""``asyncnb demo``: the quick start, in JupyterLab, as a copy to try things in."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from asyncnb._client.errors import ClientError
from asyncnb._core.base.text import escape_control_chars

#: What is copied, the notebook to open first, then its pictures.
FILES: Final = (
    "01_quickstart.ipynb",
    "reference/images/quickstart-busy.png",
    "reference/images/quickstart-dashboard.png",
)
#: In the wheel, and in a clone of the repository (an editable install).
PLACES: Final = (
    Path(__file__).with_name("demo_files"),
    Path(__file__).parents[2] / "notebooks",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``asyncnb demo``."""
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("asyncnb-demo"),
        help="where to copy the notebook to; the default is asyncnb-demo in the current folder",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument(
        "options", nargs="*", metavar="OPTION", help="options of `jupyter lab`, after --"
    )


def run(arguments: argparse.Namespace) -> int:
    """Copy the notebook, and run JupyterLab until it ends; return 0, or 1 if it failed."""
    folder: Path = arguments.folder
    kept = [name for name in FILES if not _copied(name, folder)]
    lab = find_spec("jupyterlab") is not None
    # By these options rather than by its path, so that the printed addresses lead to it, too.
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}"]
    command += [f"--LabApp.default_url=/lab/tree/{FILES[0]}"]
    command += ["--no-browser"] * arguments.no_browser + arguments.options
    if arguments.json and lab:
        told = {"folder": str(folder.resolve()), "kept": kept, "command": command}
        print(json.dumps(told), flush=True)
    elif not arguments.json:
        what = "is there already, with changes, and was kept" if FILES[0] in kept else "is there"
        _say(f"{folder / FILES[0]} {what}.")
    if not lab:
        raise ClientError(
            f"JupyterLab is not installed here. Install it: {_pip('jupyterlab')}\n"
            f"Or open {folder / FILES[0]} in another front end."
        )
    return 1 if _run(command) else 0


def _run(command: list[str]) -> int:
    """Run a program to its end; Ctrl-C and SIGTERM are for the program."""
    process = subprocess.Popen(command, stdout=sys.stderr)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                pass  # the terminal has sent it to JupyterLab as well, which asks what to do
    finally:
        signal.signal(signal.SIGTERM, before)


def _copied(name: str, folder: Path) -> bool:
    """Copy a file into ``folder``; return False if another one with this name is there."""
    source = next((found for place in PLACES if (found := place / name).is_file()), None)
    if source is None:
        raise ClientError(f"{name} is missing in this installation of asyncnb.")
    target = folder / name
    content = source.read_bytes()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(target, "xb") as file:
                file.write(content)
        except FileExistsError:
            return target.read_bytes() == content
    except OSError as exc:
        raise ClientError(
            f"{target} cannot be written: {exc.strerror or exc}. Choose another --folder."
        ) from None
    return True


def _pip(*packages: str) -> str:
    return f"{sys.executable} -m pip install {' '.join(packages)}"


def _say(sentence: str) -> None:
    print(f"asyncnb demo: {escape_control_chars(sentence)}", file=sys.stderr, flush=True)
