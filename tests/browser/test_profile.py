"""A profile in a browser: zoom and search on an empty page, then in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncnb._core.introspection.places import Place
from asyncnb._core.profiling.counts import RUNNING, WAITING, Facts, Sample
from asyncnb._core.profiling.page import html, widget_data
from asyncnb.widgets._static import joined
from tests.browser.lab import Lab, Notebook
from tests.widgets.xss import CORPUS

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

MOUNT = """async ([js, css]) => {
    document.body.replaceChildren();
    document.head.append(Object.assign(document.createElement('style'), { textContent: css }));
    const source = js + '\\nwindow.mount = mountProfile;';
    await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
}"""
SHOW = """data => {
    window.profile?.destroy();
    const el = document.body.appendChild(document.createElement('div'));
    el.style.width = '900px';
    window.profile = mount(el, data);
}"""
BOXES = """() => [...document.querySelectorAll('.asyncnb-fg-graph')].map(graph =>
    [...graph.children].map(box => [box.textContent, Math.round(box.offsetWidth)]))"""
FITS = "() => [...document.querySelectorAll('.asyncnb-fg-fits')].map(box => box.textContent)"

CALL = Place("In[7]", 9, "", "go()")
IN_F = Place("In[7]", 4, "f()", "parse(html)")
IN_G = Place("In[7]", 6, "g()", "write(row)")
SAMPLES = [
    Sample(RUNNING, "crawl", "In[7]", (CALL, IN_F), "", 6.0, 600),
    Sample(RUNNING, "crawl", "In[7]", (CALL, IN_G), "", 2.0, 200),
    Sample(WAITING, "crawl", "In[7]", (CALL,), "sleep", 2.0, 200),
]


def facts(samples: list[Sample]) -> Facts:
    return Facts("'crawl'", False, True, 10.0, 1000, 0.0, 10.0, 1, samples)


class Page:
    """An empty page with the module."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.page = lab.blank_page()
        self.ask(MOUNT, [joined("format.js", "profile.js"), joined("profile.css")])

    def ask(self, script: str, argument: Any = None) -> Any:
        return self._lab.call(self.page.evaluate(script, argument))

    def do(self, step: Any) -> Any:
        return self._lab.call(step)

    def show(self, samples: list[Sample]) -> None:
        self.ask(SHOW, widget_data(facts(samples)))

    def click(self, name: str) -> None:
        self.do(self.page.get_by_role("button", name=name).first.click())


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[Page]:
    page = Page(lab)
    yield page
    lab.call(page.page.close())


def test_a_click_zooms_and_a_click_above_it_or_fit_zooms_out(page: Page) -> None:
    page.show(SAMPLES)
    running, waiting = page.ask(BOXES)
    assert [name for name, _ in running] == [
        "all",
        "crawl",
        "In[7] line 9: go()",
        "f(), In[7] line 4",
        "g(), In[7] line 6",
    ]
    widths = dict(running)
    whole = widths["all"]
    assert widths["f(), In[7] line 4"] == pytest.approx(0.75 * whole, abs=2)
    assert waiting[-1][0] == "sleep"
    page.click("g(), In[7] line 6")
    zoomed = dict(page.ask(BOXES)[0])
    assert "f(), In[7] line 4" not in zoomed
    assert zoomed["g(), In[7] line 6"] == pytest.approx(whole, abs=2)
    page.click("crawl: 80.0 %")
    assert page.ask(BOXES)[0] == running
    page.click("g(), In[7] line 6")
    page.click("Show all of the flame graphs")
    assert page.ask(BOXES)[0] == running
    fit = page.page.get_by_role("button", name="Show all of the flame graphs")
    assert page.do(fit.is_disabled())


def test_the_search_marks_what_fits_and_says_its_share(page: Page) -> None:
    page.show(SAMPLES)
    find = page.page.get_by_label("Find in flame graphs")
    page.do(find.fill("PARSE"))
    assert page.ask(FITS) == ["f(), In[7] line 4"]
    status = "() => document.querySelector('.asyncnb-fg-found').textContent"
    assert page.ask(status) == "60.0 % running, 0.0 % waiting"
    page.do(find.fill("go()"))
    assert page.ask(status) == "80.0 % running, 20.0 % waiting"
    page.do(find.press("Escape"))
    assert page.ask(FITS) == [] and page.ask(status) == ""


def test_keys_reach_every_box(page: Page) -> None:
    page.show(SAMPLES)
    box = page.page.get_by_role("button", name="f(), In[7] line 4")
    page.do(box.focus())
    page.do(page.page.keyboard.press("Enter"))
    assert "g(), In[7] line 6" not in dict(page.ask(BOXES)[0])
    page.do(page.page.keyboard.press("Escape"))
    assert "g(), In[7] line 6" in dict(page.ask(BOXES)[0])


def test_a_box_tells_the_exact_numbers(page: Page) -> None:
    page.show(SAMPLES)
    titles = page.ask("() => [...document.querySelectorAll('.asyncnb-fg-box')].map(n => n.title)")
    assert "f(), In[7] line 4: 60.0 %, 6.00 s\nparse(html)" in titles


def test_texts_are_never_markup_in_widget_and_picture(page: Page) -> None:
    samples = [
        Sample(kind, text, text, (Place(text, 1, text, text),), text, 1.0, 1)
        for text in CORPUS
        for kind in (RUNNING, WAITING)
    ]
    page.show(samples)
    page.do(page.page.get_by_label("Find in flame graphs").fill("<img"))
    page.ask(
        "html => { document.body.insertAdjacentHTML('beforeend', html); }", html(facts(samples))
    )
    assert page.ask("() => window.hacked") is None
    tags = "() => document.querySelectorAll('img, script, iframe, foreignObject, a').length"
    assert page.ask(tags) == 0


LOAD = """
%load_ext asyncnb
import asyncio, asyncnb, time
def parse(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
"""


def test_a_notebook_shows_the_widget_and_saves_the_picture(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        "%%atask crawl\nwhile True:\n    parse(0.03)\n    await asyncio.sleep(0.02)",
        "%tasks profile 1",
        "%%atask brief --profile\nparse(0.2)\nawait asyncio.sleep(0.2)",
        "%tasks wait brief\n%tasks cancel crawl",
    )
    for cell in range(5):
        notebook.run(cell)
    notebook.see(2, "profile of all tasks")
    notebook.see(3, "profile of 'brief'")
    box = notebook._page.get_by_role("button", name="In[2] line 3: parse(0.03)").first
    notebook._lab.call(box.click())
    assert notebook._lab.call(
        notebook._page.get_by_role("button", name="Show all of the flame graphs").first.is_enabled()
    )
    notebook.screenshot("profile")
    for cell in (2, 3):
        [saved] = [o["data"] for o in notebook.outputs(cell) if "text/html" in o.get("data", {})]
        assert "<svg" in saved["text/html"] and "<script" not in saved["text/html"]
        assert "running" in saved["text/plain"]
