"""Make the pictures of the dashboard in the README: ``python -m tests.browser.pictures``."""

from __future__ import annotations

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


def main() -> None:
    lab = Lab()
    try:
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
    finally:
        lab.close()


def _picture(lab: Lab, notebook: Notebook, name: str) -> None:
    notebook.ask("() => new Promise(done => setTimeout(done, 1500))")
    dashboard = notebook._page.locator(".asyncnb-dashboard").first
    lab.call(dashboard.screenshot(path=FOLDER / f"{name}.png"))


if __name__ == "__main__":
    main()
