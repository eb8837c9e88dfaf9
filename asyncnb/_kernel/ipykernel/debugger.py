"""Makes the front end's debugger skip asyncnb's own code, as it skips IPython's; opens pdb."""

from __future__ import annotations

from typing import Any

from asyncnb._core.base.frames import PACKAGE

#: A rule of pydevd's: every file of the package.
_PACKAGE = f"{PACKAGE}**"


class DebuggerRules:
    """Adds the package to the files that ipykernel makes its debugger skip.

    ipykernel lists what has been imported when the kernel starts, and an extension is loaded later.
    Code in `site-packages` is skipped anyway; an editable install is user code to the debugger, and
    a step from one statement of a cell to the next would stop in asyncnb.
    """

    def __init__(self, kernel: Any) -> None:
        #: Read whenever a front end attaches. None: no debugger, or one without such a list.
        self._files: Any = getattr(getattr(kernel, "debugger", None), "kernel_modules", None)

    def install(self) -> None:
        """Add the package, for every debugger session that starts from now on."""
        if isinstance(self._files, list):
            self._files.append(_PACKAGE)

    def uninstall(self) -> None:
        """Remove it."""
        if isinstance(self._files, list) and _PACKAGE in self._files:
            self._files.remove(_PACKAGE)


def open_if_asked(ip: Any) -> None:
    """Open IPython's debugger on the latest error if the user has set ``%pdb on``."""
    if ip.call_pdb:
        ip.debugger(force=True)
