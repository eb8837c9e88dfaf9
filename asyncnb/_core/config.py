"""The settings, each read where it is used: ``config.shutdown_seconds``.

``%asyncnb option`` and a configuration file set them, through the table of options.
"""

from __future__ import annotations


class Config:
    """The settings and their defaults."""

    #: Seconds that a step may take before it is reported as blocking the loop; 0: no watchdog.
    watchdog_threshold: float = 0.3
    #: Seconds that cleanup may take when the kernel or the interpreter ends. Jupyter sends SIGTERM
    #: 2.5 s after a shutdown request (measured), so more would be cut off in the middle.
    shutdown_seconds: float = 2.0
    #: Whether every launched task is recorded, as with ``trace=True``.
    record_all: bool = False
    #: Characters of a task's output that are kept to be shown again, the newest.
    output_tail: int = 200_000
    #: Late prints and displays that are kept for a cell of a headless run, the newest.
    late_items: int = 10_000
    #: Seconds between two updates of a progress bar: faster updates are not visible, and overload
    #: front ends.
    progress_interval: float = 0.1
    #: Seconds between two messages to a dashboard. A shorter interval would not be noticed, and
    #: jupyter_server drops messages above 1000 a second.
    dashboard_interval: float = 0.1


config = Config()
