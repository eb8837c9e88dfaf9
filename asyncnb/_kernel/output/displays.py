"""How IPython displays tasks, their tables, timelines and profiles: as widgets where these work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from asyncnb._core.base.errors import THREADS
from asyncnb._core.config import config
from asyncnb._kernel.ipykernel.kernel import kernel_of
from asyncnb._kernel.ipykernel.parents import is_headless

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._core.launched.record import TaskRecord
    from asyncnb._core.primitives.tasks import Task
    from asyncnb._core.profiling.profile import Profile
    from asyncnb._core.timeline.timeline import Timeline
    from asyncnb._kernel.tables.table import TaskTable
    from asyncnb._kernel.undo import UndoStack

Bundle = dict[str, Any]

_VIEW = "application/vnd.jupyter.widget-view+json"


class Displays:
    """Mime bundles for the objects that cells display.

    ``parent`` returns the message of the running code; ``chip`` adds a live line to the bundle of a
    task, ``timeline`` and ``profile`` return a widget with zoom and search.
    """

    def __init__(
        self,
        ip: InteractiveShell,
        parent: Callable[[], Any],
        *,
        chip: Callable[[TaskRecord, Bundle], Bundle],
        timeline: Callable[[Timeline], Any],
        profile: Callable[[Profile], Any],
    ) -> None:
        self._ip = ip
        self._parent = parent
        self._chip = chip
        self._timeline_widget = timeline
        self._profile_widget = profile

    def install(self, undo: UndoStack) -> None:
        """Make IPython display these objects by the methods below, until ``undo`` is unwound."""
        self._show_as(undo, "asyncnb._core.primitives.tasks", "Task", self._task)
        self._show_as(undo, "asyncnb._core.timeline.timeline", "Timeline", self._timeline)
        self._show_as(undo, "asyncnb._core.profiling.profile", "Profile", self._profile)
        self._show_as(undo, "asyncnb._kernel.tables.table", "TaskTable", self._table)

    def _task(self, task: Task[Any]) -> Bundle | None:
        """Return a live chip where widgets work, one line of text elsewhere."""
        from asyncnb._kernel.tables.table import as_one_line

        record = cast("TaskRecord | None", task._record)
        if record is None:
            return None  # it was not launched; its repr is enough
        bundle: Bundle = as_one_line(record.info())
        return self._chip(record, bundle) if self._shows_widgets() else bundle

    def _table(self, table: TaskTable) -> Bundle:
        """Return its facts as JSON, beside which it is shown as text and as HTML.

        Without them, in a cell that leaves no history: nbval runs cells so, and would compare times
        with those of another run.
        """
        content = (self._parent() or {}).get("content") or {}
        if not config.tasks_json or table.facts is None or content.get("store_history") is False:
            return {}
        from asyncnb._core.listing.facts import MIME_TYPE

        return {MIME_TYPE: table.facts}

    def _timeline(self, timeline: Timeline) -> Bundle:
        """Return its picture, and where widgets work also a view with zoom and search."""
        bundle: Bundle = timeline._repr_mimebundle_()
        if timeline.grid is not None or not self._shows_widgets():
            return bundle
        return bundle | _view_of(self._timeline_widget(timeline))

    def _profile(self, profile: Profile) -> Bundle:
        """Return its text and picture, and where widgets work also a view with zoom and search."""
        bundle: Bundle = profile._repr_mimebundle_()
        return bundle | _view_of(self._profile_widget(profile)) if self._shows_widgets() else bundle

    def _shows_widgets(self) -> bool:
        return (
            THREADS  # else there is no channel for a widget to request more data on
            and kernel_of(self._ip) is not None
            and not is_headless(self._parent())
        )

    def _show_as(
        self, undo: UndoStack, module: str, name: str, bundle: Callable[[Any], Bundle | None]
    ) -> None:
        """Display objects of a class by what ``bundle`` returns.

        The class is given by its name, so that its module need not be imported.
        """
        display: Any = self._ip.display_formatter
        formatter = display.mimebundle_formatter

        def forget() -> None:
            if formatter.deferred_printers.get((module, name)) is bundle:
                del formatter.deferred_printers[module, name]
            for kind, printer in [*formatter.type_printers.items()]:  # set by the first display
                if printer is bundle:
                    del formatter.type_printers[kind]

        undo.push(forget)
        formatter.for_type_by_name(module, name, bundle)


def _view_of(widget: Any) -> Bundle:
    """Return what a front end with widgets needs to show ``widget``."""
    found = widget._repr_mimebundle_()
    return {} if found is None else {_VIEW: found[0][_VIEW]}
