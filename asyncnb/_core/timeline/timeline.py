"""The timeline: who ran when, who waited for whom, where cancellations and timeouts struck."""

from __future__ import annotations

from typing import Any

from asyncnb._core.base.text import terminal_columns
from asyncnb._core.timeline.data import Tasks, timeline_data
from asyncnb._core.tracing.recording import MAX_STEPS, Recording


def record(most_steps: int = MAX_STEPS) -> Recording:
    """Return a new recording, for ``with record() as it:``; ``timeline(it)`` draws it.

    Recorded is every task that the block launches or makes with asyncnb's calls, and all that
    those make in turn, on any loop; asyncio's own calls on the embedded loop and under
    ``asyncnb.testing.run_virtual``, whose virtual clock the recording then goes by. The newest
    ``most_steps`` steps are kept. ValueError for a number of steps below 1. Any thread.
    """
    if most_steps < 1:
        raise ValueError(f"most_steps must be 1 or more, not {most_steps!r}.")
    return Recording(most_steps)


def timeline(tasks: Tasks = None, *, grid: float | None = None) -> Timeline:
    """Return a picture of who ran when and who waited for whom, as it is now.

    ``tasks`` is a name or glob, a Task, several Tasks, or a Recording; None means the launched
    tasks and whatever was recorded. Of tasks that were not recorded (``launch(..., trace=True)``,
    ``%%atask --trace``, ``with record():``) the picture tells when they were created, started and
    ended, and how. ``grid`` rounds every time to a multiple of so many seconds, so that the same
    program draws the same picture each time.

    A notebook shows it, interactive where the front end has widgets (not with a ``grid``);
    ``.svg()`` and ``.text()`` give it as SVG and text, ``.data`` as numbers. TaskNotFoundError
    for a name that matches nothing, TypeError for what is no task, ValueError for a ``grid`` that
    is not positive. Any thread.

    >>> with asyncnb.record() as recording:
    ...     await asyncnb.gather(asyncio.sleep(1), asyncio.sleep(2))
    >>> picture = asyncnb.timeline(recording, grid=0.1)  # a cell shows it; .svg() is its source
    """
    number: Any = grid
    if number is not None and not (isinstance(number, int | float) and number > 0):
        raise ValueError(f"grid must be seconds above 0, such as 0.1, not {grid!r}.")
    return Timeline(tasks, grid)


def export_trace(path: Any, tasks: Tasks = None) -> int:
    """Write what was recorded as a Chrome trace; return the number of events in it.

    https://ui.perfetto.dev and chrome://tracing open the file: a track for each task with its
    steps and waits, arrows from what a task waited for, marks for cancellations and timeouts.
    ``tasks`` as for :func:`timeline`, with its errors. OSError when ``path`` cannot be written:
    what stood there before then still does. Any thread.
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
    """A picture of tasks over time, as it was at one moment."""

    def __init__(self, tasks: Tasks = None, grid: float | None = None) -> None:
        self._tasks, self._grid = tasks, grid
        #: The numbers, as :func:`timeline_data` describes them.
        self.data: dict[str, Any] = self.refresh()

    def refresh(self) -> dict[str, Any]:
        """Return the numbers as they are now; ``data`` stays. Any thread."""
        return timeline_data(self._tasks, grid=self._grid)

    @property
    def grid(self) -> float | None:
        """The seconds that its ticks are apart, if that was asked for."""
        return self._grid

    def svg(self) -> str:
        """Return it as an SVG document that needs nothing else."""
        from asyncnb._core.timeline.svg import svg

        return svg(self.data)

    def text(self, width: int = 100) -> str:
        """Return it as text of so many columns."""
        from asyncnb._core.timeline.text import text

        return text(self.data, width)

    def __repr__(self) -> str:
        return self.text(terminal_columns() or 100)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": self.text(), "image/svg+xml": self.svg()}
        return bundle
