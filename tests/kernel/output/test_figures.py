"""Figures of pyplot: each task's and each cell's own, shown where and when IPython would."""

from __future__ import annotations

import base64
import struct

import pytest

from tests.kernel.driver import Cell

pytest.importorskip("matplotlib_inline")

# Sizes tell the figures apart: exact ones, so not cropped to their content.
PLAIN = """
import matplotlib.pyplot as plt
%config InlineBackend.print_figure_kwargs = {'bbox_inches': None}
plt.rcParams['figure.dpi'] = 20
"""


def widths(cell: Cell) -> list[int]:
    """The widths, in inches, of the pictures shown below a cell."""
    found = []
    for data in cell.displays:
        if "image/png" in data:
            png = base64.b64decode(data["image/png"])
            found.append(struct.unpack(">I", png[16:20])[0] // 20)
    return found


def draw(inches: int, gate: str = "") -> str:
    gate = gate or "pass"
    return (
        f"plt.figure(figsize=({inches}, 2))\nplt.plot([1, 2])\n{gate}\n"
        f"assert plt.gcf().get_figwidth() == {inches}\nplt.title('{inches}')"
    )


@pytest.fixture
def plotter(kernel):
    kernel.ok(PLAIN, 60)
    kernel.ok("gate = asyncio.Event(); thread_gate = threading.Event(); plt.close('all')")
    kernel.ok("drawn = threading.Semaphore(0)")
    yield kernel
    kernel.run("plt.close('all')")


def test_tasks_and_a_foreground_cell_show_each_its_own_figure(plotter):
    one = plotter.ok("%%atask one\n" + draw(3, "drawn.release(); await gate.wait()"))
    two = plotter.ok("%%atask two\n" + draw(4, "drawn.release(); await gate.wait()"))
    three = plotter.ok("%%atask three\n" + draw(5, "drawn.release(); thread_gate.wait(30)"))
    plotter.ok("for _ in range(3): assert drawn.acquire(timeout=20)")
    main = plotter.ok(draw(6))
    awaiting = plotter.ok(draw(7, "await asyncio.sleep(0)"))
    assert widths(one) == widths(two) == widths(three) == []
    plotter.ok("thread_gate.set(); gate.set()\nawait asyncio.wait([one, two, three], timeout=20);")
    for cell in (one, two, three):
        cell.wait_for(widths, 20)
    plotter.drain()
    assert [widths(c) for c in (one, two, three, main, awaiting)] == [[3], [4], [5], [6], [7]]
    assert not any(c.errors for c in (one, two, three))


def test_show_in_a_task_shows_at_once_and_once(plotter):
    cell = plotter.ok(
        "%%atask job\nplt.figure(figsize=(3, 2)); plt.plot([1, 2]); plt.show()\nawait gate.wait()"
    )
    cell.wait_for(widths, 20)
    plotter.ok("gate.set(); await job")
    plotter.drain()
    assert widths(cell) == [3]


def test_several_figures_of_one_task_are_all_shown(plotter):
    cell = plotter.ok(
        "%%atask job\nfor w in (3, 4):\n    plt.figure(figsize=(w, 2)); plt.plot([1])\n"
        "    await asyncio.sleep(0)"
    )
    cell.wait_for(lambda c: len(widths(c)) > 1, 20)
    plotter.drain()
    assert widths(cell) == [3, 4]


def test_a_task_draws_into_the_figure_of_its_own_child_tasks_and_threads(plotter):
    cell = plotter.ok(
        """
        %%atask job
        def part(): plt.gca().plot([1, 2])
        plt.figure(figsize=(3, 2))
        await asyncio.to_thread(part)
        async def child(): part()
        await asyncio.create_task(child())
        lines = len(plt.gca().lines)
        """
    )
    cell.wait_for(widths, 20)
    plotter.drain()
    assert widths(cell) == [3]
    assert plotter.evaluate("lines") == 2


def test_a_figure_object_as_the_result_is_shown_once(plotter):
    cell = plotter.ok(
        "%%atask job\nfig, ax = plt.subplots(figsize=(3, 2))\nawait asyncio.sleep(0)\nfig"
    )
    main = plotter.ok("fig_main, ax = plt.subplots(figsize=(4, 2))\nfig_main")
    cell.wait_for("<Figure", 20)
    plotter.ok("%tasks wait job")
    plotter.drain()
    # IPython shows a figure that is open and the last expression twice: the same here.
    of_main = [
        c for c in main.of_type("display_data", "execute_result") if "image/png" in c["data"]
    ]
    of_task = [
        c for c in cell.of_type("display_data", "execute_result") if "image/png" in c["data"]
    ]
    assert len(of_task) == len(of_main)


def test_a_failing_task_leaves_no_figure_to_others(plotter):
    cell = plotter.ok("%%atask job\nplt.figure(figsize=(3, 2)); await asyncio.sleep(0)\n1/0")
    cell.wait_for(lambda c: c.errors)
    main = plotter.ok(draw(4))
    plotter.drain()
    assert widths(main) == [4]
    assert plotter.evaluate("plt.get_fignums()") == []


def test_a_cancelled_task_leaves_no_figure_to_others(plotter):
    plotter.ok("%%atask job\nplt.figure(figsize=(3, 2)); drawn.release()\nawait gate.wait()")
    plotter.ok("assert drawn.acquire(timeout=20); job.cancel()")
    plotter.ok("await asyncio.wait([job], timeout=10);")
    main = plotter.ok(draw(4))
    assert widths(main) == [4]


def test_a_cell_keeps_its_figures_over_cells_when_ipython_would(plotter):
    plotter.ok("%config InlineBackend.close_figures = False")
    try:
        plotter.ok("plt.figure(figsize=(4, 2)); plt.plot([1])")
        plotter.ok("%%atask job\nplt.figure(figsize=(3, 2)); await asyncio.sleep(0)")
        plotter.ok("job.join(20)")
        assert plotter.ok("float(plt.gcf().get_figwidth())").result == "4.0"
    finally:
        plotter.ok("%config InlineBackend.close_figures = True")


def test_matplotlib_imported_first_inside_a_task(fresh_kernel):
    assert fresh_kernel.evaluate("'matplotlib' in sys.modules") is False
    first = "import matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 20\n"
    one = fresh_kernel.ok("%%atask one\n" + first + draw(3, "await asyncio.sleep(0.01)"))
    one.wait_for(widths, 60)
    two = fresh_kernel.ok("%%atask two\n" + first + draw(4, "time.sleep(0.01)"))
    two.wait_for(widths, 60)
    main = fresh_kernel.ok(first + draw(5))
    fresh_kernel.drain()
    # Cropped to its content, as the default is: each its one picture is what can be said.
    assert [len(widths(c)) for c in (one, two, main)] == [1, 1, 1]
    assert not one.errors and not two.errors
