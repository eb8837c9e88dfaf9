"""A summary from a real kernel: what a page draws prompts, bars and a badge from."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.control import ControlClient
from tests.kernel.driver import Kernel


class Page:
    """A page with a hidden panel; `summary` is the newest one that it was sent."""

    def __init__(self, client: ControlClient) -> None:
        self.client = client
        self.id = client.subscribe("summary")
        self.summary = client.message(self.id, "summary")
        self.seen = 1

    def until(self, holds: Any) -> dict[str, Any]:
        """Read summaries until one is as asked for."""
        while not holds(self.summary):
            self.summary = self.client.message(self.id, "summary")
            self.seen += 1
            self.client.ok(c="seen", comm_id=self.id, messages=self.seen)
        return self.summary

    def cell(self, id: str, **facts: Any) -> dict[str, Any]:
        """Read until this cell is as asked for; return its facts."""
        summary = self.until(lambda s: facts.items() <= dict(s["cells"]).get(id, {}).items())
        return dict(dict(summary["cells"])[id])


@pytest.fixture
def page(kernel: Kernel):
    with ControlClient(kernel) as client:
        page = Page(client)
        yield page
        client.ok(c="unsubscribe", comm_id=page.id)


def test_cells_tasks_and_failures_while_cells_run_and_block(kernel: Kernel, page: Page) -> None:
    failures = page.summary["failures"]
    kernel.ok("gate, go = asyncio.Event(), threading.Event()")
    kernel.ok("%%atask crawl\nawait gate.wait()", cell_id="background")
    facts = page.cell("background", state="running")
    assert (facts["running"], facts["name"], facts["kind"]) == (1, "crawl", "background")
    # While a cell blocks the main thread.
    blocking = kernel.submit("go.wait()", cell_id="blocks")
    assert page.client.ok(c="cancel_all")["text"] == "cancellation requested for 1 task"
    assert page.cell("background", state="cancelled")["running"] == 0
    assert page.client.ok(c="stop_cell", cell_id="blocks")["text"] == "interrupting the cell"
    assert [e.ename for e in blocking.wait().errors] == ["KeyboardInterrupt"]
    # While a cell awaits.
    awaiting = kernel.submit("await gate.wait()", cell_id="awaits")
    page.until(lambda summary: summary["awaiting"] == "awaits")
    assert "The cell is already" not in page.client.ok(c="background")["text"]
    assert page.cell("awaits", state="running")["name"].startswith("cell")
    assert awaiting.wait().status == "ok"
    page.until(lambda summary: summary["awaiting"] is None)
    kernel.ok("gate.set()")
    page.cell("awaits", state="done")
    # A failure, a group, calls, and a task that blocks the loop.
    kernel.ok("%%atask bad\n1/0", cell_id="fails")
    page.cell("fails", state="failed")
    assert page.summary["failures"] == failures + 1
    kernel.ok("gate.clear(); release = threading.Event()")
    kernel.ok(
        "%%agroup pages\nfor _n in range(3):\n    asyncnb.launch(gate.wait())", cell_id="group"
    )
    kernel.ok(
        "async def _call(n):\n    if n: await gate.wait()\n"
        "_run = asyncnb.map(_call, range(4), name='calls').start()",
        cell_id="map",
    )
    facts = page.cell("map", done=1)
    assert (facts["total"], facts["kind"], facts["name"]) == (4, "map", "calls")
    kernel.ok("%%atask hog\nawait asyncio.sleep(0)\nwhile not release.is_set(): time.sleep(0.01)")
    page.until(lambda summary: (summary["blocked"] or {}).get("name") == "hog")
    kernel.ok("release.set(); gate.set()")
    page.until(lambda summary: summary["counts"]["running"] == 0 and not summary["blocked"])
    assert page.summary["failures"] == failures + 1
