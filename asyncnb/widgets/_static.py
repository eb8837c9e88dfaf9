"""The hand-written JavaScript and CSS, joined to the one module that anywidget expects.

The files share one scope instead of importing each other: a widget's module reaches the browser as
text, without a place to import from. So no build step is needed.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

_STATIC = Path(__file__).parent / "static"


@functools.cache
def joined(*names: str) -> str:
    """Return the text of these files of ``static``, concatenated."""
    return "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in names)


def chip_js() -> str:
    """Return the ES module of the hub of all chips."""
    return joined("format.js", "store.js", "calls.js", "chips/chip.js")


def notify_js() -> str:
    """Return the ES module of the notifier."""
    return joined("bell.js", "notify.js")


#: What shows the tasks of one kernel; the panel of JupyterLab has one for each notebook.
VIEW: Final = ("format", "store", "tree", "calls", "bell", "grid", "detail", "timeline", "view")


def dashboard_js() -> str:
    """Return the ES module of the dashboard."""
    return joined(*(f"{name}.js" for name in (*VIEW, "dashboard")))


def dashboard_css() -> str:
    """Return the style sheet of the dashboard."""
    return joined("dashboard.css", "detail.css", "timeline.css")
