"""The front end's debugger: its breakpoints in the cells that asyncnb compiles or moves.

A front end writes the cell's text to a file (`dumpCell`), which ipykernel names by a hash of that
text, and sets breakpoints by the line of the cell.
"""

from __future__ import annotations

import pytest

from tests.kernel.debugger import Debugger

# Starting a debugger, with all that it looks at, takes most of a minute on a busy machine.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def debugger(start_kernel, request):
    kernel = start_kernel(reports_blocks=getattr(request, "param", False))
    debugger = Debugger(kernel)
    debugger.start()
    yield debugger
    debugger.close()


BARKED = "has blocked the loop"
TOP_LEVEL = "seen = 41\nawait asyncio.sleep(0.01)\nprint('result', seen + 1)"
IN_A_THREAD = "seen = 41\nseen += 0\nprint('result', seen + 1)"
FUNCTION = "seen = 41\n    await asyncio.sleep(0.01)\n    seen += 1\n    print('result', seen)"
CELLS = {
    "a plain cell": (IN_A_THREAD, 3),
    "a cell with await": (TOP_LEVEL, 3),
    "a coroutine of one": (f"async def f():\n    {FUNCTION}\nawait f()", 4),
    "%%atask": (f"%%atask job\n{TOP_LEVEL}", 4),
    "%%atask, a coroutine": (f"%%atask job\nasync def f():\n    {FUNCTION}\nawait f()", 5),
    "%%atask in a thread": (f"%%atask job\n{IN_A_THREAD}", 4),
    "%%atask on the kernel's loop": (f"%%atask job --on kernel\n{TOP_LEVEL}", 4),
    "%%atask, a last newline": (f"%%atask job\n{IN_A_THREAD}\n", 4),
    "%%atask, empty lines around": (f"%%atask job\n\n\n{TOP_LEVEL}\n\n\n", 6),
    "%%atask below another magic": (f"%%time\n%%atask job\n{TOP_LEVEL}", 5),
    "%%agroup": (f"%%agroup pair\n{TOP_LEVEL}", 4),
}


# What "Run in Background" sends for a cell of this text.
ADDED = {"asyncnb": {"added_lines": 1}}


def assert_stops(debugger: Debugger, which: str, above: str = "") -> None:
    """Run a cell with a breakpoint in this line, look at it there, and let it run to its end."""
    code, line = CELLS[which]
    debugger.break_at(code, line)
    metadata = ADDED if above else None
    cell = debugger._kernel.submit(above + code, as_it_is=True, metadata=metadata)
    thread = debugger.wait_for_stop(which)
    at, variables = debugger.where(thread)
    assert (at, variables["seen"]) == (line, "41"), which
    debugger.ask("continue", threadId=thread)
    text = cell.wait_for("result 42", 100).wait().text
    assert "Error" not in text and "WARNING" not in text, which
    debugger._kernel.ok("if 'job' in globals(): job.join(10); del job")


def test_a_breakpoint_is_hit_and_the_code_runs_to_its_end(debugger):
    for which in CELLS:
        assert_stops(debugger, which)
    for which in ("a plain cell", "a cell with await", "a coroutine of one"):
        assert_stops(debugger, which, above="%%atask job\n")


def test_breakpoints_are_hit_in_a_plain_kernel_and_where_the_extension_is_loaded_later(
    start_kernel,
):
    kernel = start_kernel(extension=False)
    kernel.ok("import asyncio")
    debugger = Debugger(kernel)
    debugger.start()
    assert_stops(debugger, "a plain cell")
    assert_stops(debugger, "a cell with await")
    kernel.ok("%load_ext asyncnb")
    assert_stops(debugger, "a cell with await")
    assert_stops(debugger, "%%atask")
    kernel.ok("%unload_ext asyncnb")
    assert_stops(debugger, "a cell with await")
    debugger.close()


BODY = "seen = 41\nawait asyncio.sleep(0.01)\nseen += 1\nprint('result', seen)"
STEPS = {
    "a plain cell": ("seen = 41\nseen += 0\nseen += 1\nprint('result', seen)", [1, 2, 3, 4]),
    "a coroutine of a cell": (f"async def f():\n    {FUNCTION}\nawait f()", [2, 3, 4, 5]),
    "%%atask": (f"%%atask job\n{BODY}", [2, 3, 4, 5]),
    "%%agroup": (f"%%agroup pair\n{BODY}", [2, 3, 4, 5]),
}


@pytest.mark.parametrize("where", STEPS)
def test_steps_go_over_an_await_while_other_tasks_run(debugger, where):
    kernel = debugger._kernel
    listed = "hasattr(get_ipython().kernel.debugger, 'kernel_modules')"
    if where != "a coroutine of a cell" and not kernel.evaluate(listed):
        pytest.skip("ipykernel 6 steps past what is in site-packages, and into a checkout")
    kernel.ok("%%atask ticker\nwhile True:\n    await asyncio.sleep(0.001)")
    code, lines = STEPS[where]
    debugger.break_at(code, lines[0])
    cell = kernel.submit(code)
    for line in lines:
        thread = debugger.wait_for_stop(where)
        # Not its variables: ipykernel may hear late that the thread has stopped again.
        assert debugger.line(thread) == line
        debugger.ask("continue" if line == lines[-1] else "next", threadId=thread)
    assert cell.wait_for("result 42").wait().text == "result 42\n"
    kernel.ok("await asyncio.sleep(0, 5)").wait_for(lambda c: c.result == "5")


@pytest.mark.parametrize("debugger", [True], indirect=True, ids=["reports blocks"])
def test_the_time_at_a_breakpoint_blocks_nothing_and_what_blocks_after_it_is_told(debugger):
    kernel = debugger._kernel
    kernel.ok("gate = threading.Event()")
    code = "%%atask hog\nseen = 41\nawait asyncio.sleep(0)\nseen += 1\ngate.wait(30)"
    debugger.break_at(code, 4)
    cell = kernel.submit(code)
    thread = debugger.wait_for_stop()
    debugger.evaluate("__import__('time').sleep(1)", thread)
    assert BARKED not in cell.text
    debugger.ask("continue", threadId=thread)
    cell.wait_for(BARKED)
    kernel.ok("gate.set(); hog.join(10)")
    assert cell.text.count(BARKED) == 1
    assert "line 5: gate.wait(30)" in cell.text
    assert "pydevd" not in cell.text


def test_an_interrupt_at_a_breakpoint_ends_the_cell_and_not_the_debugger(debugger):
    kernel = debugger._kernel
    code, line = CELLS["a cell with await"]
    debugger.break_at(code, line)
    cell = kernel.submit(code)
    thread = debugger.wait_for_stop()
    kernel.interrupt()
    # The debugger's own code would be hit 0.1 s later.
    debugger.evaluate("__import__('time').sleep(0.5)", thread)
    assert debugger.where(thread)[0] == line
    debugger.ask("continue", threadId=thread)
    assert cell.wait().error.ename == "KeyboardInterrupt"
    assert_stops(debugger, "%%atask")


def test_unloading_leaves_the_debugger_as_it_was(start_kernel):
    kernel = start_kernel(extension=False)
    files = "getattr(get_ipython().kernel.debugger, 'kernel_modules', None)"
    kernel.ok(f"before = {files}; before = before and list(before)")
    kernel.ok("%load_ext asyncnb")
    assert kernel.evaluate(f"before is None or len({files}) - len(before)") == 1
    kernel.ok("%unload_ext asyncnb")
    assert kernel.evaluate(f"{files} == before") is True
