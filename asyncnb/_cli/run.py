"""``asyncnb run``: a notebook from its first cell to the end of its last background task."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from asyncnb._cli.notebooks import files, parameters
from asyncnb._cli.notebooks.errors import NotebookError
from asyncnb._client.errors import ClientError
from asyncnb._core.base.text import count, escape_control_chars

#: Seconds between two saves while cells run.
SAVE_SECONDS: Final = 10.0
#: The most characters of a line on stderr.
WIDTH: Final = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``asyncnb run``."""
    parser.add_argument("notebook", metavar="NOTEBOOK", type=Path, help="the notebook to run")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="where to save the executed notebook: a path, or - for stdout; the default is "
        "NOTEBOOK.run.ipynb",
    )
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="assign a value, a Python literal or a text, below the cell tagged `parameters`",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="time limit for all cells and tasks together; then they are cancelled",
    )
    parser.add_argument(
        "-k", "--kernel-name", default="", metavar="KERNEL", help="the kernel to use"
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="cancel the tasks that are alive after the last cell"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the notebook and save it; return 0, 1 (failed) or 130 (interrupted)."""
    try:
        notebook, output = _prepared(arguments)
    except NotebookError as exc:
        return _refuse(arguments, exc, 2)
    if importlib.util.find_spec("nbclient") is None:
        missing = "`asyncnb run` needs nbclient. Install it: pip install 'asyncnb[run]'"
        return _refuse(arguments, ClientError(missing), 1)
    from asyncnb._cli.notebooks.headless import HeadlessRun, environment
    from asyncnb._cli.notebooks.nbclient import KeepingClient

    path: Path = arguments.notebook
    client = KeepingClient(
        notebook,
        timeout=None,
        kernel_name=arguments.kernel_name,
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    started, saved = time.monotonic(), [time.monotonic()]

    def save() -> None:
        if output is not None and time.monotonic() - saved[0] > SAVE_SECONDS:
            files.write(client.tidied(), output)
            saved[0] = time.monotonic()

    headless = HeadlessRun(
        client, timeout=arguments.timeout, wait=not arguments.no_wait, report=_report, save=save
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_with_sigterm(headless, environment(path)))
        except ClientError as exc:
            return _refuse(arguments, exc, 1)
        finally:
            # After a second Ctrl-C, too.
            if headless.started:
                client.set_widgets_metadata()
                files.write(client.tidied(), output)
                _report(f"saved to {output or 'stdout'}")
    outcome = headless.outcome
    _show(outcome)
    code = {"done": 0, "interrupted": 130}.get(outcome.status, 1)
    if arguments.json:
        print(json.dumps(_as_json(arguments, outcome, output, time.monotonic() - started, code)))
    return code


def _prepared(arguments: argparse.Namespace) -> tuple[Any, Path | None]:
    """Return the notebook to run and where to save it; NotebookError if that cannot be."""
    if importlib.util.find_spec("nbformat") is None:
        raise NotebookError("`asyncnb run` needs nbformat. Install it: pip install 'asyncnb[run]'")
    path: Path = arguments.notebook
    values = parameters.parse(arguments.parameter)
    notebook = files.read(path)
    for name in parameters.inject(notebook, values):
        _report(f"parameter {name} is not in the cell tagged `parameters`: is it misspelt?")
    if arguments.output == "-":
        if arguments.json:
            raise NotebookError("--json and `-o -` would both write to stdout; name a file.")
        return notebook, None
    output = Path(arguments.output or path.with_suffix(".run.ipynb"))
    files.check_writable(output)
    for cell in notebook.cells:  # nothing of an earlier run may count
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook, output


async def _with_sigterm(headless: Any, env: dict[str, str]) -> None:
    """Run, and treat SIGTERM as Ctrl-C: the tasks get their cleanup, the notebook is saved."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    try:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    except (NotImplementedError, RuntimeError):  # Windows; not the main thread
        pass
    await headless.run(env)


def _loop_factory() -> Any:
    """Return what makes the loop: on Windows the one that ZeroMQ's sockets work with."""
    return asyncio.SelectorEventLoop if sys.platform == "win32" else None


def _report(sentence: str) -> None:
    lines = [escape_control_chars(line, WIDTH) for line in sentence.splitlines()]
    print("asyncnb: " + "\n    ".join(lines), file=sys.stderr, flush=True)


def _refuse(arguments: argparse.Namespace, exc: ClientError, code: int) -> int:
    if arguments.json:
        print(json.dumps({"error": {"type": type(exc).__name__, "text": str(exc)}}))
    else:
        _report(str(exc))
    return code


def _show(outcome: Any) -> None:
    if outcome.cell is not None:
        _report(outcome.cell.sentence())
    failures = list(outcome.failures.values())
    for failure in failures[:10]:
        _report(failure.sentence())
    more = len(failures[10:]) + outcome.unlisted
    if more:
        _report(f"{count(more, 'more task')} failed")
    if outcome.status == "died":
        _report(f"the kernel died after {outcome.done} of {count(outcome.total, 'cell')}")
    if outcome.status in ("timeout", "interrupted"):
        why = "timed out" if outcome.status == "timeout" else "interrupted"
        _report(f"{why} after {outcome.done} of {count(outcome.total, 'cell')}")


def _as_json(
    arguments: argparse.Namespace, outcome: Any, output: Path | None, seconds: float, code: int
) -> dict[str, Any]:
    failures = ([outcome.cell] if outcome.cell else []) + list(outcome.failures.values())
    return {
        "notebook": str(arguments.notebook),
        "output": None if output is None else str(output),
        "status": outcome.status,
        "exit_code": code,
        "seconds": round(seconds, 3),
        "cells": {"total": outcome.total, "done": outcome.done},
        "tasks": {
            "listed": outcome.tasks,
            "failed": len(outcome.failures) + outcome.unlisted,
            "cancelled": outcome.cancelled,
            "more_cancelled": outcome.more_cancelled,
        },
        "failures": [
            {
                "task": each.name,
                "cell": each.cell,
                "index": each.index,
                "line": each.line,
                "source": each.source,
                "error": each.error,
            }
            for each in failures
        ],
    }


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value
