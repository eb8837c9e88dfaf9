"""The timeline in a browser: on an empty page, then in a notebook and its dashboard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import asyncnb
from asyncnb._core.timeline.rows import BARS, ENDS
from asyncnb._core.timeline.svg import svg
from asyncnb.testing import run_virtual
from asyncnb.widgets._static import joined
from asyncnb.widgets._timeline_facts import compact
from tests.browser.lab import Lab, Notebook
from tests.widgets.xss import CORPUS

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

XSS = [
    "<img src=x onerror='window.hacked = 1'>",
    "<script>window.hacked = 1</script>",
    '"><svg onload=window.hacked=1>',
    "</text></svg><script>window.hacked=1</script>",
]

MOUNT = """async ([js, css]) => {
    document.body.replaceChildren();
    document.head.append(Object.assign(document.createElement('style'), { textContent: css }));
    const source = js + '\\nwindow.mount = mountTimeline;';
    await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
}"""
SHOW = """data => {
    window.timeline?.destroy();
    const el = document.body.appendChild(document.createElement('div'));
    el.style.width = '900px';
    window.asked = 0;
    window.timeline = mount(el, { onRequest: () => window.asked++ });
    timeline.update(data);
    return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
NAMES = "() => [...document.querySelectorAll('.asyncnb-tl-name')].map(node => node.textContent)"
AXIS = "() => [...document.querySelectorAll('.asyncnb-tl-axis text')].map(n => n.textContent)"
TOLD = "() => document.querySelector('.asyncnb-tl-description').textContent"
FRAMES = "() => new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))"


class Page:
    """An empty page with the module."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.page = lab.blank_page()
        self.ask(MOUNT, [joined("format.js", "timeline.js"), joined("timeline.css")])

    def ask(self, script: str, argument: Any = None) -> Any:
        return self._lab.call(self.page.evaluate(script, argument))

    def do(self, step: Any) -> Any:
        done = self._lab.call(step)
        self.ask(FRAMES)
        return done

    def show(self, main: Any) -> dict[str, Any]:
        with asyncnb.record() as recording:
            run_virtual(main)
        data = compact(asyncnb.timeline(recording).data)
        self.ask(SHOW, data)
        return data

    def point(self, when: float, row: int, data: dict[str, Any]) -> None:
        """Move the mouse to a moment of a row."""
        box = self.do(self.page.locator(".asyncnb-tl-scroll").bounding_box())
        plot = box["width"] - 170 - 16
        x = box["x"] + 170 + when / (data["end"] * 1.02) * plot
        self.do(self.page.mouse.move(x, box["y"] + 24 * row + 12))


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[Page]:
    page = Page(lab)
    yield page
    lab.call(page.page.close())


async def program() -> None:
    async def step(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def clean() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)

    asyncnb.current_task().set_name("main")
    quick = asyncnb.create_task(step(1), name="quick")
    stubborn = asyncnb.create_task(clean(), name="stubborn")
    await quick
    stubborn.cancel("enough")
    await asyncnb.wait([stubborn])


async def many(names: list[str]) -> None:
    async def step() -> None:
        await asyncio.sleep(1)

    async with asyncnb.TaskGroup() as group:
        for name in names:
            group.create_task(step(), name=name)


def test_it_tells_what_is_under_the_pointer(page: Page) -> None:
    data = page.show(program())
    assert page.ask(NAMES) == ["main", "quick", "stubborn"]
    assert page.ask(AXIS) == ["0.0 s", "0.5", "1.0", "1.5", "2.0"]
    page.point(0.5, 0, data)
    assert page.ask(TOLD).startswith("main · done · took 2.00 s")
    assert "waiting for quick for 1.00 s" in page.ask(TOLD)
    page.point(0.5, 1, data)
    assert "waiting in sleep for 1.00 s · awaited by main" in page.ask(TOLD)
    page.point(1.0, 2, data)
    assert "cancellation at 1.00 s: enough" in page.ask(TOLD)


def test_a_sampled_task_says_so_and_has_no_end_that_is_not_known(page: Page) -> None:
    row: dict[str, Any] = {
        "kind": "loop",
        "group": None,
        "cell": "",
        "error": None,
        "started": 0.5,
        "steps": 0,
        "recorded": False,
        "sampled": True,
        "seconds": 0.0,
        "dropped": 0,
        "runs": [],
        "waits": [],
        "events": [],
        "created": 0.5,
        "depth": 1,
        "parent": 1,
    }
    rows = [
        row | {"id": 1, "name": "outer", "state": "waiting", "ended": None, "sampled": False},
        row | {"id": -8, "name": "gone", "state": "ended", "ended": 1.5},
        row | {"id": -9, "name": "here", "state": "waiting", "ended": None},
    ]
    data = {"rows": rows, "edges": [], "end": 2.0, "dropped": 0, "recorded": False}
    data = compact(data)
    page.ask(SHOW, data)
    page.point(1.0, 1, data)
    assert page.ask(TOLD) == "gone · ended · sampled: seen from 0.50 s to 1.50 s"
    titles = (
        "() => [...document.querySelectorAll('.asyncnb-tl-name title')].map(n => n.textContent)"
    )
    assert page.ask(titles) == [
        "gone, sampled: seen from 0.50 s to 1.50 s",
        "here, sampled: seen from 0.50 s to 2.00 s",
    ]  # fmt: skip
    ends = "() => document.querySelectorAll('.asyncnb-tl-picture .asyncnb-tl-end').length"
    assert page.ask(ends) == 2
    note = page.ask("() => document.querySelector('.asyncnb-tl-note').textContent")
    assert "are sampled" in note


def test_keys_zoom_and_choose_and_the_search_leaves_what_fits(page: Page) -> None:
    page.show(program())
    viewport = page.page.get_by_label("Timeline of 3 tasks over 2.00 s")
    page.do(viewport.focus())
    for key in ("+", "+", "ArrowRight"):
        page.do(page.page.keyboard.press(key))
    near = page.ask(AXIS)
    assert float(near[0].removesuffix(" s")) > 0.7
    assert len(near) >= 3
    page.do(page.page.keyboard.press("ArrowDown"))
    assert page.ask(TOLD).startswith("main · done")
    page.do(page.page.keyboard.press("End"))
    assert page.ask(TOLD).startswith("stubborn · cancelled")
    page.do(page.page.keyboard.press("0"))
    assert page.ask(AXIS)[0] == "0.0 s"
    page.do(page.page.get_by_label("Find in timeline").fill("STUB"))
    assert page.ask(NAMES) == ["stubborn"]
    assert page.do(page.page.get_by_text("1 of 3").count()) == 1
    page.do(page.page.keyboard.press("Escape"))
    assert len(page.ask(NAMES)) == 3


def test_buttons_zoom_and_ask_for_news_and_news_keep_the_view(page: Page) -> None:
    data = page.show(program())
    page.do(page.page.get_by_role("button", name="Zoom in").click())
    zoomed = page.ask(AXIS)
    assert zoomed[0] != "0.0 s"
    page.ask("data => timeline.update(data)", data)
    page.ask(FRAMES)
    assert page.ask(AXIS) == zoomed
    page.do(page.page.get_by_role("button", name="Show all").click())
    assert page.ask(AXIS)[0] == "0.0 s"
    page.do(page.page.get_by_role("button", name="Refresh timeline").click())
    assert page.ask("() => asked") == 1


def test_the_wheel_zooms_once_it_is_clicked_into_and_scrolls_the_page_before(page: Page) -> None:
    data = page.show(program())
    before = page.ask(AXIS)
    page.ask("() => document.activeElement.blur()")
    page.point(1.0, 1, data)
    page.do(page.page.mouse.wheel(0, -400))
    assert page.ask(AXIS) == before
    page.do(page.page.mouse.click(500, 100))
    page.point(1.0, 1, data)
    page.do(page.page.mouse.wheel(0, -400))
    assert page.ask(AXIS) != before


def test_names_and_errors_are_text(page: Page) -> None:
    data = page.show(many(XSS))
    for row in range(1, len(XSS) + 1):
        page.point(0.5, row, data)
        assert page.ask(TOLD).startswith(XSS[row - 1])
    page.show(many(CORPUS))
    assert len(page.ask(NAMES)) > 10
    assert page.ask("() => window.hacked") is None
    tags = "() => document.querySelectorAll('img, script, iframe, foreignObject').length"
    assert page.ask(tags) == 0


LEGEND = "() => [...document.querySelectorAll('.asyncnb-tl-entry')].map(n => n.textContent)"


@pytest.mark.parametrize("kind", ["loop", "kernel", "thread", "process"])
def test_it_draws_the_bars_that_the_picture_draws(page: Page, kind: str) -> None:
    with asyncnb.record() as recording:
        run_virtual(program())
    data = asyncnb.timeline(recording).data
    lives = [{}, {"ended": None, "state": "cancelling"}, {"started": None, "state": "pending"}]
    lives[2] |= {"ended": None}
    data["rows"] = [
        row
        | {"kind": kind, "recorded": kind != "kernel", "runs": row["runs"][: kind != "kernel"]}
        | life
        for row, life in zip(data["rows"], lives, strict=True)
    ]
    picture = ET.fromstring(svg(data))
    words = {node.text for node in picture.iter() if node.tag.endswith("}text")}
    page.ask(SHOW, compact(data))
    known = {each.word for each in (*BARS.values(), *ENDS.values())}
    assert known & set(page.ask(LEGEND)) == known & words
    assert {"done", "still running", "not started yet"} <= words
    assert {"process": "in a worker", "thread": "in a thread"}.get(kind, "not started") in words
    for name, bar in BARS.items():  # as many bars of each kind, in the rows of both
        drawn = page.ask(
            f"() => document.querySelectorAll('svg.asyncnb-tl-picture .asyncnb-tl-{name}').length"
        )
        rows = [row for row in compact(data)["rows"] if any(b[0] == name for b in row["bars"])]
        assert drawn == len(rows), (name, bar)


def test_a_thousand_tasks_are_few_elements(page: Page) -> None:
    page.show(many([f"task {number}" for number in range(1000)]))
    assert page.ask("() => document.querySelectorAll('.asyncnb-tl *').length") < 400
    page.do(page.page.get_by_label("Timeline of 1,001 tasks").focus())
    page.do(page.page.keyboard.press("End"))
    assert page.ask(TOLD).startswith("task 999 · ")
    assert "task 999" in page.ask(NAMES)
    page.ask("() => timeline.destroy()")
    assert page.ask("() => document.querySelector('.asyncnb-tl')") is None


LOAD = """
%load_ext asyncnb
%matplotlib inline
import asyncio, asyncnb, matplotlib.pyplot as plt, time
gate = asyncio.Event()

def draw(width):
    plt.figure(figsize=(width, 1), dpi=50)
    plt.plot([1, 2])
"""
WIDTHS = """index => [...jupyterapp.shell.currentWidget.content.widgets[index].node
    .querySelectorAll('.jp-OutputArea-output img')].map(img => img.naturalWidth)"""


def test_figures_and_timeline_of_two_tasks_and_a_cell_that_draw_at_once(
    open_notebook: Open,
) -> None:
    notebook = open_notebook(
        LOAD + "%config InlineBackend.print_figure_kwargs = {'bbox_inches': None}",
        "%%atask one --trace\ndraw(2)\nawait gate.wait()\nprint('one drew')",
        "%%atask two --trace\ndraw(3)\nawait gate.wait()\nprint('two drew')",
        "draw(4)\nasyncnb.embedded_loop().call_soon_threadsafe(gate.set)\n"
        "while not (one.done() and two.done()): time.sleep(0.01)",
        "%tasks wait one two\n%tasks timeline",
        "%tasks live",
    )
    for cell in range(5):
        notebook.run(cell)
    for cell, word in ((1, "one drew"), (2, "two drew"), (4, "2 tasks")):
        notebook.see(cell, word)
    assert [notebook._ask(WIDTHS, cell) for cell in (1, 2, 3)] == [[100], [150], [200]]
    saved = notebook.outputs(4)[-1]["data"]
    assert saved["image/svg+xml"].startswith("<svg")
    assert "one" in saved["text/plain"]
    notebook.see(4, "running")  # in the legend: the picture is drawn
    notebook.run(5)
    tab = notebook._page.get_by_role("tab", name="Timeline")
    notebook._lab.call(tab.click())
    notebook.see(5, "running")
    notebook.see(5, "2 tasks")
