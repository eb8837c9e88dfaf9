"""Launches a ``%%amap`` cell: its code is called for each item, as one task."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from asyncnb._core.base.errors import THREADS, SaveError, did_you_mean
from asyncnb._core.base.worker_thread import Worker
from asyncnb._core.loop.current import embedded_loop
from asyncnb._kernel.arguments import TARGETS, atask_parser, task_name
from asyncnb._kernel.cells.function import CellFunction, compile_function
from asyncnb._kernel.cells.launcher import Body
from asyncnb._kernel.current_cell import cell_number
from asyncnb._kernel.map_arguments import MAGIC, MapLine

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._core.launched.record import TaskRecord
    from asyncnb._core.mapping.run import MapRun
    from asyncnb._kernel.cells.background import BackgroundCells

#: The options that are about the task, and not about each item.
_OF_THE_TASK = (
    *("magic", "name", "group", "again", "wait", "notify", "show", "trace", "profile", "quiet"),
    *("after", "after_any", "even_if_failed", "follow"),
)


def launch_map(cells: BackgroundCells, magic: str, body: str, line: MapLine) -> None:
    """Compile the cell, evaluate its items and launch the run; raise before anything has started.

    A cell that starts after others evaluates them when it starts. Raises UsageError for options
    that make no sense, and whatever the expression raises.
    """
    args, ip = line.options, cells.ip
    name = task_name(args.name, MAGIC) if args.name is not None else f"cell{cell_number(ip)}"
    on = args.on
    if on == "kernel":
        raise UsageError(f"{MAGIC} --on kernel: items run on the embedded loop. Omit --on.")
    cell = compile_function(
        ip,
        body,
        line.target,
        # Not the number of the cell: in the next kernel, the same cell has another one, and a save
        # file knows it by this name.
        name=name if args.name is not None and name.isidentifier() else "item",
        magic=magic,
        sent=cells.output.source(),
        as_async=on == "loop" or not THREADS,
    )
    _check_place(cell, on)
    # Whatever else a cell may ask for is as in %%atask; what is about each item is the run's.
    asked = atask_parser("%%atask").parse([])
    for option in _OF_THE_TASK:
        setattr(asked, option, getattr(args, option))
    cells.launcher.launch(_body(cells, cell, line, name), asked)


def _check_place(cell: CellFunction, on: str | None) -> None:
    if on == "thread" and cell.awaits:
        raise UsageError(
            f"{MAGIC} --on thread: this cell awaits, and a worker thread has no loop. Omit --on to "
            "run it on the embedded loop."
        )
    if on in ("thread", "process") and not THREADS:
        raise UsageError(
            f"{MAGIC} --on {on} needs a thread or a process, and this Python (Pyodide, in a "
            "browser) can start neither. Omit --on to run the cell on the loop."
        )


def _run_of(
    cells: BackgroundCells, cell: CellFunction, line: MapLine, name: str, items: Any
) -> MapRun[Any, Any]:
    """Return the run, not started; UsageError for options that ``asyncnb.map`` refuses."""
    args = line.options
    on = args.on if args.on not in ("loop", "thread") else None
    try:
        run: MapRun[Any, Any] = cells.make_map(
            cell.function,
            items,
            limit=args.calls,
            rate=_value(cells, "rate", args.pace),
            retry=_value(cells, "retry", args.retry),
            timeout=args.timeout,
            save=_file(cells, args.save),
            progress=None if args.quiet else name,
            name=name,
            on=None if on is None else _place(cells, on),
            on_error=args.on_error,
        )
    except (TypeError, ValueError, OSError) as exc:
        raise UsageError(f"{MAGIC}: {exc}") from None
    except SaveError as exc:
        raise _refused_file(args.save, exc) from None
    run._wanted = True  # the cell says what it says if it is not started
    return run


def _file(cells: BackgroundCells, given: str | None) -> Any:
    """Return the save file: a path, or the variable of that name if it is an ``asyncnb.Save``."""
    value = cells.ip.user_ns.get(given)
    if value is not None:
        from asyncnb._core.mapping.save import Save  # there can be one

        if isinstance(value, Save):
            return value
    return given


def _refused_file(given: str, exc: SaveError) -> UsageError:
    hint = " --save takes a variable that holds one." if "asyncnb.Save(" in str(exc) else ""
    return UsageError(f"{MAGIC} --save {given}: {exc}{hint}")


def _value(cells: BackgroundCells, option: str, given: Any) -> Any:
    """Return what an option says; the variable of that name if there is one."""
    if not isinstance(given, str):
        return given
    if given in cells.ip.user_ns:
        return cells.ip.user_ns[given]
    if option == "retry":
        raise UsageError(
            f"{MAGIC} --retry {given}: there is no variable {given!r}."
            f"{did_you_mean(given, cells.ip.user_ns)}"
        )
    return given


def _place(cells: BackgroundCells, on: str) -> Any:
    if on in TARGETS:
        return on
    if on not in cells.ip.user_ns:
        raise UsageError(
            f"{MAGIC} --on {on}: that is not loop, thread or process, and there is no variable "
            f"{on!r}.{did_you_mean(on, (*TARGETS, *cells.ip.user_ns))}"
        )
    return cells.ip.user_ns[on]


def _body(cells: BackgroundCells, cell: CellFunction, line: MapLine, name: str) -> Body:
    """Return what the task of the cell runs: once, because each task has a run of its own."""
    args, ip = line.options, cells.ip
    code = compile(line.expression, f"<{MAGIC}>", "eval", ip.compile.flags, dont_inherit=True)
    find_items = functools.partial(_evaluate, code, ip)
    later = bool(args.after or args.after_any)
    run = _run_of(cells, cell, line, name, () if later else find_items())
    if later:
        run._items_come_later()
    if args.out is not None:
        run._on_results = functools.partial(ip.user_ns.__setitem__, args.out)

    def prepare(record: TaskRecord, now: bool) -> Callable[[], None]:
        try:
            run._prepare_as(record, now=now)
        except SaveError as exc:
            raise _refused_file(args.save, exc) from None
        return run._discard

    async def start(record: TaskRecord) -> Any:
        if later:
            await _take_items(run, find_items, line)
        return await run._run_as(record)

    return Body(
        start=start,
        kind="loop",
        name=name,
        shows_result=False,  # the bar says how many there are
        bound=run._launched_as,
        prepare=prepare,
        renew=lambda: _body(cells, cell, line, name),
    )


async def _take_items(run: MapRun[Any, Any], find_items: Callable[[], Any], line: MapLine) -> None:
    """Evaluate the expression once all is done that the cell starts after.

    In a thread, as code of cells that does not await: it may block.
    """
    try:
        if THREADS:
            items = await Worker(find_items, embedded_loop()).run()
        else:
            items = find_items()
        run._take_items(items)
    except Exception as exc:
        exc.add_note(f"{MAGIC}: raised for the expression after `in`: {line.expression}")
        raise


def _evaluate(code: CodeType, ip: InteractiveShell) -> Any:
    try:
        return eval(code, ip.user_global_ns, ip.user_ns)
    except Exception as exc:
        # Without the frame of the expression itself, whose one line is in no file.
        found = exc.__traceback__
        while found is not None:
            inside, found = found.tb_frame.f_code, found.tb_next
            if inside is code:
                break
        exc.__traceback__ = found
        raise
