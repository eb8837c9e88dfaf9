"""Gives each task its own pyplot figures, separate from those of the running cell.

pyplot keeps its open figures in one process-wide table, and the inline backend shows and closes
everything in it at the end of any cell: a task's half-drawn figure would appear under whichever
cell happens to end. Here the content of the table depends on the context.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from asyncnb._kernel.current_cell import current_record

if TYPE_CHECKING:
    from asyncnb._core.launched.record import TaskRecord

_HELPERS = "matplotlib._pylab_helpers"


class FiguresByTask(MutableMapping[Any, Any]):
    """``Gcf.figs`` by context: a task sees its own figures, all other code the original table."""

    def __init__(self, cells: OrderedDict[Any, Any]) -> None:
        self.cells = cells
        #: Of the tasks that have figures; weakly, as a task may draw after its end has been shown.
        self.tasks: WeakKeyDictionary[TaskRecord, OrderedDict[Any, Any]] = WeakKeyDictionary()

    def _here(self) -> OrderedDict[Any, Any]:
        record = current_record.get()
        if record is None:
            return self.cells
        return self.tasks.get(record) or OrderedDict()

    def __getitem__(self, key: Any) -> Any:
        return self._here()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        record = current_record.get()
        here = self.cells if record is None else self.tasks.setdefault(record, OrderedDict())
        here[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._here()[key]
        record = current_record.get()
        if record is not None and not self.tasks.get(record):
            self.tasks.pop(record, None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._here())

    def __len__(self) -> int:
        return len(self._here())

    def values(self) -> Any:  # Gcf takes the last one with reversed()
        return self._here().values()

    def move_to_end(self, key: Any, last: bool = True) -> None:
        self._here().move_to_end(key, last)


class FigureKeeper:
    """Puts FiguresByTask into matplotlib when it is, or gets, imported."""

    def __init__(self) -> None:
        self._figures: FiguresByTask | None = None
        self._watch: _ImportWatch | None = None

    def install(self) -> None:
        """Replace the table now, or when matplotlib is first imported (perhaps in a task)."""
        if _HELPERS in sys.modules:
            self._take_over(sys.modules[_HELPERS])
        else:
            self._watch = _ImportWatch(_HELPERS, self._take_over)
            sys.meta_path.insert(0, self._watch)

    def uninstall(self) -> None:
        """Restore matplotlib's own table."""
        if self._watch in sys.meta_path:
            sys.meta_path.remove(self._watch)
        self._watch = None
        if self._figures is not None:
            gcf = sys.modules[_HELPERS].Gcf
            if gcf.figs is self._figures:
                gcf.figs = self._figures.cells
            self._figures = None

    def _take_over(self, helpers: ModuleType) -> None:
        self._figures = helpers.Gcf.figs = FiguresByTask(helpers.Gcf.figs)

    def has_figures(self, record: TaskRecord) -> bool:
        """Return whether the task has open figures."""
        return self._figures is not None and bool(self._figures.tasks.get(record))

    def show(self, record: TaskRecord) -> None:
        """Show the task's open figures as the end of a cell would; call in the task's context."""
        if self._figures is None or record not in self._figures.tasks:
            return
        inline = sys.modules.get("matplotlib_inline.backend_inline")
        try:
            if inline is not None and self.has_figures(record):
                inline.show(True)
                # The flag is process-wide too: a cell that is drawing now still needs its flush.
                inline.show._draw_called = True
        finally:
            self._figures.tasks.pop(record, None)


class _ImportWatch(importlib.abc.MetaPathFinder):
    """Calls ``callback(module)`` once, right after the module ``name`` has been executed."""

    def __init__(self, name: str, callback: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._callback = callback

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._callback(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
