"""Widgets, comms and IPython's events, awaited in a kernel while its cells block or await."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.driver import Cell, Kernel

WIDGETS = """
import ipywidgets
button, slider = ipywidgets.Button(description="Go"), ipywidgets.IntSlider()
menu = ipywidgets.Dropdown(options="abc")
comms = {name: globals()[name].comm.comm_id for name in ("button", "slider", "menu")}

def observers(*omitted):
    found = {}
    for widget in (button, slider, menu):
        for name, kinds in widget._trait_notifiers.items():
            found[id(widget), name] = [list(each) for each in kinds.values() if each]
        found[id(widget), "messages"] = list(widget._msg_callbacks.callbacks)
        found[id(widget), "comm"] = widget.comm._msg_callback, widget.comm._close_callback
    found["clicks"] = list(button._click_handlers.callbacks)
    found["cells"] = {name: list(each) for name, each in get_ipython().events.callbacks.items()}
    return {key: each for key, each in found.items() if each and key not in omitted}

before = observers()
seen, blocked = [], threading.Event()
"""
CLEAN = "assert observers() == before, (observers(), before)"


CLICK = {"method": "custom", "content": {"event": "click"}}


def update(**state: Any) -> dict[str, Any]:
    return {"method": "update", "state": state, "buffer_paths": []}


def hears_while_blocked(kernel: Kernel) -> bool:
    return bool(kernel.evaluate("hasattr(get_ipython().kernel, 'shell_channel_thread')"))


@pytest.fixture
def ids(kernel: Kernel) -> dict[str, Any]:
    kernel.ok(WIDGETS)
    return dict(kernel.evaluate("comms"))


def to(kernel: Kernel, comm: str, data: dict[str, Any], subshell: str | None = None) -> Cell:
    return kernel._request("comm_msg", {"comm_id": comm, "data": data}, subshell)


def test_a_cell_awaits_a_click_and_a_new_value(kernel, ids):
    cell = kernel.submit(
        "click = asyncio.ensure_future(asyncnb.event(button, timeout=20))\n"
        "value = asyncio.ensure_future(asyncnb.changed(slider, timeout=20))\n"
        "await asyncio.sleep(0)\nprint('waits')\nprint((await click).kind, await value)"
    )
    cell.wait_for("waits")
    answers = [to(kernel, ids["button"], CLICK), to(kernel, ids["slider"], update(value=7))]
    cell.wait()
    assert (cell.status, cell.stdout) == ("ok", "waits\nclick 7\n")
    for answer in answers:
        answer.wait_for(lambda each: each.idle)
    kernel.ok(CLEAN)


@pytest.mark.parametrize(
    "block", ["blocked.wait(20)", "while not blocked.is_set(): sum(range(99))"]
)
def test_a_task_gets_a_click_while_a_cell_blocks(kernel, ids, block):
    kernel.ok(
        "async def wait():\n    found = await asyncnb.event(button)\n"
        "    seen.append(found.value is button)\n    blocked.set()\n"
        "button.on_click(lambda _: seen.append('callback'))\nbefore = observers()\n"
        "task = asyncnb.launch(wait(), name='waiter')"
    )
    assert "click of Button 'Go'" in kernel.ok("%tasks waiter").result
    assert "No deadlock" in kernel.ok("%tasks deadlocks").text
    if not hears_while_blocked(kernel):
        to(kernel, ids["button"], CLICK)
        kernel.ok("task.join(20)")  # as soon as no cell blocks
    else:
        cell = kernel.submit(f"print('blocks')\n{block}\nprint(blocked.is_set(), seen)")
        cell.wait_for("blocks")
        answer = to(kernel, ids["button"], CLICK)
        assert cell.wait().stdout == "blocks\nTrue ['callback', True]\n"
        answer.wait_for(lambda each: each.idle)
    kernel.ok("task.join(20)\n" + CLEAN)


def test_a_task_follows_a_slider_and_a_menu_while_a_cell_blocks(kernel, ids):
    if not hears_while_blocked(kernel):
        pytest.skip("ipykernel 6 receives nothing while a cell blocks")
    kernel.ok(
        "async def follow():\n    async for each in asyncnb.values(slider, menu):\n"
        "        seen.append(each.value)\n        if each.value == 'c': break\n    blocked.set()\n"
        "task = asyncnb.launch(follow())"
    )
    cell = kernel.submit("print('blocks')\nblocked.wait(20)\nprint(slider.value, menu.value)")
    cell.wait_for("blocks")
    to(kernel, ids["slider"], update(value=30))
    to(kernel, ids["menu"], update(index=2))
    assert cell.wait().stdout == "blocks\n30 c\n"
    kernel.ok("task.join(20)\n" + CLEAN)
    assert kernel.evaluate("seen[:2] == [0, 'a'] and 30 in seen and seen[-1] == 'c'")


def test_messages_over_a_subshell_arrive_too(kernel, ids):
    if not kernel.has_subshells:
        pytest.skip("ipykernel 6 has no subshells")
    kernel.aside("1")
    kernel.ok(
        "async def wait():\n    found = await asyncnb.event(button)\n    blocked.set()\n"
        "task = asyncnb.launch(wait())"
    )
    cell = kernel.submit("print('blocks')\nprint(blocked.wait(20))")
    cell.wait_for("blocks")
    to(kernel, ids["button"], CLICK, kernel._subshell)
    assert cell.wait().stdout == "blocks\nTrue\n"
    kernel.ok("task.join(20)\n" + CLEAN)


def test_a_cancel_an_interrupt_and_a_closed_widget_leave_nothing(kernel, ids):
    kernel.ok("task = asyncnb.launch(asyncnb.event(button), name='job')\ntask.cancel()")
    kernel.ok("%tasks wait")
    cell = kernel.submit("print('waits')\nasync for each in asyncnb.values(slider): print(each)")
    cell.wait_for("0\n")
    kernel.interrupt()
    assert cell.wait().error.ename == "KeyboardInterrupt"
    kernel.ok(CLEAN)
    cell = kernel.ok("%%atask job\nawait asyncnb.changed(menu)")
    kernel.ok("while job.info().state != 'waiting': time.sleep(0.01)\nmenu.close()")
    cell.wait_for(lambda each: each.errors)
    sentence = "Dropdown was closed; there is no further new value of Dropdown."
    assert cell.errors[-1].evalue == sentence
    assert "asyncnb" not in cell.errors[-1].traceback.replace("asyncnb.changed", "")


def test_the_end_of_each_later_cell_is_an_event(kernel):
    kernel.ok(
        "before = {k: list(v) for k, v in get_ipython().events.callbacks.items()}\n"
        "async def follow():\n"
        "    async for result in asyncnb.values('post_run_cell'):\n"
        "        print(result.info.raw_cell)\n"
        "        if 'last' in result.info.raw_cell: return\n"
        "task = asyncnb.launch(follow())"
    )
    cell = kernel.ok("%%atask first\n(await asyncnb.event('post_run_cell')).value.success")
    kernel.run("1/0")
    kernel.ok("'last'")
    cell.wait_for("False")
    kernel.ok("task.join(20)")
    followed = kernel.where("'last'")[0].stdout
    assert followed.startswith("%%atask first") and "\n1/0\n'last'\n" in followed
    kernel.ok("assert before == {k: list(v) for k, v in get_ipython().events.callbacks.items()}")


def test_a_cell_cannot_wait_for_the_cell_after_it(kernel):
    error = kernel.run("await asyncnb.event('pre_run_cell')").error
    assert error.evalue.startswith("This cell would wait for 'pre_run_cell' of another cell")
    error = kernel.run("asyncnb.event('post_cell')").error
    assert "Did you mean 'post_run_cell'?" in error.evalue


def test_unloading_ends_what_waits_and_gives_everything_back(fresh_kernel):
    fresh_kernel.ok(WIDGETS + "before = observers('cells')")
    fresh_kernel.ok("task = asyncnb.launch(asyncnb.event(button))")
    comm = fresh_kernel.evaluate("comms")["button"]
    to(fresh_kernel, comm, {"method": "custom", "content": {"event": "other"}})
    fresh_kernel.ok("%unload_ext asyncnb\n" + CLEAN.replace("()", "('cells')"))
    names = "[t.name for t in threading.enumerate() if 'asyncnb' in t.name]"
    assert fresh_kernel.evaluate(names) == []
    assert not fresh_kernel.evaluate("'shell_channel_thread_main' in vars(get_ipython().kernel)")
    to(fresh_kernel, comm, CLICK)
    fresh_kernel.ok("1 + 1")
