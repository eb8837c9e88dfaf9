"""An exception group in a cell: a tree of tracebacks in IPython's own style, in its own cell."""

from __future__ import annotations

import re

import pytest

DEFINED = """
async def page(n):
    await asyncio.sleep(0)
    raise ConnectionError(f"host {n} unreachable")
async def crawl(kind, pages):
    async with kind() as group:
        for n in range(pages):
            group.create_task(page(n), name=f"page {n}")
"""

#: How a cell, defined in In[{n}], comes to a group, and in which of them tasks have names.
PLACES = {
    "await": "await crawl(asyncio.TaskGroup, 3)",
    "await ours": "await crawl(asyncnb.TaskGroup, 3)",
    "run": "asyncnb.run(crawl(asyncio.TaskGroup, 3))",
    "gather": "await asyncio.gather(crawl(asyncnb.TaskGroup, 3))",
    "atask": "%%atask job\nawait crawl(asyncio.TaskGroup, 3)",
    "agroup": "%%agroup job\nfor n in range(3): job.create_task(page(n), name=f'page {n}')\n"
    "await asyncio.sleep(600)",
}


def failed(kernel, code):
    cell = kernel.run(code)
    cell.wait_for(lambda c: any("Group" in e.ename for e in c.errors), 20)
    kernel.drain()
    return cell


def tree(cell):
    [error] = [e for e in cell.errors if "Group" in e.ename]
    return error.traceback


@pytest.mark.parametrize("code", PLACES.values(), ids=PLACES)
def test_a_group_is_shown_as_a_tree_with_each_leaf_once_under_its_tasks_name(kernel, code):
    kernel.ok(DEFINED)
    cell = failed(kernel, code)
    shown = tree(cell)
    for n in range(3):
        assert len(re.findall(rf"[├└]─ {n + 1}/3 page {n}\b", shown)) == 1, shown
        # Once more in the message of an open group, which names its first failures.
        assert shown.count(f"host {n} unreachable") == (2 if "agroup" in code else 1), shown
    assert "Cell In[" in cell.text and "ipykernel_" not in shown and "CancelledError" not in shown
    assert "/asyncnb/" not in shown and "asyncio/" not in shown
    assert not re.search(r"^ *[|+]", shown, re.MULTILINE)
    assert "ExceptionGroup" not in cell.stderr
