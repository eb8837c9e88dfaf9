"""Make the pictures of the dashboard, and those in tutorials: ``python -m tests.browser.pictures``.

``python -m tests.browser.pictures tutorials`` makes only the latter, from the tutorials' own cells.
"""

from __future__ import annotations

import io
import sys

import nbformat
from PIL import Image

from tests.browser.lab import Lab, Notebook
from tests.kernel.driver import ROOT

FOLDER = ROOT / "notebooks" / "reference" / "images"

BLOCKED = [
    "%load_ext asyncnb\nimport asyncio, asyncnb\nfetch = lambda page, s: asyncio.sleep(s)",
    """
    async def crawl(pages):
        async for page in asyncnb.track(range(pages)):
            await fetch(page, 0.05)

    async def price(item):
        await asyncio.sleep(0.2)
        raise ConnectionError("the price list is not there")

    for site, pages in {"docs": 60, "blog": 400, "shop": 900}.items():
        asyncnb.launch(crawl(pages), name=f"crawl {site}", group="crawl")
    asyncnb.launch(price("tea"), name="prices")
    asyncnb.launch(asyncio.sleep(3600), name="watch folder", timeout=7200);
    """,
    "asyncnb.dashboard()",
    """
    # This cell blocks the main thread. The tasks go on, and so does the dashboard.
    while True:
        sum(range(10_000))
    """,
]
OPENED = [
    "%load_ext asyncnb\nimport asyncio, asyncnb, time",
    "asyncnb.dashboard(height=336)",
    """
    %%agroup pages
    async def page(n):
        async for _ in asyncnb.track(range(100 * n)):
            await asyncio.sleep(0.05)
    for n in range(1, 6):
        pages.create_task(page(n), name=f"page-{n}")
    """,
    """
    %%atask download -t 300
    for part in asyncnb.track(range(1200)):
        print("part", part, "of 1200 has arrived")
        await asyncio.sleep(0.03)
    """,
    "%%atask train\nfor epoch in asyncnb.track(range(400)):\n    time.sleep(0.1)",
    "%%atask check\nraise ValueError('row 17 has no price')",
    "%atask heartbeat asyncio.sleep(3600)",
    "%tasks pause heartbeat",
]

# Where cells, from the first to the last of two, and the output of one are on the page.
CELL_BOX = """([first, last]) => {
    const cells = jupyterapp.shell.currentWidget.content.widgets;
    const { left, top, width } = cells[first].node.getBoundingClientRect();
    const { bottom } = cells[last].node.getBoundingClientRect();
    return { x: left, y: top, width, height: bottom - top };
}"""
OUTPUT_BOX = """([cell]) => {
    const { node } = jupyterapp.shell.currentWidget.content.widgets[cell];
    const output = node.querySelector('.asyncnb-dashboard');
    output.scrollIntoView({ block: 'center' });
    const { left, top, width, height } = output.getBoundingClientRect();
    return { x: left, y: top, width, height };
}"""


def main() -> None:
    lab = Lab()
    try:
        tutorials(lab)
        if "tutorials" not in sys.argv:
            dashboards(lab)
    finally:
        lab.close()


def dashboards(lab: Lab) -> None:
    """Make the pictures of the README."""
    notebook = lab.open(*BLOCKED)
    lab.call(notebook._page.set_viewport_size({"width": 1180, "height": 950}))
    for cell in range(3):
        notebook.run(cell)
    notebook.submit(3)
    notebook.see_row("prices", "failed")
    notebook.see_row("crawl docs", "done")
    notebook.ask("() => new Promise(done => setTimeout(done, 2000))")
    lab.call(notebook._page.screenshot(path=FOLDER / "dashboard.png"))
    notebook.press_stop()
    notebook.wait(3)
    notebook.close("pictures")

    notebook = lab.open(*OPENED)
    notebook.set_theme("JupyterLab Dark")
    for cell in range(len(OPENED)):
        notebook.run(cell)
    notebook.do(notebook.role("row", "download").click())
    notebook.see_row("page-1", "done")
    _picture(lab, notebook, "dashboard-dark")
    notebook.set_theme("JupyterLab Light")
    notebook.close("pictures")


def tutorials(lab: Lab) -> None:
    """Make the pictures that tutorials show, each from the tutorial's own cells."""
    quick_start(lab)

    cells = _code_cells("12_dashboard")
    live = cells.index("asyncnb.dashboard()")
    notebook = lab.open(*cells[: live + 1])
    lab.call(notebook._page.set_viewport_size({"width": 1080, "height": 900}))
    for cell in range(live + 1):
        notebook.run(cell)
    notebook.do(notebook.role("row", "download videos").click())
    notebook.see_on_page("await go_on.wait()")
    notebook.ask("() => new Promise(done => setTimeout(done, 1500))")
    _small(lab, notebook, OUTPUT_BOX, [live], "tutorial-dashboard")
    notebook.close("pictures")


def quick_start(lab: Lab) -> None:
    """A bar that moves while a cell blocks, and the dashboard."""
    cells = _code_cells("01_quickstart")
    live = cells.index("%tasks live")
    notebook = lab.open(*cells[: live + 1])
    lab.call(notebook._page.set_viewport_size({"width": 860, "height": 900}))
    notebook.run(0)
    notebook.run(1)
    notebook.ask("() => new Promise(done => setTimeout(done, 35_000))")  # so that the bar is long
    notebook.submit(2)
    notebook.ask("() => new Promise(done => setTimeout(done, 1700))")
    _small(lab, notebook, CELL_BOX, [1, 2], "quickstart-busy")
    for cell in range(2, live + 1):
        notebook.run(cell)
    notebook.see_row("clock", "waiting")
    notebook.ask("() => new Promise(done => setTimeout(done, 1500))")
    _small(lab, notebook, OUTPUT_BOX, [live], "quickstart-dashboard")
    notebook.close("pictures")


def _code_cells(tutorial: str) -> list[str]:
    path = ROOT / "notebooks" / f"{tutorial}.ipynb"
    nodes = nbformat.read(path, as_version=4).cells  # type: ignore[no-untyped-call]
    return [node.source for node in nodes if node.cell_type == "code"]


def _small(lab: Lab, notebook: Notebook, script: str, cells: list[int], name: str) -> None:
    """Take a picture of what ``script`` finds, in few colours: `asyncnb demo` copies it."""
    box = notebook.ask(script, cells)
    picture = Image.open(io.BytesIO(lab.call(notebook._page.screenshot(clip=box))))
    picture.convert("RGB").quantize(64).save(FOLDER / f"{name}.png", optimize=True)


def _picture(lab: Lab, notebook: Notebook, name: str) -> None:
    notebook.ask("() => new Promise(done => setTimeout(done, 1500))")
    dashboard = notebook._page.locator(".asyncnb-dashboard").first
    lab.call(dashboard.screenshot(path=FOLDER / f"{name}.png"))


if __name__ == "__main__":
    main()
