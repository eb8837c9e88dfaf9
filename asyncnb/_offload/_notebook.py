"""A notebook's surroundings for a cell in a worker: ``display``, magics, plots.

Loaded by ``_remote`` when a cell uses them, by its text, so it imports nothing of asyncnb. It needs
IPython on the worker; without it, ``display`` prints.
"""

from __future__ import annotations

import sys
from typing import Any

_shell: Any = None
_tell: Any = None


def surroundings(tell: Any, namespace: dict[str, Any]) -> dict[str, Any]:
    """Return the names that a cell of a notebook may use without an import.

    What it displays is told as ``shown``. The shell is made once for the process.
    """
    global _shell, _tell
    _tell = tell
    try:
        if _shell is None:
            _shell = _make_shell()
    except ImportError:
        return {"display": print}
    _shell.user_ns = namespace
    from IPython.display import display

    return {"display": display, "get_ipython": lambda: _shell}


def _make_shell() -> Any:
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Publisher(DisplayPublisher):
        def publish(  # type: ignore[override]
            self, data: Any, metadata: Any = None, **keywords: Any
        ) -> None:
            kept = {k: v for k, v in keywords.items() if k in ("transient", "update")}
            _tell("shown", data, metadata or {}, kept)

    class Shell(InteractiveShell):
        def system(self, command: str) -> None:
            """Run a shell command; its output is the worker's, so it comes live."""
            import subprocess

            line = self.var_expand(command, 1)  # type: ignore[no-untyped-call]
            self.user_ns["_exit_code"] = subprocess.call(line, shell=True)

    config = Config()
    config.HistoryManager.enabled = False
    # No InteractiveShell.instance() has been made in a worker; whoever asks for it finds this one.
    shell = Shell.instance(config=config, display_pub_class=Publisher)
    shell.builtin_trap.__enter__()
    return shell


def show_figures() -> None:
    """Show the plots that the cell left open, as a notebook does at its end."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or _shell is None:
        return
    from IPython.core.pylabtools import select_figure_formats
    from IPython.display import display

    select_figure_formats(_shell, {"png"}, base64=True)
    for number in pyplot.get_fignums():
        display(pyplot.figure(number))
    pyplot.close("all")
