"""The extension of JupyterLab and Notebook 7: it is built, found, activated, set and disabled."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.lab import Lab, Notebook
from tests.kernel.driver import environment, install_kernelspec

# Each takes half a minute where nothing else runs.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

Open = Callable[..., Notebook]

#: How its plugin, its commands and its panel appear on a page.
STANDS = """async () => {
    await jupyterapp.restored;
    return {
        known: jupyterapp.hasPlugin('asyncnb:plugin'),
        active: jupyterapp.isPluginActivated('asyncnb:plugin'),
        command: jupyterapp.commands.hasCommand('asyncnb:show-panel'),
        panels: document.querySelectorAll('#asyncnb-panel').length,
    };
}"""
#: What the notification centre lists, when this text is there.
LISTED = """async text => {
    const listed = () => [...document.querySelectorAll('.jp-Notification-List-Item')]
        .map(node => node.textContent);
    await jupyterapp.commands.execute('apputils:display-notifications');
    while (!listed().some(each => each.includes(text))) {
        await new Promise(requestAnimationFrame);
    }
    return listed();
}"""
#: What notify.js does; whether the extension has taken it.
NOTICE = """message => !document.dispatchEvent(new CustomEvent('asyncnb:notify', {
    cancelable: true, detail: { message, type: 'info', options: { autoClose: false } },
}))"""
#: A kernel in whose environment there is no asyncnb.
WITHOUT = """
import sys

class Absent:
    @staticmethod
    def find_spec(name, *_):
        if name == "asyncnb":
            raise ModuleNotFoundError("No module named 'asyncnb'", name=name)

sys.meta_path.insert(0, Absent)
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_the_extension_is_active_and_shows_its_panel(open_notebook: Open, app: str) -> None:
    notebook = open_notebook("1", app=app)
    assert notebook.ask(STANDS) == {"known": True, "active": True, "command": True, "panels": 1}
    assert not notebook.do(notebook.role("region", "Tasks").is_visible())
    notebook.ask("() => { void jupyterapp.commands.execute('asyncnb:show-panel'); }")
    notebook.do(notebook.role("region", "Tasks").wait_for())


@pytest.fixture
def set_(lab: Lab) -> Iterator[Callable[..., None]]:
    """Set settings of the extension; the defaults return when the test ends."""
    yield lambda **values: lab.set_settings("asyncnb/plugin", values)
    lab.set_settings("asyncnb/plugin", None)


def test_new_kernels_have_it_loaded_if_the_setting_says_so(
    lab: Lab, open_notebook: Open, set_: Callable[..., None]
) -> None:
    set_(loadInNewKernels=True)
    notebook = open_notebook("%%atask hello\nprint('hello', 'there')", "%unload_ext asyncnb")
    notebook.run(0)
    notebook.see(0, "hello there")
    assert notebook.prompt(0) == "[1]:"  # loading has no number and no history
    notebook.press_restart()
    notebook.run(0)
    notebook.see(0, "hello there")
    assert notebook.prompt(0) == "[1]:"
    # Unloaded by hand, it stays so: the kernel is not new.
    notebook.run(1)
    notebook.reload()
    notebook.run(0)
    notebook.see(0, "UsageError: Cell magic `%%atask` not found.")


def test_where_it_is_not_installed_one_sentence_says_so(
    lab: Lab, open_notebook: Open, set_: Callable[..., None]
) -> None:
    kernels = lab.scratch / "data" / "kernels"
    command = ("-c", WITHOUT, "-f", "{connection_file}")
    install_kernelspec(sys.executable, kernels, "without", command=command)
    set_(loadInNewKernels=True)
    notebook = open_notebook("print('it', 'works')", kernel="without")
    try:
        listed = notebook.ask(LISTED, "asyncnb is not installed")
        assert [text for text in listed if "asyncnb" in text] == [listed[0]]
        notebook.press_restart()
        notebook.run(0)
        notebook.see(0, "it works")
        assert notebook.ask(NOTICE, "the last one") is True
        listed = notebook.ask(LISTED, "the last one")
        assert len([text for text in listed if "asyncnb is not installed" in text]) == 1
    finally:
        shutil.rmtree(kernels / "without")


def test_notifications_are_shown_unless_the_setting_says_no(
    open_notebook: Open, set_: Callable[..., None]
) -> None:
    set_(notifications=False)
    notebook = open_notebook("1")
    notebook.ask(STANDS)
    assert notebook.ask(NOTICE, "not wanted") is True
    set_(notifications=True)
    notebook.reload()
    notebook.ask(STANDS)
    assert notebook.ask(NOTICE, "<b>wanted") is True
    assert any("<b>wanted" in text for text in notebook.ask(LISTED, "wanted"))


def test_disabled_nothing_of_it_is_on_the_page_and_the_rest_works(
    lab: Lab, open_notebook: Open
) -> None:
    command = [sys.executable, "-m", "jupyter", "labextension", "disable", "asyncnb"]
    env: dict[str, Any] = environment(lab.scratch)
    done = subprocess.run([*command, "--level=user"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    try:
        notebook = open_notebook(
            "%load_ext asyncnb", "%%atask hello\nprint('hello', 'there')", "%tasks"
        )
        assert not any(notebook.ask(STANDS).values())
        notebook.run(0)
        notebook.run(1)
        notebook.see(1, "hello there")
        notebook.run(2)
        assert "hello" in notebook.text(2)
    finally:
        (lab.scratch / "config" / "labconfig" / "page_config.json").unlink()
