"""`%load_ext asyncnb`: what it loads, and the ways to say it."""

from __future__ import annotations

import pytest

HEAVY = ["anywidget", "ipywidgets", "dask", "distributed", "ipyparallel", "matplotlib", "numpy"]


def test_loading_imports_nothing_heavy(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok("import sys; before = set(sys.modules)")
    kernel.ok("%load_ext asyncnb")
    kernel.ok("new = set(sys.modules) - before")
    assert "asyncnb" in kernel.evaluate("new")
    assert kernel.evaluate(f"[m for m in {HEAVY} if m in new]") == []


def test_a_task_imports_nothing_heavy(fresh_kernel):
    fresh_kernel.ok("%%atask job\nprint('spoke')\nawait asyncio.sleep(0)")
    fresh_kernel.ok("job.join(10)")
    fresh_kernel.ok("%tasks")
    heavy = ["anywidget", "ipywidgets", "dask", "distributed", "ipyparallel"]
    assert fresh_kernel.evaluate(f"[m for m in {heavy} if m in sys.modules]") == []


def test_loading_says_nothing(start_kernel):
    kernel = start_kernel(extension=False)
    assert kernel.ok("%load_ext asyncnb").text == ""


@pytest.mark.parametrize(
    "again",
    ["%load_ext asyncnb", "asyncnb.load_ipython_extension(get_ipython())"],
    ids=["load_ext", "by hand"],
)
def test_loading_twice_is_harmless(fresh_kernel, again):
    fresh_kernel.ok("gate = asyncio.Event(); loop = asyncnb.embedded_loop()")
    cell = fresh_kernel.ok("%%atask job\nawait gate.wait()\nprint('spoke')\n42")
    fresh_kernel.ok(again)
    assert fresh_kernel.evaluate("asyncnb.embedded_loop() is loop and not job.done()")
    fresh_kernel.ok("gate.set(); await job;")
    cell.wait_for("42")
    fresh_kernel.drain()
    assert (cell.stdout, cell.shown) == ("spoke\n", ["42"])
    assert fresh_kernel.ok("print('once'); await asyncio.sleep(0, 1)").text == "once\n1\n"


def test_reload_ext_works(fresh_kernel):
    fresh_kernel.ok("%reload_ext asyncnb")
    fresh_kernel.ok("%%atask job\nawait asyncio.sleep(0, 42)")
    assert fresh_kernel.evaluate("asyncnb.task('job').join(10)") == 42


def test_loading_at_the_start_of_the_kernel_works(start_kernel):
    kernel = start_kernel(extension=False, arguments=["--InteractiveShellApp.extensions=asyncnb"])
    kernel.ok("import asyncio, asyncnb")
    cell = kernel.ok("%%atask job\nprint('spoke')\nawait asyncio.sleep(0, 42)")
    cell.wait_for("42")
    assert (
        kernel.ok(
            "asyncio.get_running_loop() is await asyncio.sleep(0, asyncnb.embedded_loop())"
        ).result
        == "True"
    )
    waiting = kernel.submit("print('waiting'); await asyncio.sleep(60)")
    waiting.wait_for("waiting")
    kernel.interrupt()
    assert waiting.wait(5).error.ename == "KeyboardInterrupt"


def test_loading_in_an_await_cell_works_from_the_next_cell_on(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok("import asyncio\n%load_ext asyncnb\nawait asyncio.sleep(0)", 10)
    kernel.ok("import asyncnb, threading")
    where = "await asyncio.sleep(0); 'asyncnb' in threading.current_thread().name"
    assert kernel.ok(where, 10).result == "True"


def test_importing_asyncnb_without_loading_changes_no_cell(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok("import asyncio, asyncnb, threading")
    here = "await asyncio.sleep(0); threading.current_thread() is threading.main_thread()"
    assert kernel.ok(here).result == "True"
