"""Run a notebook in a real kernel and print what each of its cells shows: `make demo`.

Exit status 1 when a cell fails, or when the whole notebook shows nothing.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

# This environment's kernel, not one of the same name in the user's folder.
os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SECONDS_PER_CELL = 120


def text_of(output: nbformat.NotebookNode) -> str:
    """What a reader of a terminal can see of one output, or an empty string."""
    if output.output_type == "stream":
        text = output.text
    elif output.output_type == "error":
        text = "\n".join(output.traceback)
    else:
        text = output.data.get("text/plain", "")
    return ANSI.sub("", "".join(text)).rstrip("\n")


def show(notebook: nbformat.NotebookNode) -> int:
    """Print the cells that ran, each with its outputs; return how many outputs had a text."""
    shown = 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or cell.get("execution_count") is None:
            continue
        print(f"In [{cell.execution_count}]: " + cell.source.replace("\n", "\n    "))
        for text in filter(None, map(text_of, cell.outputs)):
            print(text)
            shown += 1
        print()
    return shown


def main(path: Path) -> int:
    if not path.is_file():
        print(f"demo: there is no notebook {path}", file=sys.stderr)
        return 1
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        if cell.cell_type == "code":  # nothing that an earlier run left may count
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        # The kernel's own warnings, about its transport for one, are not the notebook's output.
        extra_arguments=["--log-level=ERROR"],
    )
    failure = None
    try:
        client.execute()
    except CellExecutionError as error:
        failure = f"a cell failed: {error.ename}: {error.evalue}"
    except CellTimeoutError:
        failure = f"a cell took more than {SECONDS_PER_CELL} s"
    except DeadKernelError:
        failure = "the kernel died"
    shown = show(notebook)
    if failure is None and not shown:
        failure = f"{path} ran, but showed nothing"
    if failure is not None:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/demo.py NOTEBOOK")
    sys.exit(main(Path(sys.argv[1])))
