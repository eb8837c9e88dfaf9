"""Make the pictures of JupyterLab's Tasks panel: ``python -m tests.browser.lab_pictures``.

Two screenshots, and an animation of what a pointer does there.
"""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from tests.browser.lab import DEADLINE, Lab, Notebook
from tests.browser.test_lab_cells import BUTTON, select, wait_for
from tests.browser.test_lab_panel import SHOW, Panel
from tests.kernel.driver import ROOT

FOLDER = ROOT / "notebooks" / "reference" / "images"
SIZE = {"width": 1180, "height": 660}
MOST_BYTES = 1_000_000

CRAWL = [
    "import asyncio, asyncnb, time\n\nfetch = lambda page: asyncio.sleep(0.05)",
    """
    # crawl docs
    async for page in asyncnb.track(range(2_000)):
        await fetch(page)
    """,
    """
    # crawl shop
    async for page in asyncnb.track(range(5_000)):
        await fetch(page)
    """,
    """
    # This cell blocks the kernel. The tasks keep running.
    while True:
        sum(range(10_000))
    """,
]
TRAIN = [
    "%load_ext asyncnb\nimport asyncio, asyncnb",
    """
    async def fold(number):
        async for _ in asyncnb.track(range(2_000 * number)):
            await asyncio.sleep(0.05)

    for number in range(2, 5):
        asyncnb.launch(fold(number), name=f"fold {number}", group="folds")
    asyncnb.launch(asyncio.sleep(3600), name="watch folder", timeout=7200);
    """,
    "%%atask prices\nraise ConnectionError('the price list is not there')",
]
# A pointer to see: a browser without a window paints none.
POINTER = """() => {
    const pointer = document.createElement('div');
    pointer.id = 'pointer';
    pointer.innerHTML = '<svg width="22" height="28" viewBox="0 0 22 28"><path fill="#111" '
        + 'stroke="#fff" stroke-width="1.5" d="M2 2v20l5-4 3.500 8 4-1.700-3.500-8H18z"/></svg>';
    pointer.style.cssText = 'position: fixed; left: 600px; top: 420px; z-index: 100000;'
        + 'pointer-events: none;';
    document.body.append(pointer);
}"""
MOVE = """([x, y]) => {
    const pointer = document.getElementById('pointer');
    pointer.style.left = `${x}px`;
    pointer.style.top = `${y}px`;
}"""
#: As a user does with the handle between the two.
WIDEN = "() => { jupyterapp.shell._hsplitPanel.setRelativeSizes([330, 850, 0]); }"
#: What the environment of the tests has besides.
OTHERS = ("ipyparallel-labextension", "@pyviz/jupyterlab_pyviz", "jupyterlab-jupytext")
PAUSE = "milliseconds => new Promise(done => setTimeout(done, milliseconds))"


class Film:
    """Screenshots of a page, each with the time for which it is shown."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.frames: list[Any] = []
        self.times: list[int] = []
        notebook.ask(POINTER)

    def take(self, milliseconds: int = 500) -> None:
        taken = self.notebook.do(self.notebook._page.screenshot())
        self.frames.append(Image.open(io.BytesIO(taken)).convert("RGB"))
        self.times.append(milliseconds)

    def watch(self, frames: int) -> None:
        """Take what changes by itself."""
        for _ in range(frames):
            self.notebook.ask(PAUSE, 400)
            self.take(400)

    def click(self, selector: str) -> None:
        """Move the pointer there, and click."""
        place = self.notebook._page.locator(selector).first
        self.notebook.do(place.hover(timeout=1000 * DEADLINE))
        box = self.notebook.do(place.bounding_box())
        assert box is not None
        self.notebook.ask(MOVE, [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
        self.take(700)
        self.notebook.do(place.click(timeout=1000 * DEADLINE))

    def save(self, name: str) -> None:
        """Write it as WebP, of the best quality that is small enough."""
        first, *others = [
            frame.resize((1000, 560), Image.Resampling.LANCZOS) for frame in self.frames
        ]
        for quality in (90, 80, 65, 50):
            written = io.BytesIO()
            first.save(
                written, "WEBP", save_all=True, append_images=others, duration=self.times,
                loop=0, quality=quality, method=6, minimize_size=True,
            )  # fmt: skip
            if len(written.getvalue()) <= MOST_BYTES:
                break
        (FOLDER / f"{name}.webp").write_bytes(written.getvalue())
        print(f"{name}.webp: {len(written.getvalue()):,} bytes, quality {quality}")


def animation(notebook: Notebook, panel: Panel) -> None:
    film = Film(notebook)
    select(notebook, 1)
    film.take(1200)
    film.click(BUTTON.format("run-in-background"))
    wait_for(notebook, 1, prompt="[~]:")
    film.watch(3)
    select(notebook, 2)
    film.click(BUTTON.format("run-in-background"))
    wait_for(notebook, 2, prompt="[~]:")
    film.watch(2)
    select(notebook, 3)
    film.click('[data-jp-item-name="run"]')
    wait_for(notebook, 3, prompt="[*]:")
    film.watch(3)
    notebook.do(notebook._page.screenshot(path=FOLDER / "lab-panel.png"))
    film.click("#asyncnb-panel [aria-label='crawl shop']")
    film.click("#asyncnb-panel [aria-label='Cancel crawl shop']")
    panel.see("crawl shop", "cancelled")
    film.watch(4)
    film.times[-1] = 2500
    film.save("lab-panel")
    notebook.ask("() => document.getElementById('pointer').remove()")


def main() -> None:
    lab = Lab()
    config = lab.scratch / "config" / "labconfig" / "page_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"disabledExtensions": dict.fromkeys(OTHERS, True)}))
    try:
        notebook = lab.open(*CRAWL, name="crawl")
        notebook.do(notebook._page.set_viewport_size(SIZE))
        panel = Panel(lab, notebook)
        panel.open_beside("train.ipynb", *TRAIN)
        for cell in range(3):
            notebook.run(cell)
        panel.bring_forward("crawl.ipynb")
        notebook.run(0)
        notebook.ask(SHOW)
        notebook.ask(WIDEN)
        panel.see("prices", "failed")
        animation(notebook, panel)
        notebook.ask("() => jupyterapp.commands.execute('notebook:interrupt-kernel')")
        notebook.see(3, "KeyboardInterrupt")
        notebook.set_theme("JupyterLab Dark")
        select(notebook, 1)
        panel.click("row", "fold 3")
        notebook.ask(PAUSE, 1500)
        notebook.do(notebook._page.screenshot(path=FOLDER / "lab-panel-dark.png"))
        notebook.set_theme("JupyterLab Light")
        panel.close()
        notebook.close("pictures")
    finally:
        lab.close()


if __name__ == "__main__":
    main()
