"""Progress bars: one line in the cell of the work, updated a few times a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from IPython.display import display

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.progress import Progress
from asyncnb._core.base.text import replace_surrogates
from asyncnb._core.config import config
from asyncnb._kernel.current_cell import current_record
from asyncnb._kernel.ipykernel.parents import is_headless
from asyncnb._kernel.output.router import OutputRouter

if TYPE_CHECKING:
    from asyncnb._core.introspection.info import CallsInfo

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
        calls = None
        if record is not None and (record.adjustable is None or progress.task is record.held):
            calls = record.calls  # of a run of calls: its own bar, and not one of an item's code
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
        counts = None if calls is None else calls()
        if is_headless(self._output.parent()):
            if progress.ended:  # one line in the stored notebook instead of a thousand updates
                print(bar(progress, counts))
            return
        shown: dict[str, Any] = {"text/plain": bar(progress, counts)}
        display(shown, raw=True, display_id=f"asyncnb-bar-{progress.id}", update=last is not None)


def bar(progress: Progress, calls: CallsInfo | None = None) -> str:
    """Return the line for ``progress``: label, bar, counts, and how it ended.

    ``calls`` has what else a run of many calls has counted.
    """
    label = replace_surrogates(str(progress.label))
    end = "" if not progress.ended else " failed" if progress.failed else " done"
    more = ""
    if calls is not None:
        from asyncnb._core.launched.adjustable import calls_line  # few bars are those of a run

        if progress.ended:
            calls = calls._replace(eta=None)
            if progress.failed:  # the counts say it, unless something stopped the run
                end = "" if progress.done == progress.total else " stopped"
        more = calls_line(calls, with_items=False)
    more = f", {more}" if more and progress.ended else f"  {more}" if more else ""
    if progress.total is None:
        return f"{label}  {progress.done}{end}{more}"
    part = min(1.0, progress.done / progress.total) if progress.total else 1.0
    filled = int(part * WIDTH)
    line = "█" * filled + "░" * (WIDTH - filled)
    return f"{label}  {line}  {progress.done}/{progress.total}{end}{more}"
