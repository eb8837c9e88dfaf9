"""The settings, each read where it is used, for example ``config.shutdown_seconds``.

``%asyncnb option`` and a configuration file change them, through the table of options.
"""

from __future__ import annotations

#: Number of ended tasks that ``tasks()`` still lists; older ones are forgotten.
HISTORY = 1000

#: Number of newest ended tasks whose results are kept even if no other code holds the task.
RESULTS = 100

#: Number of newest failed tasks whose frames are kept for a debugger. One, as IPython keeps those
#: of the newest failed cell: frames keep alive whatever their variables refer to.
FRAMES = 1


class Config:
    """The settings and their defaults."""

    #: Seconds that a step may take before it is reported as blocking the loop; 0 means no watchdog.
    watchdog_threshold: float = 0.3
    #: Whether tasks that have not moved for two seconds are searched for deadlocks.
    deadlocks: bool = True
    #: Seconds that cleanup may take when the kernel or the interpreter ends. Jupyter sends SIGTERM
    #: 2.5 s after a shutdown request (measured), so a longer cleanup would be cut off halfway.
    shutdown_seconds: float = 2.0
    #: Whether every launched task is recorded, as with ``trace=True``.
    record_all: bool = False
    #: How many characters of a task's output, the newest, are kept to be shown again.
    output_tail: int = 200_000
    #: How many late prints and displays, the newest, are kept for a cell of a headless run.
    late_items: int = 10_000
    #: Whether the output of a table of tasks has them as JSON, too.
    tasks_json: bool = True
    #: Seconds between two updates of a progress bar: faster updates are not visible and overload
    #: front ends.
    progress_interval: float = 0.1
    #: Seconds between two messages to a dashboard. A shorter interval would not be noticeable, and
    #: jupyter_server drops messages above 1000 a second.
    dashboard_interval: float = 0.1
    #: Of which tasks that ran for long the end is notified while the page is hidden, besides those
    #: that were asked to: ``off``, ``failures`` or ``all``.
    notify: str = "failures"
    #: Seconds that "for long" means there.
    notify_after: float = 60.0


config = Config()
