"""What libraries say in a task: bars, rich text, loggers; each in the task's own cell."""

from __future__ import annotations

import pytest

CLOSED = "gate = asyncio.Event()"


def in_task(kernel, body):
    """Run a body as a task that waits in its middle, while another cell prints."""
    kernel.ok(CLOSED)
    cell = kernel.ok("%%atask speaker\n" + body)
    other = kernel.ok("print('other cell')")
    kernel.ok("gate.set()\nawait asyncio.wait([speaker], timeout=20);")
    kernel.drain()
    assert not cell.errors, cell.errors[0].traceback
    assert other.text == "other cell\n"
    return cell


def test_a_tqdm_bar_stays_below_its_cell(kernel):
    pytest.importorskip("tqdm")
    cell = in_task(
        kernel,
        """
from tqdm import tqdm
for i in tqdm(range(4), desc="bar", mininterval=0):
    if i == 2:
        await gate.wait()
""",
    )
    assert "bar: 100%" in cell.stderr and "4/4" in cell.stderr
    assert kernel.where("bar:") == [cell]


def test_a_tqdm_bar_of_asynchronous_work_stays_below_its_cell(kernel):
    pytest.importorskip("tqdm")
    cell = in_task(
        kernel,
        """
from tqdm.asyncio import tqdm
async def work(i): await gate.wait()
await tqdm.gather(*map(work, range(3)), desc="many", mininterval=0)
""",
    )
    assert "many: 100%" in cell.stderr
    assert kernel.where("many:") == [cell]


def test_rich_knows_that_it_is_in_a_notebook(kernel):
    pytest.importorskip("rich")
    cell = in_task(
        kernel,
        """
await gate.wait()  # no cell runs: what rich asks for is a builtin only while one does
import rich
rich.print("[bold]spoken[/bold] by rich")
""",
    )
    [shown] = [data for data in cell.displays if "text/html" in data]
    assert "spoken" in shown["text/html"] and "font-weight: bold" in shown["text/html"]
    assert "\x1b[" not in shown["text/html"]


def test_a_handler_made_in_another_cell_logs_below_the_cell_of_the_task(kernel):
    kernel.ok(
        """
        import logging
        shared = logging.getLogger("shared")
        shared.setLevel("INFO")
        shared.propagate = False
        shared.addHandler(logging.StreamHandler())
        """
    )
    cell = in_task(
        kernel,
        'shared.info("before")\nawait gate.wait()\n'
        'shared.info("after")\nawait asyncio.to_thread(shared.info, "in a thread")',
    )
    assert cell.stderr == "before\nafter\nin a thread\n"
