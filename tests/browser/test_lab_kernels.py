"""The extension of JupyterLab knows of every running kernel whether it has asyncnb, and its tasks.

Each test looks at what one page knows, through the service that the extension provides, and waits
for its signals.
"""

from __future__ import annotations

import json
import shutil
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import nbformat
import pytest

from tests.browser.lab import Lab, Notebook

# Each takes half a minute where nothing else runs.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

# The service, from the registry of plugins, whose names differ between versions of Lumino.
FOLLOW = """async () => {
    await jupyterapp.restored;
    const registry = jupyterapp.pluginRegistry ?? jupyterapp;
    const isService = token => token?.name === 'asyncnb:IKernels';
    const tokens = Object.values(registry).flatMap(v => v instanceof Map ? [...v.keys()] : []);
    window.kernels = await registry.resolveRequiredService(tokens.find(isService));
    window.entryOf = path => [...kernels.entries.values()].find(entry => entry.path === path);
    window.until = test => new Promise((done, fail) => {
        const look = () => {
            let found;
            try {
                found = test();
            } catch (error) {
                fail(error);
            }
            if (!found) return;
            kernels.changed.disconnect(look);
            done(found);
        };
        kernels.changed.connect(look);
        look();
    });
    // What each had in turn, to see what was there in between.
    window.states = {};
    kernels.changed.connect((_, entry) => {
        if (!entry) return;
        const seen = states[entry.path] ??= [];
        if (seen.at(-1) !== entry.state) seen.push(entry.state);
    });
}"""

TASKS = """
import asyncio, asyncnb

async def work():
    await asyncio.sleep(3600)

for i in range(3):
    asyncnb.launch(work(), name=f"crawl {i}")
"""
# Blocks the main thread until it is interrupted or the file is there.
BLOCK = """
import pathlib, time
while not pathlib.Path("free").exists():
    time.sleep(0.01)
"""


