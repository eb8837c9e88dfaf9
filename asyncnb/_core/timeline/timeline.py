"""The timeline: when each task ran, what it waited for, and when it was cancelled or timed out."""

from __future__ import annotations

from typing import Any

from asyncnb._core.base.text import terminal_columns
from asyncnb._core.timeline.data import Tasks, timeline_data
from asyncnb._core.tracing.recording import MAX_STEPS, Recording


def record(most_steps: int = MAX_STEPS) -> Recording:
    """Return a new recording, for ``with record() as it:``; ``timeline(it)`` draws it.

    It records every task that the block launches or creates with asyncnb's functions, and every
    task that those tasks create, on any loop. Tasks made with asyncio's own functions are recorded
    on the embedded loop and under ``asyncnb.testing.run_virtual``; the recording then uses its
    virtual clock. The newest ``most_steps`` steps are kept. Raises ValueError for a number of steps
    below 1. Any thread.
    """
    if most_steps < 1:
        raise ValueError(f"most_steps must be 1 or more, not {most_steps!r}.")
    return Recording(most_steps)


def timeline(tasks: Tasks = None, *, grid: float | None = None) -> Timeline:
    """Return a diagram of when each task ran and what it waited for, up to now.

    ``tasks`` is a name or glob pattern, a Task, several Tasks, or a Recording; None means the
    launched tasks and everything that was recorded. A task that was not recorded (``launch(...,
    trace=True)``, ``%%atask --trace``, ``with record():``) is shown with the times when it was
    created, started and ended, and with its final state. ``grid`` rounds every time to a multiple
    of that many seconds, so that the same program draws the same diagram each time.

    A notebook displays it, interactively if the front end supports widgets (but not with a
    ``grid``). ``.svg()`` and ``.text()`` return it as SVG and as text, ``.data`` as numbers. Raises
    TaskNotFoundError for a name that matches nothing, TypeError for an object that is not a task,
    and ValueError for a ``grid`` that is not positive. Any thread.

    >>> with asyncnb.record() as recording:
    ...     await asyncnb.gather(asyncio.sleep(1), asyncio.sleep(2))
    >>> picture = asyncnb.timeline(recording, grid=0.1)  # a cell shows it; .svg() is its source
    """
    check_grid(grid)
    return Timeline(tasks, grid)


def check_grid(grid: Any) -> None:
    """Raise ValueError for what is no ``grid`` of a timeline."""
    if grid is not None and not (isinstance(grid, int | float) and grid > 0):
        raise ValueError(f"grid must be seconds above 0, such as 0.1, not {grid!r}.")


def export_trace(path: Any, tasks: Tasks = None) -> int:
    """Write the recorded tasks as a Chrome trace; return the number of events in it.

    https://ui.perfetto.dev and chrome://tracing open the file. It has a track for each task with
    its steps and waits, arrows from what a task waited for, and marks for cancellations and
    timeouts. ``tasks`` as for :func:`timeline`, with its errors. Raises OSError if ``path`` cannot
    be written; an existing file there is unchanged then. Any thread.
    """
    import json

    from asyncnb._core.timeline.chrome_trace import trace_events, write_whole

    data = timeline_data(tasks)
    events = trace_events(data)
    document = {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"producer": "asyncnb", "steps dropped": data["dropped"]},
    }
    write_whole(path, json.dumps(document))
    return len(events)


class Timeline:
    """A diagram of tasks over time, as of one moment."""

    def __init__(self, tasks: Tasks = None, grid: float | None = None) -> None:
        self._tasks, self._grid = tasks, grid
        #: The numbers, as :func:`timeline_data` describes them.
        self.data: dict[str, Any] = self.refresh()

    def refresh(self) -> dict[str, Any]:
        """Return the numbers as of now; ``data`` does not change. Any thread."""
        return timeline_data(self._tasks, grid=self._grid)

    @property
    def grid(self) -> float | None:
        """The distance of its ticks in seconds, if one was requested."""
        return self._grid

    def svg(self) -> str:
        """Return it as a self-contained SVG document."""
        from asyncnb._core.timeline.svg import svg

        return svg(self.data)

    def text(self, width: int = 100) -> str:
        """Return it as text, ``width`` columns wide."""
        from asyncnb._core.timeline.text import text

        return text(self.data, width)

    def __repr__(self) -> str:
        return self.text(terminal_columns() or 100)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": self.text(), "image/svg+xml": self.svg()}
        return bundle
