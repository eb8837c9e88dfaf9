"""Progress bars: one line in the cell of the work, updated a few times a second."""

from __future__ import annotations

import time
from typing import Any

from IPython.display import display

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.progress import Progress
from asyncnb._core.base.text import replace_surrogates
from asyncnb._core.config import config
from asyncnb._kernel.current_cell import current_record
from asyncnb._kernel.ipykernel.parents import is_headless
from asyncnb._kernel.output.router import OutputRouter

WIDTH = 30


class ProgressBars:
    """Shows a bar for work that has a label; notes the progress of tasks in their records."""

    def __init__(self, output: OutputRouter) -> None:
        self._output = output
        self._lock = fork_safe_lock()
        self._shown: dict[int, float] = {}  # when a bar was last updated

    def observe(self, progress: Progress) -> None:
        """Handle one report; called in the thread and the context of the work, once per item."""
        record = current_record.get()
        if record is not None:
            record.progress = (progress.done, progress.total)
            record.changed()
        if progress.label is None:
            return
        now = time.monotonic()
        with self._lock:
            last = self._shown.get(progress.id)
            if last is not None and now - last < config.progress_interval and not progress.ended:
                return
            if progress.ended:
                self._shown.pop(progress.id, None)
            else:
                self._shown[progress.id] = now
        if is_headless(self._output.parent()):
            if progress.ended:  # one line in the stored notebook instead of a thousand updates
                print(bar(progress))
            return
        shown: dict[str, Any] = {"text/plain": bar(progress)}
        display(shown, raw=True, display_id=f"asyncnb-bar-{progress.id}", update=last is not None)


def bar(progress: Progress) -> str:
    """Return the line for ``progress``: label, bar, counts, and how it ended."""
    label = replace_surrogates(str(progress.label))
    end = "" if not progress.ended else " failed" if progress.failed else " done"
    if progress.total is None:
        return f"{label}  {progress.done}{end}"
    part = min(1.0, progress.done / progress.total) if progress.total else 1.0
    filled = int(part * WIDTH)
    line = "█" * filled + "░" * (WIDTH - filled)
    return f"{label}  {line}  {progress.done}/{progress.total}{end}"