class Kernels:
    """What the extension knows in the page of one notebook."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        notebook.ask(FOLLOW)

    def until(self, path: str, test: str) -> None:
        """Wait until a test of the entry `e` with this path holds; `e` is undefined without one."""
        script = f"""path => until(() => {{
            const e = entryOf(path);
            return Boolean({test});
        }})"""
        try:
            self.notebook.ask(script, path)
        except Exception as error:
            known = "() => [...kernels.entries.values()].map(e => [e.path, e.state, e.summary])"
            raise AssertionError(f"{test}: {self.notebook.ask(known)}") from error

    def state(self, path: str, state: str) -> None:
        """Wait until the entry has this state."""
        self.until(path, f"e?.state === '{state}'")

    def ask(self, path: str, script: str) -> Any:
        """Evaluate with the entry as `e`."""
        return self.notebook.ask(f"async path => {{ const e = entryOf(path); {script} }}", path)

    def forget(self, path: str) -> None:
        """Note states anew."""
        self.notebook.ask("path => { states[path] = []; }", path)

    def states(self, path: str) -> list[str]:
        """The states since `forget`."""
        return list(self.notebook.ask("path => states[path]", path))


def send(lab: Lab, method: str, path: str, body: dict[str, Any]) -> Any:
    """Send an object to the server's REST interface."""
    request = urllib.request.Request(
        f"{lab.url}/api/{path}",
        method=method,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def test_kernels_are_followed_through_loading_blocking_restart_and_death(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    other = open_notebook(BLOCK, TASKS, "import os; os.kill(os.getpid(), 9)")
    here = open_notebook("1", "%load_ext asyncnb", TASKS, BLOCK)
    path, there = here.path.name, other.path.name
    free = lab.folder / "free"
    kernels = Kernels(here)

    # Both are found; one by the connection of its notebook, one by a connection for this alone.
    kernels.state(path, "absent")
    kernels.state(there, "absent")
    assert kernels.ask(path, "return [e.name, e.isOwn, e.panel !== null]") == [path, False, True]
    assert kernels.ask(there, "return [e.name, e.panel]") == [there, None]
    assert "has not loaded asyncnb" in kernels.ask(
        there, "return e.request({ c: 'hello' }).catch(error => error.message)"
    )

    # A cell that loads it is noticed; another cell is not asked about more than once a second.
    here.run(0)
    kernels.state(path, "absent")
    here.run(1)
    kernels.state(path, "loaded")
    kernels.until(path, "e.summary?.counts.running === 0")

    # Loading waits for the cell that blocks the kernel, and says so.
    other.submit(0)
    kernels.ask(there, "window.loading = e.load().then(() => 'loaded', String);")
    kernels.until(there, "e.note?.includes('when the running cell has ended')")
    free.touch()
    assert here.ask("() => loading") == "loaded"
    kernels.until(there, "e.state === 'loaded' && e.note === null")
    other.wait(0)
    free.unlink()

    # Tasks show in the summary, by cell; a subscription has their rows.
    other.run(1)
    kernels.until(there, "e.summary?.counts.running === 3")
    here.run(2)
    kernels.until(path, "e.summary?.counts.running === 3")
    cell = here.ask("() => jupyterapp.shell.currentWidget.content.widgets[2].model.id")
    assert kernels.ask(path, "return e.summary.cells.map(([id]) => id)") == [cell]
    kernels.ask(
        path,
        """window.got = [];
        window.rows = e.openRows(message => { got.push(message); e.changed(); });""",
    )
    kernels.until(path, "got.some(m => m.k === 'snapshot' && m.texts.length === 3)")

    # While a cell blocks: commands arrive, and the kernel is still shown as busy.
    here.submit(3)
    kernels.ask(path, f"window.stopped = e.requestStop({json.dumps(cell)});")
    assert here.ask("() => stopped") == "cancellation requested for 3 tasks"
    kernels.until(path, "e.summary.counts.running === 0 && e.summary.counts.cancelled === 3")
    assert kernels.ask(path, "return e.connection.status") == "busy"
    refused = kernels.ask(path, "return e.requestStop('no such cell').catch(error => error.kind)")
    assert refused == "refused"
    kernels.ask(path, "rows.post({ c: 'rename', id: 1, name: '', n: 'mine' });")
    kernels.until(path, "got.some(m => m.k === 'ack' && m.n === 'mine' && !m.ok)")

    # A restart: what was is gone, and after it is loaded again the rows begin anew.
    kernels.forget(path)
    here.press_restart()
    kernels.state(path, "absent")
    assert kernels.states(path) == ["restarting", "absent"]
    assert kernels.ask(path, "return [e.summary, e.channel]") == [None, None]
    here.ask("() => { got.length = 0; }")
    here.run(1)
    kernels.until(path, "got.some(m => m.k === 'snapshot' && m.texts.length === 0)")
    here.run(2)
    kernels.until(path, "e.summary?.counts.running === 3")

    # A kernel that dies is started again by the server.
    kernels.forget(there)
    other.submit(2)
    kernels.state(there, "absent")
    assert kernels.states(there)[-2:] == ["restarting", "absent"]
    assert kernels.ask(there, "return e.summary") is None

    # A lost connection, as after the lid was closed: the rows begin anew.
    here.ask("() => { got.length = 0; }")
    kernels.forget(path)
    kernels.ask(path, "await e.connection.reconnect();")
    kernels.until(path, "got.some(m => m.k === 'snapshot' && m.texts.length === 3)")
    assert kernels.states(path) == ["disconnected", "loaded"]
    assert kernels.ask(path, "return e.protocol.byComm.size") == 2
    kernels.ask(path, "rows.dispose();")
    assert kernels.ask(path, "return [e.rows, e.protocol.byComm.size]") == [0, 1]

    # Restarted by another page.
    kernels.forget(path)
    id = kernels.ask(path, "return e.id")
    lab.request("POST", f"kernels/{id}/restart")
    kernels.state(path, "absent")
    assert kernels.states(path) == ["restarting", "absent"]

    # Shut down.
    lab.request("DELETE", f"kernels/{kernels.ask(there, 'return e.id')}")
    here.ask("() => { jupyterapp.serviceManager.sessions.refreshRunning(); }")
    kernels.until(there, "!e")
    assert here.ask("() => kernels.entries.size") == 1


def test_notebooks_are_named_opened_closed_renamed_and_listed_as_running(
    lab: Lab, open_notebook: Callable[..., Notebook]
) -> None:
    spec = lab.scratch / "data" / "kernels" / "asyncnb-test-r"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    text = {"argv": argv, "display_name": "Not Python", "language": "R"}
    (spec / "kernel.json").write_text(json.dumps(text))
    paths = ["a/same.ipynb", "b/same.ipynb", "other.ipynb"]
    started = []
    try:
        for path, name in zip(paths, ["python3", "python3", "asyncnb-test-r"], strict=True):
            (lab.folder / path).parent.mkdir(exist_ok=True)
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(TASKS)])
            nbformat.write(notebook, lab.folder / path)
            session = {"path": path, "name": "", "type": "notebook", "kernel": {"name": name}}
            started.append(send(lab, "POST", "sessions", session))
        check_names_and_running(lab, open_notebook("%load_ext asyncnb", TASKS), paths)
    finally:
        for session in lab.request("GET", "sessions"):
            if session["id"] in {each["id"] for each in started}:
                lab.request("DELETE", f"sessions/{session['id']}")
        shutil.rmtree(spec)


