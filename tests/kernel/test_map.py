"""`asyncnb.map` in cells: what owns a run, where it prints and fails, and what other cells see."""

from __future__ import annotations

import pytest

from tests.kernel.driver import Kernel

DEFINED = """
cleaned = []
gate = asyncio.Event()
async def call(item):
    print("waiting", item)
    try:
        await gate.wait()
    finally:
        cleaned.append(item)
    if item == 7:
        raise ValueError("seven")
    return -item
"""

OWNERS = {
    "awaited": "run = asyncnb.map(call, range(9), limit=2)\nawait run",
    "iterated": "run = asyncnb.map(call, range(9), limit=2)\nasync for _ in run: pass",
    "retried": (
        "run = asyncnb.map(call, range(9), limit=2, on_error='cancel')\n"
        "run.start(); run.cancel()\nawait asyncio.wait([run.task])\nawait run.retry()"
    ),
}


@pytest.mark.parametrize("code", OWNERS.values(), ids=OWNERS)
def test_the_stop_button_ends_the_run_of_the_cell_that_waits(kernel: Kernel, code: str) -> None:
    kernel.ok(DEFINED)
    cell = kernel.submit(code)
    cell.wait_for("waiting 1")
    kernel.interrupt()
    cell.wait()
    assert cell.error is not None and cell.error.ename == "KeyboardInterrupt"
    assert kernel.evaluate("run.done(), run.counts().running, sorted(cleaned)") == (
        True,
        0,
        [0, 1],
    )


def test_the_stop_button_ends_only_the_wait_for_a_run_in_the_background(kernel: Kernel) -> None:
    kernel.ok(DEFINED)
    launching = kernel.ok("run = asyncnb.map(call, range(9), limit=2, name='calls').start()")
    launching.wait_for("waiting 1")
    waiting = kernel.submit("print('here')\nawait run")
    waiting.wait_for("here")
    kernel.interrupt()
    waiting.wait()
    assert waiting.error is not None and waiting.error.ename == "KeyboardInterrupt"
    assert kernel.evaluate("run.counts().running") == 2
    # What it prints is in the cell that launched it, and so is its failure, if no code waits.
    kernel.ok("gate.set()")
    launching.wait_for("ItemsFailedError: 1 of 9 items failed in 'calls'")
    assert "ValueError: seven" in launching.text and "item 7 of 'calls': 7" in launching.text
    assert "waiting 8" in launching.text
    assert kernel.ok("await asyncio.wait([run.task]); len(run.failed)").result == "1"


def test_tasks_shows_one_row_and_the_items_inside_on_request(kernel: Kernel) -> None:
    kernel.ok(DEFINED)
    kernel.ok("run = asyncnb.map(call, range(10_000), limit=200, name='calls').start()").wait_for(
        "waiting 199"
    )
    shown = kernel.ok("%tasks").text
    assert len([line for line in shown.splitlines() if "calls" in line.split()]) == 1
    assert "0/10000" in shown.replace(",", "")
    inside = kernel.ok("%tasks calls/").text
    assert "item 0" in inside and "item 1" in inside
    kernel.ok("%tasks pause calls")
    kernel.ok("gate.set()")
    kernel.ok("while run.counts().running: await asyncio.sleep(0)")
    assert kernel.evaluate("run.counts().done + run.counts().failed") == 200
    assert "paused" in kernel.ok("%tasks").text
    kernel.ok("%tasks resume calls\nrun.limit = 5")
    assert kernel.ok("try: await run\nexcept asyncnb.ItemsFailedError: print('failed')").stdout
    assert kernel.evaluate("run.counts().done") == 9_999
