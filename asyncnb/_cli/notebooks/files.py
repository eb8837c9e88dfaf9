"""Notebooks as files: read with a sentence for what is wrong, and written in one step."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from asyncnb._cli.notebooks.errors import NotebookError


def read(path: Path) -> Any:
    """Return the notebook in ``path``, as version 4; NotebookError if there is none."""
    import nbformat

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotebookError(f"There is no notebook {path}.") from None
    except UnicodeDecodeError:
        raise NotebookError(f"{path} is not a notebook: it is not text in UTF-8.") from None
    except OSError as exc:
        raise NotebookError(f"{path} cannot be read: {exc.strerror or exc}.") from None
    try:
        notebook = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
    except Exception as exc:  # JSON that is no notebook raises whatever it meets
        first = (str(exc) or type(exc).__name__).splitlines()[0]
        raise NotebookError(f"{path} is not a notebook: {first[:200]}") from None
    return notebook


def check_writable(path: Path) -> None:
    """Raise NotebookError if no file can be made beside ``path``, before anything is run."""
    if path.is_dir():
        raise NotebookError(f"{path} is a folder; -o takes the path of a notebook.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as exc:
        raise NotebookError(f"{path} cannot be written: {exc.strerror or exc}.") from None


def write(notebook: Any, path: Path | None) -> None:
    """Write ``notebook`` to ``path``, or to stdout; a reader never sees half of it."""
    import nbformat

    text = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    text = text.removesuffix("\n") + "\n"
    if path is None:
        sys.stdout.write(text)
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _mode(path: Path) -> int:
    """Return the permissions of ``path``, or those that a new file gets."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