def check_names_and_running(lab: Lab, here: Notebook, paths: list[str]) -> None:
    kernels = Kernels(here)
    same, twin, foreign = paths
    here.ask("async () => { await jupyterapp.serviceManager.kernelspecs.refreshSpecs(); }")
    for path in (same, twin):
        kernels.state(path, "absent")
    kernels.state(foreign, "foreign")
    assert here.ask("() => [...kernels.entries.values()].map(e => e.name)") == [
        "a/same.ipynb", "b/same.ipynb", "other.ipynb", here.path.name,
    ]  # fmt: skip
    assert "no kernel of IPython" in kernels.ask(
        foreign, "return e.load().catch(error => error.message)"
    )

    # Loaded from here, opened in this page, run and closed: its tasks are still known.
    kernels.ask(same, "await e.load();")
    kernels.state(same, "loaded")
    here.ask(
        """async path => {
            const { commands } = jupyterapp;
            window.first = jupyterapp.shell.currentWidget;
            const panel = window.opened = await commands.execute('docmanager:open', { path });
            await panel.context.ready;
            await panel.sessionContext.ready;
        }""",
        same,
    )
    kernels.until(same, "e.panel === opened && !e.isOwn && e.state === 'loaded'")
    assert here.ask("() => kernels.of(opened) === entryOf(opened.context.path)")
    here.submit(0)
    here.wait(0)
    kernels.until(same, "e.summary?.counts.running === 3")
    here.ask("() => { opened.dispose(); }")
    kernels.until(same, "e.isOwn && e.panel === null && e.summary?.counts.running === 3")
    assert kernels.ask(same, "return e.state") == "loaded"

    # JupyterLab's panel of running things lists the cell, goes to it, and stops it.
    here.ask("() => { jupyterapp.shell.activateById('jp-running-sessions'); }")
    item = here.find("#jp-running-sessions .asyncnb-running-cell")
    label = item.locator(".jp-RunningSessions-itemLabel")
    here.do(label.wait_for())
    assert here.do(label.all_text_contents()) == ["crawl 0 (3, 0/3)"]
    here.do(label.click())
    kernels.until(same, "e.panel !== null && e.panel === jupyterapp.shell.currentWidget")
    here.do(item.hover())
    here.do(item.locator(".jp-RunningSessions-itemShutdown").click())
    kernels.until(same, "e.summary.counts.cancelled === 3")
    here.do(item.wait_for(state="detached"))
    assert here.ask("() => jupyterapp.shell.currentWidget.content.activeCellIndex") == 0

    # Renamed, its name is no longer that of another one.
    here.ask("async () => { await jupyterapp.shell.currentWidget.context.rename('new.ipynb'); }")
    kernels.until("a/new.ipynb", "e?.name === 'new.ipynb'")
    kernels.until(twin, "e.name === 'same.ipynb'")
    here.ask("() => { jupyterapp.shell.currentWidget.dispose(); }")
