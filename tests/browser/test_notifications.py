"""Notifications in a real notebook: the desktop, JupyterLab's own, the title, the bell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.lab import DEADLINE, Lab, Notebook
from tests.browser.test_notify_js import PRELUDE

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

LOAD = """
%load_ext asyncnb
import asyncio, asyncnb, pathlib, time
go = pathlib.Path("go")
async def wait():
    while not go.exists(): await asyncio.sleep(0.01)
"""
#: What JupyterLab lists in its notification centre, the newest first.
LISTED = """async () => {
    const open = () => [...document.querySelectorAll('.jp-Notification-List-Item')];
    await jupyterapp.commands.execute('apputils:display-notifications');
    while (!open().length) await new Promise(requestAnimationFrame);
    const listed = open().map(node => node.textContent);
    return listed;
}"""


@pytest.fixture(autouse=True)
def allowed(lab: Lab) -> Iterator[None]:
    assert lab._context is not None
    lab.call(lab._context.grant_permissions(["notifications"], origin=lab.url))
    yield
    lab.call(lab._context.clear_permissions())


def see(notebook: Notebook, condition: str, argument: Any = None) -> None:
    """Wait until a condition holds on the page."""
    seen = notebook._page.wait_for_function(condition, arg=argument, timeout=1000 * DEADLINE)
    notebook._lab.call(seen, DEADLINE + 1)


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_hidden_page_notifies_while_a_cell_blocks_the_kernel(
    open_notebook: Open, app: str
) -> None:
    notebook = open_notebook(
        LOAD,
        "%%atask 'crawl <b>' --notify\nawait wait()\nraise ValueError('<img src=x>')",
        "while not pathlib.Path('over').exists(): time.sleep(0.01)",
        app=app,
    )
    notebook.ask(PRELUDE)
    notebook.run(0)
    notebook.run(1)
    title = notebook.ask("() => document.title")
    notebook.submit(2)
    notebook.ask("() => hide(true)")
    (notebook.path.parent / "go").touch()
    try:
        see(notebook, "() => desktop.length")
        assert notebook.prompt(2) == "[*]:"  # it was shown while that cell ran
    finally:
        (notebook.path.parent / "over").touch()
        notebook.wait(2)
        (notebook.path.parent / "over").unlink()
        (notebook.path.parent / "go").unlink()
    [[shown, body]] = notebook.ask("() => desktop")
    assert shown == "crawl <b> failed"
    assert body.endswith("s: ValueError: <img src=x>")
    assert notebook.ask("() => document.title") == f"(1) {title}"
    # JupyterLab sets the title whenever another document is opened or renamed.
    notebook.ask(
        "async () => { document.title = 'new'; await new Promise(requestAnimationFrame); }"
    )
    assert notebook.ask("() => document.title") == "(1) new"
    notebook.ask("title => { document.title = `(1) ${title}`; hide(false); }", title)
    assert notebook.ask("() => document.title") == title
    notebook.screenshot(f"notification-{app}")
    [listed, *_] = notebook.ask(LISTED)
    assert "crawl <b> failed: after" in listed
    assert "<img src=x>" in listed
    assert notebook.ask("() => document.querySelectorAll('img[src=x]').length") == 0
    notebook.screenshot(f"notification-centre-{app}")


def test_the_bell_of_a_row_asks_the_browser_and_is_a_toggle(open_notebook: Open) -> None:
    notebook = open_notebook(LOAD, "%tasks live", "%%atask job\nawait wait()")
    notebook.ask(PRELUDE)
    notebook.ask("() => { window.allowed = 'default'; }")
    for cell in range(3):
        notebook.run(cell)
    notebook.see_row("job", "waiting")
    bell = notebook.role("button", "Notify when job ends")
    assert notebook.do(bell.get_attribute("aria-pressed")) == "false"
    notebook.button("Notify when job ends")
    pressed = "wanted => document.querySelector('[data-verb=notify]').ariaPressed === wanted"
    see(notebook, pressed, "true")
    assert notebook.ask("() => window.asked") == 1
    notebook.see_on_page("you will be notified when job ends")
    notebook.screenshot("notification-bell")
    notebook.do(notebook.role("row", "job").focus())
    notebook.press("n")
    see(notebook, pressed, "false")
    notebook.press("n")
    see(notebook, pressed, "true")
    notebook.ask("() => hide(true)")
    (notebook.path.parent / "go").touch()
    try:
        see(notebook, "() => desktop.length")
        notebook.see_row("job", "done")
    finally:
        (notebook.path.parent / "go").unlink()
    assert [each[0] for each in notebook.ask("() => desktop")] == ["job is done"]
    assert notebook.do(bell.count()) == 0  # an ended task has none
    assert notebook.ask("() => window.asked") == 1


def test_of_two_pages_one_notifies(open_notebook: Open, lab: Lab) -> None:
    first = open_notebook(
        LOAD,
        "asyncnb.notify('one')\nkept = lambda: extension._loaded._browser._notifier._kept",
        "%asyncnb option notify_after 0\n"
        "async def fail(): await wait(); raise ValueError('no')\n"
        "asyncnb.launch(fail(), name='broken').join()",
        "import asyncnb._extension as extension\nwhile kept(): time.sleep(0.01)",
    )
    first.run(0)
    first.run(1)  # the widget is made; the second page gets it from the kernel
    second = lab._show(first.path, "lab")
    go = first.path.parent / "go"
    go.touch()
    try:
        for page in (first, second):
            page.ask(PRELUDE)
            page.ask("() => hide(true)")
        first.run(2)
        first.run(3)  # until a page has shown it
        shown = [page.ask("() => desktop") for page in (first, second)]
        assert sorted(map(len, shown)) == [0, 1]
        assert (shown[0] or shown[1])[0][0] == "broken failed"
    finally:
        go.unlink(missing_ok=True)
