"""The extension of JupyterLab and Notebook 7 is built, found and activated."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

ACTIVE = """async () => {
    await jupyterapp.restored;
    return {
        known: jupyterapp.hasPlugin('asyncnb:plugin'),
        active: jupyterapp.isPluginActivated('asyncnb:plugin'),
        command: jupyterapp.commands.hasCommand('asyncnb:show-panel'),
        panels: document.querySelectorAll('#asyncnb-panel').length,
    };
}"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_the_extension_is_active_and_shows_its_panel(open_notebook, app):
    notebook = open_notebook("1", app=app)
    assert notebook.ask(ACTIVE) == {"known": True, "active": True, "command": True, "panels": 1}
    notebook.ask("() => { void jupyterapp.commands.execute('asyncnb:show-panel'); }")
    notebook.do(notebook.role("region", "Tasks").wait_for())
