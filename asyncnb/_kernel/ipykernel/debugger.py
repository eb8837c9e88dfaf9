"""asyncnb's own code in the front end's debugger, which steps past it as past IPython's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

#: A rule of pydevd's: every file of the package.
_PACKAGE = os.path.join(Path(__file__).parents[1], "**")


class DebuggerRules:
    """Adds the package to the files that ipykernel has its debugger step past.

    ipykernel lists what is imported when the kernel starts, and an extension is loaded later. In
    `site-packages` it is passed anyway; an editable install is user code to the debugger, and a
    step from one statement of a cell to the next would stop in between.
    """

    def __init__(self, kernel: Any) -> None:
        #: Read whenever a front end attaches. None: no debugger, or one that has no such list.
        self._files: Any = getattr(getattr(kernel, "debugger", None), "kernel_modules", None)

    def install(self) -> None:
        """Enter the package, for every session of the debugger that begins from now on."""
        if isinstance(self._files, list):
            self._files.append(_PACKAGE)

    def uninstall(self) -> None:
        """Take it out."""
        if isinstance(self._files, list) and _PACKAGE in self._files:
            self._files.remove(_PACKAGE)
