"""Prepares a cell to run in another process: what is sent with it, what is returned."""

from __future__ import annotations

import ast
import builtins
import dis
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from IPython.core.error import UsageError

from asyncnb._core.base.errors import did_you_mean
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.primitives.threads import to_thread
from asyncnb._kernel.cells.compiled import BackgroundCell
from asyncnb._kernel.cells.free_names import names_needed

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Names that every notebook has and that have a meaning only in the kernel.
_NOTEBOOK_BUILTINS = frozenset({"In", "Out", "exit", "quit", "open", "get_ipython", "display"})


class CellRunner(Protocol):
    """What runs cells outside of the kernel: an engine, as ``_offload`` makes them."""

    kind: str
    in_process: bool

    def run_here(self, record: TaskRecord, call: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that runs a call, or the coroutine it returns, in this process."""

    def pack_cell(self, **parts: Any) -> bytes:
        """Return a cell as bytes, or raise an error that says what cannot be sent."""

    def run_job(self, record: TaskRecord, kind: str, payload: bytes) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that runs a job and returns its result."""


def names_in(cell: BackgroundCell) -> tuple[set[str], set[str]]:
    """Return the global names that the cell and its functions read, and those that it binds."""
    read, bound = set(), set()
    for code in (cell.body, cell.last):
        for part in () if code is None else _all_code(code):
            top = part is code
            for instruction in dis.get_instructions(part):
                if instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
                    read.add(instruction.argval)
                elif instruction.opname == "STORE_GLOBAL" or (
                    top and instruction.opname == "STORE_NAME"
                ):
                    bound.add(instruction.argval)
    return read, bound


def _imports(cell: BackgroundCell, package: str) -> bool:
    return any(
        name.partition(".")[0] == package
        for code in (cell.body, cell.last)
        if code is not None
        for part in _all_code(code)
        for name in part.co_names
    )


def _all_code(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _all_code(constant)


def prepare_remote(
    ip: InteractiveShell,
    runner: CellRunner,
    cell: BackgroundCell,
    *,
    given: list[str] | None,
    out: list[str],
    profile: bool = False,
) -> tuple[Callable[[TaskRecord], Coroutine[Any, Any, Any]], str | None, str]:
    """Pack ``cell`` with the names it needs; return what starts it, its result's name, and a line.

    The line says what is sent.

    ``given`` names what is sent along (None: the existing names that it reads), ``out`` what is
    returned: a name that the cell binds, or one for the value of its last expression. With
    ``profile`` the cell is sampled where it runs. Raises UsageError for a name that does not exist
    or cannot be returned, and what ``pack_cell`` raises.
    """
    names = _names_to_send(ip, cell, given)
    back, for_result = names_to_return(cell, out)
    read, _ = names_in(cell)
    payload = runner.pack_cell(
        notebook=bool(read & {"display", "get_ipython"}) or _imports(cell, "matplotlib"),
        body=cell.body,
        last=cell.last,
        file=cell.file,
        source=cell.source,
        names=names,
        out=back,
        namespace=ip.user_global_ns,
        profile=profile,
    )

    async def start(record: TaskRecord) -> Any:
        value, found = await runner.run_job(record, "cell", payload)
        ip.user_ns.update(found)
        return value

    return start, for_result, _announcement(runner, names)


def prepare_later(
    ip: InteractiveShell,
    runner: CellRunner,
    cell: BackgroundCell,
    *,
    out: list[str],
    quiet: bool,
    **more: Any,
) -> tuple[Callable[[TaskRecord], Coroutine[Any, Any, Any]], str | None]:
    """As ``prepare_remote``, but pack the cell when it starts: it may read what others bind first.

    Raises UsageError now for a name that cannot be returned; other errors end the task.
    """
    _, for_result = names_to_return(cell, out)

    async def start(record: TaskRecord) -> Any:
        # Not on the loop, which other tasks need: packing a large table takes a while.
        packed = await to_thread(prepare_remote, ip, runner, cell, out=out, **more)
        if not quiet:
            print(packed[2])
        return await packed[0](record)

    return start, for_result


def names_to_return(cell: BackgroundCell, out: list[str]) -> tuple[list[str], str | None]:
    """Return the names that the cell binds of ``out``, and the one for the value of its last line.

    Raises UsageError for a name that cannot be returned.
    """
    _, bound = names_in(cell)
    for_result = [name for name in out if name not in bound]
    if for_result and (cell.last is None or len(for_result) > 1):
        raise UsageError(
            f"%%atask -o {for_result[-1]}: the cell assigns no such name, so none can be returned."
            f"{did_you_mean(for_result[-1], bound)}"
        )
    if cell.file is None:
        raise UsageError("%%atask: this cell has no source that could be sent.")
    return [name for name in out if name in bound], for_result[0] if for_result else None


def _names_to_send(
    ip: InteractiveShell, cell: BackgroundCell, given: list[str] | None
) -> dict[str, Any]:
    namespace = ip.user_ns
    if given is None:
        read, _ = names_in(cell)
        # A name that the cell binds first need not be sent, and perhaps could not be: the file of
        # `with open(...) as file`, when an earlier cell has used that name too.
        source = ip.transform_cell(cell.text)
        read &= names_needed(ast.parse(source).body)
        wanted = sorted(
            name
            for name in read & namespace.keys()
            if name not in _NOTEBOOK_BUILTINS
            and not name.startswith("_")
            and not _is_builtin(name, ip)
        )
        return {name: namespace[name] for name in wanted}
    for name in given:
        if name not in namespace:
            raise UsageError(
                f"%%atask --in {name}: no variable {name!r}.{did_you_mean(name, namespace)}"
            )
    return {name: namespace[name] for name in given}


def _is_builtin(name: str, ip: InteractiveShell) -> bool:
    return getattr(builtins, name, ip) is ip.user_ns[name]


def _announcement(runner: CellRunner, names: dict[str, Any]) -> str:
    modules = [name for name, value in names.items() if isinstance(value, types.ModuleType)]
    others = [f"{name} ({type(names[name]).__name__})" for name in names if name not in modules]
    with_it = ", ".join(others) or "no variables"
    imported = f"; imported there: {', '.join(modules)}" if modules else ""
    return f"to {runner.kind}, with {with_it}{imported}"
