"""Each error text that is a heading of the page on troubleshooting is what a kernel says."""

from __future__ import annotations

import re

from tests.kernel.driver import ROOT, Kernel

PAGE = (ROOT / "notebooks/reference/troubleshooting.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
#: What shows the text of the heading.
CAUSES = {
    "asyncio.run() cannot be called from a running event loop": "asyncio.run(f())",
    "RuntimeWarning: coroutine 'f' was never awaited": "f()\n0",
    "TypeError: a coroutine was expected, got None": "asyncio.create_task(print('x'))",
    "got Future attached to a different loop": "await asyncio.new_event_loop().create_future()",
    "object does not support the context manager protocol": ("with asyncio.TaskGroup(): pass"),
    "Line magic function %tasks not found": "%unload_ext asyncnb\n%tasks",
    "No module named 'asyncnb'": None,  # as Python says of any module
    "EOFError: EOF when reading a line": (  # once no cell runs, for which the kernel would ask
        "%%atask\nwhile 'built-in' not in repr(input): await asyncio.sleep(0.01)\ninput()"
    ),
    "asyncnb: ... has blocked the loop": (
        "async def greedy(): time.sleep(2)\nasyncnb.launch(greedy())"
    ),
}


def test_every_error_text_has_its_cause_here():
    texts = [heading.strip('"') for heading in HEADINGS if heading.startswith('"')]
    assert texts == list(CAUSES)


def test_a_kernel_without_asyncnb_says_so(fresh_kernel):
    check(fresh_kernel, "Line magic function %tasks not found")


def test_a_kernel_says_so(start_kernel):
    kernel = start_kernel(reports_blocks=True)
    kernel.ok("async def f(): pass")
    for text, cause in CAUSES.items():
        if cause is not None and "%unload_ext" not in cause:
            check(kernel, text)


def check(kernel: Kernel, text: str) -> None:
    cell = kernel.run(CAUSES[text])
    # Between the words of a heading there may be the name of an object.
    pattern = ".+?".join(map(re.escape, text.replace("...", "").split()))
    cell.wait_for(lambda cell: re.search(pattern, cell.text.replace("`", ""), re.DOTALL))
