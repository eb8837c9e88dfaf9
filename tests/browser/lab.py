"""Drive a real JupyterLab in a real browser, and read off its page what its user sees.

`Lab` is one server and one browser for many tests; `Lab.open` shows a notebook, with a kernel and a
page of its own, as a `Notebook`. Cells are counted from 0. Nothing sleeps and looks again: the page
is asked for promises, or watches for a change itself and answers once.

Playwright has a thread to itself. Its synchronous half would leave a running event loop in the
thread of the tests, where no other test could then start one.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import nbformat
import psutil

from asyncnb._lab.build import build
from tests.browser.contrast import CONTRAST
from tests.kernel.driver import ROOT, environment

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Locator, Page, Playwright

T = TypeVar("T")

ARTIFACTS = ROOT / ".artifacts" / "browser"
DEADLINE = 90.0  # seconds, on a machine that runs other tests beside a browser
# Where .ci/browser looks too; that script also installs one.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

SETTINGS = {
    # Cells out of sight would be taken out of the page.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

OPENED = "() => window.jupyterapp?.shell?.currentWidget?.content?.widgets?.length > 0"
READY = """async () => {
    const { context } = jupyterapp.shell.currentWidget;
    await jupyterapp.restored;
    await context.ready;
    await context.sessionContext.ready;
    await context.sessionContext.session.kernel.info;
}"""
STANDS = """() => {
    const context = window.jupyterapp?.shell?.currentWidget?.context;
    const kernel = context?.sessionContext.session?.kernel;
    return {
        notebook: context?.isReady,
        session: context?.sessionContext.isReady,
        kernel: kernel && `${kernel.status}, ${kernel.connectionStatus}`,
        dialog: document.querySelector('.jp-Dialog')?.textContent,
    };
}"""
SUBMIT = """index => {
    const notebook = jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    notebook.deselectAll();
    window.runs ??= {};
    window.runs[index] = jupyterapp.commands.execute('notebook:run-cell');
}"""
WAIT = "async index => { await window.runs[index]; }"
CELL = "(index => jupyterapp.shell.currentWidget.content.widgets[index])"
OUTPUTS = f"index => {CELL}(index).model.outputs.toJSON()"
TEXT = f"""index => [...{CELL}(index).node.querySelectorAll('.jp-OutputArea-output')]
    .map(output => output.textContent).join('\\n')"""
TABLES = f"""index => [...{CELL}(index).node.querySelectorAll('.jp-OutputArea-output table')]
    .map(table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent)))"""
PROMPT = f"index => {CELL}(index).node.querySelector('.jp-InputPrompt').textContent"
ROW = """name => {
    const row = [...document.querySelectorAll('[role=grid][aria-label=Tasks] [role=row]')]
        .find(row => row.getAttribute('aria-label') === name);
    return row ? [...row.children].map(cell => cell.textContent.trim()).join(' | ') : '(no row)';
}"""
RESTARTING = """() => {
    const { sessionContext } = jupyterapp.shell.currentWidget.context;
    window.restarted = new Promise(done => {
        let begun = false;
        sessionContext.statusChanged.connect((_, status) => {
            begun ||= status === 'restarting';
            if (begun && status === 'idle') done();
        });
    });
}"""
RESTARTED = "async () => { await window.restarted; }"
# What the menu's "New Subshell Console for Notebook" does, and then Shift-Enter in that console.
CONSOLE = """async () => {
    const { shell, commands } = jupyterapp;
    const notebook = shell.currentWidget;
    const made = await commands.execute('notebook:create-subshell-console', { activate: true });
    window.subshellConsole = made.console;
    await made.console.sessionContext.ready;
    await made.console.sessionContext.session.kernel.info;
    shell.activateById(notebook.id);
}"""
KERNEL = "jupyterapp.shell.currentWidget.context.sessionContext.session.kernel"
SUBSHELLS = f"""choice => {{
    const kernel = {KERNEL};
    if (kernel.commsOverSubshells === undefined) throw new Error('no choice of subshells');
    kernel.commsOverSubshells = choice;
}}"""
ASIDE = "line => { window.subshellConsole.inject(line); }"
SHOWS = f"([index, text]) => ({TEXT})(index).includes(text)"


class NoBrowserError(Exception):
    """There is nothing to show the pages in; the message says what to install."""


def find_chromium() -> str:
    """Return the path of a browser that starts: $ASYNCNB_CHROMIUM, or the first on PATH."""
    named = os.environ.get("ASYNCNB_CHROMIUM")
    for candidate in (named,) if named else BROWSERS:
        path = shutil.which(candidate)
        # Ubuntu's `chromium` may be a stub that only says where the real one is.
        if path and subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return path
    if named:
        raise NoBrowserError(f"ASYNCNB_CHROMIUM is {named!r}, which does not start as a browser.")
    raise NoBrowserError(
        "The browser tests need Chromium or Chrome, and there is none on PATH. Install one "
        "(Debian: apt-get install chromium; elsewhere: python -m playwright install --with-deps "
        "chromium), and if it is not on PATH, name it: ASYNCNB_CHROMIUM=/path/to/chrome"
    )


class Lab:
    """One JupyterLab server and one browser; `close` ends both, and every kernel.

    ``python`` is that of another environment, whose JupyterLab, kernel and asyncnb are then used as
    they are installed there. Otherwise they are those of the tests, asyncnb that of this clone.
    """

    def __init__(self, python: str | None = None) -> None:
        self._python = python
        chromium = find_chromium()
        try:
            from playwright.async_api import TimeoutError as PlaywrightTimeoutError
            from playwright.async_api import async_playwright
        except ImportError:
            raise NoBrowserError(
                "The browser tests need playwright: pip install playwright jupyterlab"
            ) from None
        self._start_playwright = async_playwright
        self.timeouts = (TimeoutError, PlaywrightTimeoutError)
        self.scratch = Path(tempfile.mkdtemp(prefix="asyncnb-lab-"))
        self.folder = self.scratch / "notebooks"
        self.folder.mkdir()
        self._opened = 0
        self._processes: set[psutil.Process] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="playwright")
        self._thread.start()
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._context: BrowserContext | None = None
        self._server: subprocess.Popen[bytes] | None = None
        try:
            self._start_server()
            self.call(self._start_browser(chromium))
            self._wait_for_server()
        except BaseException:
            self.close()
            raise

    def call(self, step: Coroutine[Any, Any, T], timeout: float = DEADLINE) -> T:
        """Run one step of playwright's on its thread; TimeoutError when it takes too long."""
        bounded = asyncio.wait_for(step, timeout)
        return asyncio.run_coroutine_threadsafe(bounded, self._loop).result(timeout + 5)

    def open(
        self, *cells: str, app: str = "lab", kernel: str = "python3", name: str = ""
    ) -> Notebook:
        """Show a new notebook of these code cells; return when its kernel is ready.

        ``app`` is "lab" or "notebook": Notebook 7, which the same server serves. ``kernel`` is the
        name of a kernel spec, ``name`` that of the notebook.
        """
        self._opened += 1
        (self.folder / "go").unlink(missing_ok=True)  # what a cell of an earlier test waited for
        path = self.folder / f"{name or f'test{self._opened}'}.ipynb"
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in cells],
            metadata={
                "kernelspec": {"name": kernel, "display_name": "Python 3", "language": "python"}
            },
        )
        nbformat.write(notebook, path)
        try:
            return self._show(path, app)
        except self.timeouts as error:
            # Nothing of ours has run yet: a page or a kernel of JupyterLab's did not come up. A
            # person loads it anew; the report gets what there is to find the cause by.
            said = self._log.read_text(errors="replace")[-1500:]
            warnings.warn(f"{path.name} is opened again: {error}\n{said}", stacklevel=2)
            return self._show(path, app)

    def _show(self, path: Path, app: str) -> Notebook:
        assert self._context is not None
        page = self.call(self._context.new_page())
        shown = Notebook(self, page, path)
        try:
            # /doc/: this notebook alone, without the side bar and what was open before.
            place = f"doc/tree/{path.name}?reset" if app == "lab" else f"notebooks/{path.name}"
            self.call(page.goto(f"{self.url}/{place}"))
            shown.wait_until_ready()
        except BaseException:
            shown.close(f"unopened-{path.stem}")
            raise
        return shown

    def blank_page(self) -> Page:
        """Return a new empty page, without any notebook; its user closes it."""
        assert self._context is not None
        return self.call(self._context.new_page())

    def request(self, method: str, path: str) -> Any:
        """Ask the server's REST interface."""
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def set_settings(self, name: str, values: dict[str, Any] | None) -> None:
        """Set what the settings editor does, for pages opened from here on; None for defaults.

        ``name`` is "asyncnb/plugin", or "notebook-extension/tracker" without "@jupyterlab/".
        """
        scope = "" if name.startswith("asyncnb/") else "@jupyterlab"
        path = self._settings / scope / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values or {}))

    def close(self) -> None:
        """End the server, its kernels, the browser and the thread; AssertionError if one stays."""
        try:
            self._note_processes()
            if self._browser is not None:
                self.call(self._browser.close())
            if self._playwright is not None:
                self.call(self._playwright.stop())
            if self._server is not None and self._server.poll() is None:
                self._server.terminate()
                self._server.wait(15)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(DEADLINE)
            _, alive = psutil.wait_procs(self._processes, timeout=5)
            for process in alive:
                process.kill()
            if self._server is not None:
                self._server.wait(5)
            shutil.rmtree(self.scratch, ignore_errors=True)
        assert not self._thread.is_alive(), "playwright's thread did not end"
        self._loop.close()
        assert not alive, f"still alive after the browser tests, and killed: {alive}"

    # Below: how the two are started

    def _start_server(self) -> None:
        self._settings = self.scratch / "settings"
        for name, values in SETTINGS.items():
            self.set_settings(name, values)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [
            self._python or sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
            "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.folder}",
            "--IdentityProvider.token=", "--ServerApp.password=",
            "--ServerApp.disable_check_xsrf=True",
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]  # fmt: skip
        if not self._python:
            labextensions = self.scratch / "labextensions"
            build(labextensions / "asyncnb", "0.0.0")  # of this clone, whatever is installed
            command.append(f"--LabServerApp.extra_labextensions_path={labextensions}")
        env = environment(self.scratch) | {
            "JUPYTERLAB_SETTINGS_DIR": str(self._settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.scratch / "workspaces"),
            # This environment's kernel, not one of the same name in the user's folder.
            "JUPYTER_PREFER_ENV_PATH": "1",
        }
        if self._python:
            del env["PYTHONPATH"]
        self._log = self.scratch / "server.log"
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip

    def _wait_for_server(self) -> None:
        assert self._server is not None
        deadline = time.monotonic() + 2 * DEADLINE
        while True:
            try:
                self.request("GET", "status")
                return
            except (urllib.error.URLError, OSError):
                if self._server.poll() is not None or time.monotonic() > deadline:
                    said = self._log.read_text(errors="replace")[-3000:]
                    raise AssertionError(f"jupyter lab did not start:\n{said}") from None
                time.sleep(0.1)  # a port says nothing when it opens

    async def _start_browser(self, chromium: str) -> None:
        before = set(psutil.Process().children())
        self._playwright = await self._start_playwright().start()
        # The program between playwright and the browser, which is the browser's parent.
        self._processes |= set(psutil.Process().children()) - before
        self._browser = await self._playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
            ],
        )  # fmt: skip
        self._context = await self._browser.new_context(viewport={"width": 1100, "height": 1000})

    def _note_processes(self) -> None:
        """Note every process that the server and the browser have started, to see them end."""
        if self._server is not None and psutil.pid_exists(self._server.pid):
            self._processes.add(psutil.Process(self._server.pid))
        for process in list(self._processes):
            try:
                self._processes |= set(process.children(recursive=True))
            except psutil.NoSuchProcess:
                pass


