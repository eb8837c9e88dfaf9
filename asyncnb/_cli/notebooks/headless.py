"""One headless run of a notebook: its cells, then its background tasks, then the kernel's end."""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncnb._cli.notebooks.errors import KernelStartError
from asyncnb._client.errors import RefusedError
from asyncnb._core.base.text import count

if TYPE_CHECKING:
    from asyncnb._cli.notebooks.nbclient import KeepingClient

#: Seconds that tasks have after a cancel to clean up.
GRACE: Final = 20.0
#: Seconds that a cell has after each interrupt. ipykernel loses one that arrives between a request
#: and its code.
INTERRUPTS: Final = (2.0, 8.0, 10.0)
#: Seconds between two looks at the tasks: the shortest and the longest.
LOOKS: Final = (0.05, 0.5)
#: Seconds after which to ask again whether asyncnb is loaded: ipykernel does not answer if a comm
#: was created in the same moment.
ASK_AGAIN: Final = 2.0
#: Seconds between two sentences on tasks that are waited for.
REPORTS: Final = 2.0
#: The most names in a sentence.
MAX_NAMES: Final = 10
#: Later than any task has ended: ``since`` of those that live.
FUTURE: Final = 1e11

#: A line that loads asyncnb, by magic or by call, and is no comment.
_LOADS = re.compile(r"^[^#\n]*load_ext(ension)?\b[\s'\",(]+asyncnb\b", re.MULTILINE)
_LINE = re.compile(r"Cell In\[(\d+)\], line (\d+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass
class Failure:
    """A cell or a task that has failed."""

    name: str | None  # of the task, None for a cell
    index: int | None  # of its cell in the notebook, from 0
    cell: int | None  # the same among the cells with code, from 1
    line: int | None  # of that cell, from 1
    source: str  # that line
    error: str  # type and message

    def sentence(self) -> str:
        """Return what is shown of it."""
        place = f"cell {self.cell}" if self.cell else "a cell that is not in the notebook"
        if self.line:
            place += f", line {self.line}"
        what = place if self.name is None else f"task {self.name!r} ({place})"
        return f"{what} failed: {self.error}" + (f"\n{self.source}" if self.source else "")


@dataclass
class Outcome:
    """What a run has come to."""

    total: int = 0  # cells with code
    done: int = 0  # of these, executed without an error
    tasks: int = 0
    cell: Failure | None = None
    failures: dict[int, Failure] = field(default_factory=dict)  # of tasks, by id
    #: Failed tasks that the kernel has forgotten before they were seen.
    unlisted: int = 0
    cancelled: list[str] = field(default_factory=list)
    more_cancelled: int = 0
    status: str = "done"  # or failed, timeout, interrupted, died

    def settle(self) -> None:
        """Set ``status`` from what has failed, if nothing else has ended the run."""
        if self.status == "done" and (self.cell or self.failures or self.unlisted):
            self.status = "failed"


class HeadlessRun:
    """Runs ``notebook``. One event loop; to be run once.

    ``report`` is called with sentences on the progress, ``save`` after each cell.
    """

    def __init__(
        self,
        client: KeepingClient,
        *,
        timeout: float | None,
        wait: bool,
        report: Callable[[str], None],
        save: Callable[[], None],
    ) -> None:
        self.client = client
        self.outcome = Outcome()
        self._timeout = math.inf if timeout is None else timeout
        self._wait = wait
        self._report = report
        self._save = save
        self._cell: asyncio.Future[None] | None = None
        self.started = False
        self._broken = False  # the kernel does not listen any more
        self._ever = 0  # how many tasks have failed, whether they are listed or not
        self._failed: dict[int, dict[str, Any]] = {}  # by id

    async def run(self, env: Mapping[str, str]) -> Outcome:
        """Run the cells and wait for the tasks; return what has come of it.

        A cancel of this coroutine interrupts the cell and cancels the tasks, and is an outcome, no
        exception. Raises KernelStartError.
        """
        from nbclient.exceptions import DeadKernelError

        outcome = self.outcome
        try:
            try:
                await self._run(env)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()
                outcome.status = "interrupted"
                await self._abandon()
            except TimeoutError:
                outcome.status = "timeout"
                await self._abandon()
            await self._drain()
        except DeadKernelError:
            outcome.status, self._broken = "died", True
        finally:
            try:
                await self.client.stop(now=self._broken or not self.started)
            except BaseException:
                await self.client.stop(now=True)
                raise
        outcome.settle()
        return outcome

    async def _run(self, env: Mapping[str, str]) -> None:
        await self._start(env)
        self._until = asyncio.get_running_loop().time() + self._timeout
        await self._cells()
        if not await self._loaded():
            return
        if self._wait and self.outcome.cell is None:
            await self._tasks(self._until)
        else:
            await self._cancel_tasks()

    # The kernel.

    async def _start(self, env: Mapping[str, str]) -> None:
        client = self.client
        try:
            info = await client.start(env)
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            raise KernelStartError(_start_sentence(client.kernel_name, exc)) from None
        self.started = True
        language = info.get("language_info") or {}
        client.nb.metadata["language_info"] = language
        if language.get("name") != "python":
            raise KernelStartError(
                f"The kernel {client.kernel_name!r} runs {language.get('name')}, and asyncnb needs "
                "Python."
            )
        if any(_LOADS.search(cell.source) for _, cell in self._with_code()):
            return  # a second time would print a sentence there
        loaded = await client.run_aside("get_ipython().run_line_magic('load_ext', 'asyncnb')")
        if loaded.get("status") != "ok" or not await self._loaded():
            raise KernelStartError(_load_sentence(client, loaded))

    async def _loaded(self) -> bool:
        asked = {"target_name": "asyncnb"}
        while True:
            try:
                async with asyncio.timeout(ASK_AGAIN):
                    reply = await self.client.ask(asked, "comm_info_request")
            except TimeoutError:
                await self.client.check_alive()
                continue
            return bool(reply.get("comms"))

    # Cells.

    def _with_code(self) -> list[tuple[int, Any]]:
        cells = enumerate(self.client.nb.cells)
        return [(i, each) for i, each in cells if each.cell_type == "code" and each.source.strip()]

    async def _cells(self) -> None:
        from nbclient.exceptions import CellExecutionError

        cells = self._with_code()
        self.outcome.total = len(cells)
        for number, (index, cell) in enumerate(cells, 1):
            self._report(f"cell {number} of {len(cells)}")
            # In a separate task: nbclient mistakes a cancel for the death of the kernel.
            self._cell = asyncio.ensure_future(self.client.run_cell(index))
            done, _ = await asyncio.wait({self._cell}, timeout=self._left())
            if not done:
                raise TimeoutError
            try:
                self._cell.result()
            except CellExecutionError as exc:
                self.outcome.cell = self._cell_failure(index, cell, exc.ename, exc.evalue)
                return
            finally:
                self._save()
            self.outcome.done += 1
            if await self._loaded():
                await self._living()

    def _left(self) -> float | None:
        left = self._until - asyncio.get_running_loop().time()
        return None if left == math.inf else max(0.0, left)

    def _cell_failure(self, index: int, cell: Any, ename: str, evalue: str) -> Failure:
        errors = [each for each in cell.outputs if each.output_type == "error"]
        traceback = "\n".join(errors[-1].traceback) if errors else ""
        place, line, source = self._place(traceback)
        if place != index:  # a function of an earlier cell
            line, source = None, ""
        error = _ANSI.sub("", f"{ename}: {evalue}" if evalue else ename)
        return Failure(None, index, self._number_of(index), line, source, error)

    def _place(self, traceback: str) -> tuple[int | None, int | None, str]:
        """Return where a traceback is in a cell, innermost: index, line and source."""
        for number, line in reversed(_LINE.findall(_ANSI.sub("", traceback))):
            index = self._index_of(int(number))
            if index is not None:
                lines = self.client.nb.cells[index].source.splitlines()
                inside = int(line) <= len(lines)
                return index, int(line), lines[int(line) - 1].strip() if inside else ""
        return None, None, ""

    def _index_of(self, number: int) -> int | None:
        """Return the index of the cell that is In[number]."""
        for index, cell in self._with_code():
            if number and cell.get("execution_count") == number:
                return index
        return None

    def _number_of(self, index: int | None) -> int | None:
        """Return a cell's number, as the progress has it."""
        return next((n for n, (each, _) in enumerate(self._with_code(), 1) if each == index), None)

    # Tasks.

    async def _ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        reply = await self.client.ask({"c": verb, "version": 1, **arguments})
        if reply.get("status") != "ok":
            raise RefusedError(str(reply.get("evalue")))
        return reply

    async def _living(self) -> tuple[int, list[str]]:
        """Return how many tasks live, and the names of some."""
        listed = await self._ask("list", since=FUTURE, limit=MAX_NAMES)
        if listed["failures"] != self._ever:
            await self._collect(int(listed["failures"]))
        return int(listed["total"]), [str(task["name"]) for task in listed["tasks"]]

    async def _tasks(self, until: float) -> None:
        """Wait until no task lives; raise TimeoutError at ``until``."""
        listening = asyncio.ensure_future(self.client.listen())
        try:
            pause, shown, reported = LOOKS[0], None, -math.inf
            while True:
                number, names = await self._living()
                if not number:
                    return
                now = asyncio.get_running_loop().time()
                if names != shown and now - reported > REPORTS:
                    shown, reported = names, now
                    self._report(f"waiting for {_named(number, names)}")
                left = until - now
                if left <= 0:
                    raise TimeoutError
                await asyncio.sleep(min(pause, left))
                pause = min(2 * pause, LOOKS[1])
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _cancel_tasks(self) -> None:
        """Cancel the tasks that live, note their names, and give them time to clean up."""
        number, names = await self._living()
        if not number:
            return
        self.outcome.cancelled = names
        self.outcome.more_cancelled = number - len(names)
        self._report(f"cancelling {_named(number, names)}")
        await self._ask("cancel_all")
        try:
            await self._tasks(asyncio.get_running_loop().time() + GRACE)
        except TimeoutError:
            self._report(f"not all tasks have ended within {GRACE:g} s")

    async def _abandon(self) -> None:
        """Stop the running cell, and cancel the tasks."""
        if not self.started:
            return
        cell = self._cell
        if cell is not None and not cell.done():
            self._report("interrupting the cell")
            for seconds in INTERRUPTS:
                await self.client.interrupt()
                await asyncio.wait({cell}, timeout=seconds)
                if cell.done():
                    break
            else:
                self._report(
                    f"the cell has not ended within {sum(INTERRUPTS):g} s; the kernel is killed"
                )
                self._broken = True
                cell.cancel()
                await asyncio.wait({cell})
                return
            cell.exception()  # KeyboardInterrupt, mostly
        if await self._loaded():
            await self._cancel_tasks()

    async def _drain(self) -> None:
        """Note which tasks have failed, and have all that they have shown sent."""
        if self._broken or not self.started or not await self._loaded():
            return
        # The end of a cell waits for tracebacks that are being formatted.
        await self.client.run_aside("pass")
        listed = await self._ask("list", limit=1)
        self.outcome.tasks = int(listed["total"])
        await self._collect(int(listed["failures"]))
        self.outcome.unlisted = max(0, self._ever - len(self._failed))
        for id, task in self._failed.items():
            index = self._index_of(int(task["cell"]))
            if not task.get("retrieved") and not self._may_fail(index):
                self.outcome.failures[id] = await self._task_failure(id, task, index)

    async def _collect(self, ever: int) -> None:
        """Note the tasks that have failed, before the kernel forgets them."""
        self._ever, seen = ever, 0
        while True:
            failed = await self._ask("list", state="failed", limit=1000, offset=seen)
            self._failed |= {int(task["id"]): task for task in failed["tasks"]}
            seen += len(failed["tasks"])
            if not failed["tasks"] or seen >= failed["total"]:
                return

    def _may_fail(self, index: int | None) -> bool:
        """Return whether failures of this cell are expected, by the tag that nbclient knows."""
        tags = () if index is None else self.client.nb.cells[index].metadata.get("tags", ())
        return "raises-exception" in tags

    async def _task_failure(self, id: int, task: Mapping[str, Any], index: int | None) -> Failure:
        traceback = ""
        if len(self.outcome.failures) < MAX_NAMES:  # as many as are shown with their lines
            try:
                described = await self._ask("describe", task=id)
                traceback = str(described["task"].get("traceback") or "")
            except RefusedError:  # it is no longer listed
                pass
        place, line, source = self._place(traceback)
        index = index if place is None else place
        error = str(task.get("error") or task["note"])
        return Failure(str(task["name"]), index, self._number_of(index), line, source, error)


def environment(notebook: Path) -> dict[str, str]:
    """Return the environment of a kernel for ``notebook``: it knows its notebook's path."""
    return dict(os.environ, JPY_SESSION_NAME=str(notebook.resolve()))


def _named(number: int, names: list[str]) -> str:
    more = f" and {number - len(names):,} more" if number > len(names) else ""
    return f"{count(number, 'task')}: {', '.join(names)}{more}"


def _start_sentence(name: str, exc: Exception) -> str:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    if isinstance(exc, NoSuchKernel):
        known = ", ".join(sorted(KernelSpecManager().find_kernel_specs())) or "none"
        return (
            f"There is no kernel named {name or exc.name!r} here. Known kernels: {known}. "
            "Choose one with --kernel-name."
        )
    return f"The kernel {name or 'python3'!r} did not start: {type(exc).__name__}: {exc}"


def _load_sentence(client: KeepingClient, reply: Mapping[str, Any]) -> str:
    manager: Any = client.km
    python = (manager.kernel_spec.argv or ["python"])[0]
    name = client.kernel_name or manager.kernel_name
    if reply.get("ename") == "ModuleNotFoundError":
        return (
            f"asyncnb is not installed where the kernel {name!r} runs. Install it there: "
            f"{python} -m pip install asyncnb"
        )
    return f"asyncnb cannot be loaded in {name!r}: {reply.get('ename')}: {reply.get('evalue')}"
