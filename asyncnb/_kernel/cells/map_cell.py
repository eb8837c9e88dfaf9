"""Launches a ``%%amap`` cell: its code is called for each item, as one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from asyncnb._core.base.errors import THREADS, ItemsFailedError, did_you_mean
from asyncnb._kernel.arguments import TARGETS, atask_parser, task_name
from asyncnb._kernel.cells.function import CellFunction, compile_function
from asyncnb._kernel.cells.launcher import Body
from asyncnb._kernel.current_cell import cell_number
from asyncnb._kernel.map_arguments import MAGIC, MapLine

if TYPE_CHECKING:
    from asyncnb._core.launched.record import TaskRecord
    from asyncnb._core.mapping.run import MapRun
    from asyncnb._kernel.cells.background import BackgroundCells


def launch_map(cells: BackgroundCells, magic: str, body: str, line: MapLine) -> None:
    """Compile the cell, evaluate its items and launch the run; raise before anything has started.

    Raises UsageError for options that make no sense, and whatever the expression raises.
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
    run = _run_of(cells, cell, line, name)
    _launch(cells, run, cell, line, name)


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
    cells: BackgroundCells, cell: CellFunction, line: MapLine, name: str
) -> MapRun[Any, Any]:
    """Return the run, not started; UsageError for options that ``asyncnb.map`` refuses."""
    args, ip = line.options, cells.ip
    on = args.on if args.on not in ("loop", "thread") else None
    code = compile(line.expression, f"<{MAGIC}>", "eval", ip.compile.flags, dont_inherit=True)
    items = eval(code, ip.user_global_ns, ip.user_ns)
    try:
        run: MapRun[Any, Any] = cells.make_map(
            cell.function,
            items,
            limit=args.calls,
            rate=_value(cells, "rate", args.pace),
            retry=_value(cells, "retry", args.retry),
            timeout=args.timeout,
            save=args.save,
            progress=None if args.quiet else name,
            name=name,
            on=None if on is None else _place(cells, on),
            on_error=args.on_error,
        )
        return run
    except (TypeError, ValueError, OSError) as exc:
        raise UsageError(f"{MAGIC}: {exc}") from None


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
            f"{MAGIC} --on {on}: that is none of loop, thread, process, and there is no variable "
            f"{on!r}.{did_you_mean(on, (*TARGETS, *cells.ip.user_ns))}"
        )
    return cells.ip.user_ns[on]


def _launch(
    cells: BackgroundCells, run: MapRun[Any, Any], cell: CellFunction, line: MapLine, name: str
) -> None:
    options, ip = line.options, cells.ip
    # Whatever else a cell may ask for is as in %%atask; what is about each item is the run's.
    args = atask_parser("%%atask").parse([])
    for option in ("name", "group", "again", "wait", "show", "trace", "profile", "quiet"):
        setattr(args, option, getattr(options, option))

    async def body(record: TaskRecord) -> Any:
        try:
            return await run._run_as(record)
        except ItemsFailedError:
            if options.out is not None:
                ip.user_ns[options.out] = run._results_so_far()
            raise

    code = Body(
        start=body,
        kind="loop",
        name=name,
        bind=options.out,
        shows_result=False,  # the bar says how many there are
        bound=run._launched_as,
    )
    cells.launcher.launch(code, args)
