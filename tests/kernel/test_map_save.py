"""`map(save=...)` in notebooks: what survives an interrupt and the death of the kernel."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.driver import Cell, Kernel

FETCH = """
async def fetch(number):
    with open("log", "a") as file:
        file.write(f"{number}\\n")
    if number >= last:
        print("stuck", flush=True)
        await asyncio.Event().wait()
    return {"n": number}
"""
CALLS = """
results = await asyncnb.map(fetch, range(30), limit=3, save="run.db", progress="calls")
len(results), results[29]
"""


def three_are_stuck(cell: Cell) -> bool:
    return cell.stdout.count("stuck") == 3


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_kernel_and_an_interrupt_lose_nothing_and_the_same_cells_continue(
    kernel: Kernel, start_kernel: Callable[..., Kernel], tmp_path: Path
) -> None:
    def calls() -> list[int]:
        return sorted(int(line) for line in (tmp_path / "log").read_text().split())

    other = start_kernel()
    for each in (kernel, other):
        each.ok(f"import os; os.chdir({str(tmp_path)!r})\nlast = 10" + FETCH)
    other.submit(CALLS).wait_for(three_are_stuck)
    assert calls() == [*range(13)]

    for code in (CALLS, "asyncnb.map(fetch, range(30), save='run.db').start()"):
        refused = kernel.run(code)
        assert refused.error is not None
        assert refused.error.ename == "SaveError"
        assert f"in use by the run 'calls' of process {other.pid}, since" in refused.error.evalue
    assert kernel.evaluate("asyncnb.tasks()") == []
    assert kernel.evaluate("asyncnb.Save('run.db').counts().done") == 10

    os.kill(other.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(other.pid, 0)  # until the system has ended it, it holds the lock
    kernel.ok("last = 20")
    cell = kernel.submit(CALLS)
    cell.wait_for(three_are_stuck)
    assert "run.db: 10 done already" in cell.stdout
    kernel.interrupt()
    stopped = cell.wait().error
    assert stopped is not None
    assert stopped.ename == "KeyboardInterrupt"

    kernel.ok("last = 99")
    cell = kernel.ok(CALLS)
    assert "run.db: 20 done already" in cell.stdout
    assert cell.result == "(30, {'n': 29})"
    assert calls() == sorted([*range(30), 10, 11, 12, 20, 21, 22])
    assert sorted(os.listdir(tmp_path)) == ["log", "run.db"]


def test_a_changed_function_is_noticed_in_the_cell(kernel: Kernel, tmp_path: Path) -> None:
    path = str(tmp_path / "run.db")
    run = f"await asyncnb.map(double, [1, 2], save={path!r})"
    double = "async def double(number):\n    return {} * number\n"
    assert kernel.ok(double.format(2) + run).result == "[2, 4]"
    same = kernel.ok("# the same, with a comment\n\n" + double.format(2) + run)
    assert "has changed" not in same.stdout
    changed = kernel.ok(double.format(3) + run)
    assert "double has changed since 2 of these were saved" in changed.stdout
    assert changed.result == "[2, 4]"
    assert kernel.ok(f"asyncnb.Save({path!r}).clear('changed')\n" + run).result == "[3, 6]"
    other = kernel.run(
        double.replace("double", "triple").format(3) + run.replace("double", "triple")
    )
    assert "holds outcomes of __main__.double, not of __main__.triple" in other.error.evalue