class Notebook:
    """One notebook on its page."""

    def __init__(self, lab: Lab, page: Page, path: Path) -> None:
        self._lab = lab
        self._page = page
        self.path = path

    def wait_until_ready(self) -> None:
        """Wait until the page shows the notebook, and its kernel answers."""
        try:
            opened = self._page.wait_for_function(OPENED, timeout=1000 * DEADLINE)
            self._lab.call(opened, DEADLINE + 1)
            self._ask(READY)
        except self._lab.timeouts:
            stands = self._lab.call(self._page.evaluate(STANDS), 5)
            raise TimeoutError(f"not ready after {DEADLINE:g} s: {stands}") from None

    def reload(self) -> None:
        """Load the page anew, as F5 does."""
        self._lab.call(self._page.reload())
        self.wait_until_ready()

    def save(self) -> None:
        """Save the notebook."""
        self._ask("async () => { await jupyterapp.commands.execute('docmanager:save'); }")

    def submit(self, cell: int) -> None:
        """Run a cell, as Ctrl-Enter does, without waiting for it."""
        self._ask(SUBMIT, cell)

    def wait(self, cell: int) -> None:
        """Wait until a cell that was submitted is done."""
        self._ask(WAIT, cell)

    def run(self, cell: int) -> None:
        """Run a cell and wait until it is done, well or not."""
        self.submit(cell)
        self.wait(cell)

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        """The outputs as they will be saved."""
        return list(self._ask(OUTPUTS, cell))

    def text(self, cell: int) -> str:
        """All the text that the page shows below a cell."""
        return str(self._ask(TEXT, cell))

    def tables(self, cell: int) -> list[list[list[str]]]:
        """The HTML tables below a cell, each a list of rows of texts."""
        return list(self._ask(TABLES, cell))

    def prompt(self, cell: int) -> str:
        """The prompt at the left of a cell: `[*]:` while it runs."""
        return str(self._ask(PROMPT, cell))

    def see(self, cell: int, text: str) -> None:
        """Wait until the page shows a text below a cell."""
        from playwright.async_api import TimeoutError as PlaywrightTimeoutError

        shown = self._page.wait_for_function(SHOWS, arg=[cell, text], timeout=1000 * DEADLINE)
        try:
            self._lab.call(shown, DEADLINE + 1)
        except (PlaywrightTimeoutError, TimeoutError):
            raise AssertionError(f"cell {cell} shows no {text!r}: {self.text(cell)!r}") from None

    def set_theme(self, name: str) -> None:
        """Change the theme, as the menu does; return when the page has it."""
        theme = "name => jupyterapp.commands.execute('apputils:change-theme', { theme: name })"
        self._ask(theme, name)
        # It fades out over the page for a moment more.
        uncovered = "() => !document.querySelector('#jupyterlab-splash')"
        self._lab.call(self._page.wait_for_function(uncovered), DEADLINE + 1)

    def use_subshells(self, used: bool) -> None:
        """Make the page send the messages of widgets to a subshell, as it does by default."""
        self._ask(SUBSHELLS, "perCommTarget" if used else "disabled")

    def subshells(self) -> str:
        """How the page sends what widgets say: `perCommTarget`, `disabled`."""
        return str(self._ask(f"() => {KERNEL}.commsOverSubshells"))

    def open_subshell_console(self) -> None:
        """Open a console whose lines run beside the cells of this notebook."""
        self._ask(CONSOLE)

    def submit_aside(self, line: str) -> None:
        """Run a line in the subshell console, without waiting for it."""
        self._ask(ASIDE, line)

    def press_stop(self) -> None:
        """Click the stop button of the toolbar."""
        self._click('[data-jp-item-name="interrupt"]')

    def press_restart(self) -> None:
        """Click the restart button and confirm; return when the new kernel is there."""
        self._ask(RESTARTING)
        self._click('[data-jp-item-name="restart"]')
        self._click(".jp-Dialog button.jp-mod-accept")
        self._ask(RESTARTED)

    def screenshot(self, name: str) -> Path:
        """Leave a picture of the page in .artifacts/browser."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        self._lab.call(self._page.screenshot(path=path))
        return path

    def close(self, picture: str) -> None:
        """Take a last picture, close the page and end its kernel."""
        try:
            self.screenshot(picture)
        finally:
            self._lab.call(self._page.close())
            for session in self._lab.request("GET", "sessions"):
                if session["path"] == self.path.name:
                    self._lab.request("DELETE", f"sessions/{session['id']}")

    def _ask(self, script: str, argument: Any = None) -> Any:
        return self._lab.call(self._page.evaluate(script, argument))

    def _click(self, selector: str) -> None:
        self._lab.call(self._page.locator(selector).click(timeout=1000 * DEADLINE), DEADLINE + 1)

    # The dashboard, by its accessible names

    def ask(self, script: str, argument: Any = None) -> Any:
        """Evaluate on the page."""
        return self._ask(script, argument)

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        """Run one step of playwright's."""
        return self._lab.call(step)

    def role(self, role: Any, name: str) -> Locator:
        """The element of this role and this very name."""
        return self._page.get_by_role(role, name=name, exact=True)

    def find(self, selector: str) -> Locator:
        """The elements that a selector of CSS finds."""
        return self._page.locator(selector)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self._lab.call(self._page.keyboard.press(key))

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self._lab.call(self._page.keyboard.type(text))

    def see_on_page(self, text: str) -> None:
        """Wait until the dashboard shows a text."""
        shows = "text => document.querySelector('.asyncnb-dashboard')?.textContent.includes(text)"
        shown = self._page.wait_for_function(shows, arg=text, timeout=1000 * DEADLINE)
        self._lab.call(shown, DEADLINE + 1)

    def worst_contrast(self, selector: str) -> tuple[str, float]:
        """The text under these elements that is hardest to read, and its contrast.

        Waits until any is shown: a cell is taken out for a moment while the page is laid out anew.
        """
        worst = self._page.wait_for_function(
            f"selector => ({CONTRAST})(selector)[0]", arg=selector, timeout=1000 * DEADLINE
        )
        what, ratio = self._lab.call(self._lab.call(worst, DEADLINE + 1).json_value())
        return what, ratio

    def button(self, name: str) -> None:
        """Click the button of this very name."""
        self._lab.call(self.role("button", name).click(timeout=1000 * DEADLINE), DEADLINE + 1)

    def row(self, name: str) -> str:
        """What the row of this task shows, its cells separated by bars."""
        return str(self._ask(ROW, name))

    def see_row(self, name: str, *texts: str) -> None:
        """Wait until the row of this task shows all these texts."""
        from playwright.async_api import TimeoutError as PlaywrightTimeoutError

        shows = f"([name, texts]) => texts.every(text => ({ROW})(name).includes(text))"
        shown = self._page.wait_for_function(shows, arg=[name, texts], timeout=1000 * DEADLINE)
        try:
            self._lab.call(shown, DEADLINE + 1)
        except (PlaywrightTimeoutError, TimeoutError):
            raise AssertionError(f"{name}: no {texts}, but {self.row(name)!r}") from None
