"""The environment of a notebook for a cell in a worker: ``display``, magics, plots.

``remote`` imports it when a cell uses one of them. It needs IPython on the worker; without IPython,
``display`` prints.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from .locks import fork_safe_lock

#: The shell of the process, which ``display`` finds in any thread; that of each cell's thread.
_shell: Any = None
_of_thread = threading.local()
_lock = fork_safe_lock()
#: What each thread's cell reports to, and that of the newest cell, for threads that cells start.
_reporters: dict[int, Any] = {}
_last_reporter: Any = None


def environment(report: Any, namespace: dict[str, Any]) -> dict[str, Any]:
    """Return the names that a cell of a notebook may use without an import.

    What the cell displays is reported as ``display``. Each thread gets its own shell; the first one
    becomes the shell of the process. A process that has a shell already, such as the kernel itself,
    keeps it.
    """
    global _shell, _last_reporter
    try:
        from IPython.core.interactiveshell import InteractiveShell
        from IPython.display import display
    except ImportError:
        return {"display": print}
    if _shell is None and InteractiveShell.initialized():
        return _guest(report, InteractiveShell.instance())
    _last_reporter = _reporters[threading.get_ident()] = report
    mine = getattr(_of_thread, "shell", None)
    if mine is None:
        with _lock:
            mine = _of_thread.shell = _make_shell(_shell is None)
            _shell = _shell or mine
    mine.user_ns = namespace
    return {"display": display, "get_ipython": lambda: mine}


def _guest(report: Any, shell: Any) -> dict[str, Any]:
    """Return the names for a cell in a process that already has a shell."""

    def display(*values: Any) -> None:
        for value in values:
            report("display", *shell.display_formatter.format(value), {})

    return {"display": display, "get_ipython": lambda: shell}


def _make_shell(first: bool) -> Any:
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Publisher(DisplayPublisher):
        def publish(  # type: ignore[override]
            self, data: Any, metadata: Any = None, **keywords: Any
        ) -> None:
            kept = {k: v for k, v in keywords.items() if k in ("transient", "update")}
            report = _reporters.get(threading.get_ident(), _last_reporter)
            report("display", data, metadata or {}, kept)

    class Shell(InteractiveShell):
        def system(self, command: str) -> None:
            """Run a shell command and write its output as it arrives."""
            line = self.var_expand(command, 1)  # type: ignore[no-untyped-call]
            self.user_ns["_exit_code"] = _run(line)

    config = Config()
    config.HistoryManager.enabled = False
    options = {"config": config, "display_pub_class": Publisher}
    if not first:
        return Shell(**options)  # type: ignore[no-untyped-call]
    # A worker has no InteractiveShell.instance() yet; code that asks for one gets this one.
    shell = Shell.instance(**options)
    shell.builtin_trap.__enter__()
    return shell


def _run(line: str) -> int:
    import codecs
    import subprocess

    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with subprocess.Popen(
        line,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        try:
            while data := os.read(process.stdout.fileno(), 65536):
                sys.stdout.write(decoder.decode(data))
        except BaseException:
            process.kill()
            raise
    return process.returncode


def show_figures() -> None:
    """Show the plots that the cell left open, as a notebook does after a cell."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or _shell is None:
        return
    from IPython.core.pylabtools import select_figure_formats
    from IPython.display import display

    select_figure_formats(_shell, {"png"}, base64=True)
    for number in pyplot.get_fignums():
        display(pyplot.figure(number))
    pyplot.close("all")
