"""Tasks that were not launched: found with their cell, and their failures shown there."""

from __future__ import annotations

import pytest

LOOK = """
from asyncnb._core.introspection.unmanaged import unmanaged_task_info
def look(name):
    (task,) = asyncnb.tasks(name, all=True)
    return unmanaged_task_info(task)
gate = asyncio.Event()
async def waits(): await gate.wait()
async def fails(): raise ValueError("dropped")
async def makes(what, name=None):
    asyncio.create_task(what(), name=name) and None
    await asyncio.sleep(0)
"""


@pytest.fixture
def ready(kernel):
    kernel.ok(LOOK)
    yield kernel
    kernel.ok("%asyncnb autoawait on")
    kernel.ok("await asyncio.sleep(0); gate.set(); await asyncio.sleep(0)")


@pytest.mark.parametrize("autoawait", ["on", "off"])
def test_a_task_made_in_a_cell_is_found_with_its_cell(ready, autoawait):
    ready.ok(f"%asyncnb autoawait {autoawait}")
    cell = ready.ok("kept = asyncio.create_task(waits(), name='plain'); await asyncio.sleep(0)")
    assert ready.evaluate("look('plain').cell.number") == cell.count
    assert ready.evaluate("look('plain')[2:3] + (look('plain').waiting_on,)") == (
        "waiting",
        "Event.wait",
    )
    assert "plain" not in ready.ok("%tasks").text
    row = next(n for n in ready.ok("%tasks --all").text.splitlines() if "plain" in n)
    assert f"In[{cell.count}]" in row and "Event.wait" in row
    ready.ok("kept.cancel();")


def test_a_task_made_inside_a_launched_one_is_its_child(ready):
    cell = ready.ok("%%atask mother\nawait makes(waits, 'daughter')\nawait gate.wait()")
    ready.ok("here = asyncnb.tasks('daughter', all=True)\nawait asyncio.sleep(0)")
    assert ready.evaluate("look('daughter').parent == mother.info().id")
    assert ready.evaluate("look('daughter').cell.number") == cell.count
    lines = ready.ok("%tasks --all").text.splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.startswith("mother")]
    assert "daughter" in lines[at + 1] and not lines[at + 1].startswith("daughter")


def test_the_stack_of_a_task_that_nobody_launched(ready):
    cell = ready.ok("kept = asyncio.create_task(waits(), name='plain'); await asyncio.sleep(0)")
    text = ready.ok("%tasks stack plain").stdout
    assert f"plain: waiting, created by In[{cell.count}]" in text
    assert "await gate.wait()" in text and "waits for: Event.wait" in text


@pytest.mark.parametrize("autoawait", ["on", "off"])
def test_a_failure_that_nobody_awaited_is_shown_once_in_the_cell_that_made_it(ready, autoawait):
    ready.ok(f"%asyncnb autoawait {autoawait}")
    cell = ready.ok("await makes(fails)")
    cell.wait_for(lambda c: c.errors)
    ready.ok("import gc; gc.collect();")
    ready.drain()
    assert [(e.ename, e.evalue) for e in cell.errors] == [("ValueError", "dropped")]
    assert ready.where("ValueError: dropped") == [cell]
    assert "ipykernel_" not in cell.errors[0].traceback
    assert "never retrieved" not in cell.text


def test_a_failure_without_a_person_is_shown_in_the_cell_that_ends_next(ready):
    headless = {"allow_stdin": False}
    cell = ready.ok("await makes(fails)", **headless)
    assert [(e.ename, e.evalue) for e in cell.errors] == [("ValueError", "dropped")]
    late = ready.ok(
        "async def fails_late():\n    await gate.wait()\n    raise ValueError('late')\n"
        "await makes(fails_late)",
        **headless,
    )
    seen = ready.ok("gate.set()\nfor _ in range(5): await asyncio.sleep(0)", **headless)
    ready.drain()
    assert late.errors == [] and len(seen.errors) == 1
    assert f"a task of In[{late.count}] that was never awaited failed" in seen.stderr
    assert "raise ValueError('late')" in seen.errors[0].traceback
    assert ready.ok("1", **headless).errors == []


def test_a_failure_dropped_inside_a_launched_task_is_shown_in_its_cell(ready):
    cell = ready.ok("%%atask mother\nawait gate.wait()\nawait makes(fails)")
    busy = ready.submit("await asyncio.sleep(0); gate.set(); await asyncio.sleep(60)")
    cell.wait_for(lambda c: c.errors)
    ready.interrupt()
    busy.wait(5)
    ready.drain()
    assert len(cell.errors) == 1 and ready.where("ValueError: dropped") == [cell]


def test_a_failure_that_was_awaited_is_shown_where_it_is_raised_alone(ready):
    cell = ready.run("await asyncio.create_task(fails())")
    assert cell.status == "error"
    ready.ok("import gc; gc.collect();")
    ready.drain()
    assert ready.where("ValueError: dropped") == [cell]


@pytest.mark.parametrize("autoawait", ["on", "off"])
def test_a_handler_of_the_users_own_gets_the_failure_instead(ready, autoawait):
    ready.ok(f"%asyncnb autoawait {autoawait}")
    ready.ok(
        """
        told = []
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.append(context["message"]))
        """
    )
    cell = ready.ok("await makes(fails)\nawait asyncio.sleep(0)")
    ready.ok("loop.set_exception_handler(None)")
    ready.drain()
    assert ready.evaluate("told") == ["Task exception was never retrieved"]
    assert cell.errors == []
    cell = ready.ok("await makes(fails)")
    cell.wait_for(lambda c: c.errors)


def test_unloading_gives_the_kernels_loop_its_log_back(start_kernel):
    kernel = start_kernel()
    kernel.ok(LOOK)
    kernel.ok("await asyncio.sleep(0)\n%asyncnb autoawait off")
    hooked = "'default_exception_handler' in vars(asyncio.get_running_loop())"
    assert kernel.ok(f"await asyncio.sleep(0); {hooked}").result == "True"
    kernel.ok("%unload_ext asyncnb")
    assert kernel.ok(f"await asyncio.sleep(0); {hooked}").result == "False"
    cell = kernel.ok("await makes(fails); print('end')")
    kernel.ok("import gc; gc.collect()")
    kernel.drain()
    assert cell.errors == []
    assert kernel.where("never retrieved")
