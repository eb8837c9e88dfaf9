"""Widgets in a kernel without a browser: how tasks are displayed, and clicks while a cell runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.driver import Cell, Kernel

WIDGET = "application/vnd.jupyter.widget-view+json"

DASHBOARD = """
import asyncio, asyncnb, time
dashboard = asyncnb.dashboard()
comm = dashboard.comm.comm_id
"""


def click(kernel: Kernel, comm: str, **command: Any) -> Cell:
    """Send what the browser sends for a click."""
    data = {"method": "custom", "content": command}
    return kernel._request("comm_msg", {"comm_id": comm, "data": data})


def bundle(cell: Cell) -> dict[str, Any]:
    return dict(cell.of_type("execute_result", "display_data")[-1]["data"])


def test_a_task_is_displayed_as_a_chip_with_a_line_of_text_behind_it(kernel: Kernel) -> None:
    shown = bundle(
        kernel.ok("import asyncio, asyncnb\nasyncnb.launch(asyncio.sleep(60), name='<b>')")
    )
    assert shown["text/plain"].startswith("Task '<b>': ")
    assert "<b>" not in shown["text/html"]
    assert shown[WIDGET]["model_id"]
    kernel.ok("asyncnb.cancel('*')")


def test_a_chip_is_shown_on_demand_in_the_cell_that_launches(kernel: Kernel) -> None:
    shown = bundle(kernel.ok("%%atask quick --show\n1 + 1;"))
    assert WIDGET in shown
    assert shown["text/plain"].startswith("Task 'quick': ")


@pytest.mark.parametrize(
    "magic",
    [
        "%%atask quick --show",
        "%%atask quick --show",  # runs again
        "%%atask quick --show -o var",
        "%%atask quick --show --quiet",
        "%%atask quick --show --wait",
        "%%atask quick --show --on loop",
        "%%atask quick --show --on process",
        "%%agroup quick_group --show",
    ],
)
def test_a_chip_is_above_all_that_its_task_prints_at_once(kernel: Kernel, magic: str) -> None:
    cell = kernel.submit(f"{magic}\nprint('first')")
    cell.wait()
    cell.wait_for("first\n")
    kernel.ok("%tasks wait")
    outputs = cell.of_type("display_data", "stream")
    assert WIDGET in outputs[0]["data"], cell
    assert "".join(each.get("text", "") for each in outputs).endswith("first\n")


def test_without_a_person_a_task_is_one_line_and_no_widget(fresh_kernel: Kernel) -> None:
    cell = fresh_kernel.ok(
        "import asyncio, asyncnb, sys\nasyncnb.launch(asyncio.sleep(60), name='job')",
        allow_stdin=False,
    )
    [result] = cell.of_type("execute_result")  # then comes the place for what the task will say
    assert set(result["data"]) == {"text/plain", "text/html"}
    assert fresh_kernel.evaluate("'anywidget' in sys.modules") is False


def test_a_dashboard_stands_for_a_table_where_no_widget_can_be_shown(kernel: Kernel) -> None:
    kernel.ok("%%atask over\n1")
    kernel.ok("%tasks wait")
    shown = bundle(kernel.ok("%tasks live"))
    assert WIDGET in shown
    assert "over" in shown["text/plain"] and "done" in shown["text/plain"]
    assert "<table" in shown["text/html"]


def test_the_table_for_a_dashboard_says_how_many_tasks_are_inside(kernel: Kernel) -> None:
    kernel.ok(
        "import asyncio, asyncnb\nchildren = asyncio.Event()\nasync def crawl():\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        for n in range(20): group.create_task(asyncio.sleep(60), name=f'page {n}')\n"
        "        children.set()\n"
        "asyncnb.launch(crawl(), name='crawl B');"
    )
    kernel.ok("await children.wait()")
    shown = bundle(kernel.ok("asyncnb.dashboard()"))
    assert "▸ 20 inside" in shown["text/plain"]
    assert "▸ 20 inside" in shown["text/html"]
    kernel.ok("asyncnb.cancel('*')")


@pytest.mark.parametrize("block", ["time.sleep(0.01)", "sum(range(1000))"])
def test_a_click_is_heard_while_a_cell_blocks_the_main_thread(kernel: Kernel, block: str) -> None:
    kernel.ok(DASHBOARD)
    if not kernel.evaluate("hasattr(get_ipython().kernel, 'shell_channel_thread')"):
        pytest.skip("ipykernel 6 hears it after the cell")
    kernel.ok("task = asyncnb.launch(asyncio.Event().wait(), name='patient')\nid = task.info().id")
    comm, id = kernel.evaluate("(comm, id)")
    cell = kernel.submit(f"print('blocks')\nwhile not task.done():\n    {block}\nprint('over')")
    cell.wait_for("blocks")
    asked = click(kernel, comm, c="cancel", n="1", id=id)
    assert cell.wait().stdout == "blocks\nover\n"
    asked.wait_for(lambda each: each.idle)
    kernel.drain()
    assert cell.idle


def test_a_click_lets_the_cell_that_awaits_go_on_as_a_task(kernel: Kernel) -> None:
    kernel.ok(DASHBOARD + "gate = asyncio.Event()")
    if not kernel.evaluate("hasattr(get_ipython().kernel, 'shell_channel_thread')"):
        pytest.skip("ipykernel 6 hears it after the cell")
    comm = kernel.evaluate("comm")
    cell = kernel.submit("print('waits')\nawait gate.wait()\nprint('went on')")
    cell.wait_for("waits")
    click(kernel, comm, c="background", n="1")
    cell.wait()
    assert cell.status == "ok"
    kernel.ok("asyncnb.embedded_loop().call_soon_threadsafe(gate.set);")
    cell.wait_for("went on")


def test_two_clicks_that_are_the_same_are_one(kernel: Kernel) -> None:
    kernel.ok(DASHBOARD)
    kernel.ok("task = asyncnb.launch(asyncio.Event().wait(), name='a')\nid = task.info().id")
    comm, id = kernel.evaluate("(comm, id)")
    for name in ("b", "b", "c", "nonsense*"):
        click(kernel, comm, c="rename", n=f"1{name}", id=id, name=name)
    click(kernel, comm, c="cancel", n="2", id=id)
    kernel.ok("try: task.join(10)\nexcept asyncio.CancelledError: pass")
    assert kernel.evaluate("task.get_name()") == "c"


def test_messages_that_make_no_sense_harm_nobody(kernel: Kernel) -> None:
    kernel.ok(DASHBOARD)
    comm = kernel.evaluate("comm")
    content: Any
    for content in (None, 1, "x", [], {"c": "cancel"}, {"c": {}}, {"c": "cancel", "id": "x"}):
        data = {"method": "custom", "content": content}
        kernel._request("comm_msg", {"comm_id": comm, "data": data})
    kernel._request("comm_msg", {"comm_id": comm, "data": None})
    kernel._request("comm_msg", {"comm_id": "nobody's", "data": {}})
    assert kernel.evaluate("1 + 1") == 2


def test_unloading_gives_the_shell_channel_back(fresh_kernel: Kernel) -> None:
    fresh_kernel.ok(DASHBOARD)
    names = "[n for n in vars(get_ipython().kernel) if n == 'shell_channel_thread_main']"
    has_thread = fresh_kernel.evaluate("hasattr(get_ipython().kernel, 'shell_channel_thread')")
    assert len(fresh_kernel.evaluate(names)) == (1 if has_thread else 0)
    fresh_kernel.ok("%unload_ext asyncnb")
    assert fresh_kernel.evaluate(names) == []
    fresh_kernel.ok("%load_ext asyncnb\nasyncnb.dashboard()")
