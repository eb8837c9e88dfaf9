"""Headless runs: late output is kept in its cell, and a failed task makes the run fail."""

from __future__ import annotations

import pytest

from tests.kernel.driver import environment, install_kernelspec

nbformat = pytest.importorskip("nbformat")

PREPARE = "%load_ext asyncnb\nimport asyncio, asyncnb, time"


def notebook(*cells: str):
    nb = nbformat.v4.new_notebook()
    nb.metadata["kernelspec"] = {
        "name": "under-test",
        "display_name": "under-test",
        "language": "python",
    }
    nb.cells = [nbformat.v4.new_code_cell(code) for code in (PREPARE, *cells)]
    return nb


def stored(cell) -> str:
    """All text in the outputs of a stored cell."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type == "error":
            parts.append(f"{output.ename}: {output.evalue}")
        else:
            parts.append(output.data.get("text/plain", ""))
    return "\n".join(parts)


def with_nbclient(nb, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    client = nbclient.NotebookClient(nb, timeout=60, kernel_name="under-test")
    try:
        client.execute(cwd=str(tmp_path))
    finally:
        ran = nb.cells
    return ran


def with_papermill(nb, tmp_path):
    papermill = pytest.importorskip("papermill")
    nbformat.write(nb, tmp_path / "in.ipynb")
    papermill.execute_notebook(
        str(tmp_path / "in.ipynb"),
        str(tmp_path / "out.ipynb"),
        kernel_name="under-test",
        progress_bar=False,
        cwd=str(tmp_path),
        execution_timeout=60,
    )
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    return [c for c in cells if c.source and "papermill-error" not in str(c.metadata.get("tags"))]


@pytest.fixture(params=[with_nbclient, with_papermill], ids=["nbclient", "papermill"])
def execute(request, python, tmp_path, monkeypatch):
    """Run a notebook with a headless runner; return its cells as stored."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MPLBACKEND", raising=False)
    install_kernelspec(python, tmp_path / "data" / "kernels")
    return lambda *cells: request.param(notebook(*cells), tmp_path)


SAID_LATE = "print('late print')\ndisplay('late display')\n'late result'"
LATE = "%%atask job{options}\nawait asyncio.sleep(0.3)\n" + SAID_LATE


def assert_all_late_output(text: str) -> None:
    for word in ("late print", "late display", "late result"):
        assert text.count(word) == 1, text


def test_wait_keeps_the_output_in_the_launching_cell(execute):
    cells = execute(LATE.format(options=" --wait"), "print('after')")
    assert_all_late_output(stored(cells[1]))
    assert stored(cells[2]).strip() == "after"


def test_tasks_wait_keeps_the_output_of_an_earlier_cell_in_that_cell(execute):
    cells = execute(
        LATE.format(options=""), "print('between')", "%tasks wait job", "print('after')"
    )
    assert_all_late_output(stored(cells[1]))
    assert stored(cells[2]).strip() == "between"
    assert "late" not in stored(cells[3])
    assert stored(cells[4]).strip() == "after"


UPDATED_LATE = """
from IPython.display import SVG
handle = display({"text/plain": "first"}, raw=True, display_id=True)

async def update():
    await asyncio.sleep(0.3)
    handle.update({"text/plain": "second"}, raw=True)
    late = display({"text/plain": "third"}, raw=True, display_id=True)
    late.update(SVG("<svg></svg>"))
    handle.update({"text/plain": "newest"}, raw=True)

asyncnb.launch(update(), name="job")
"""


def test_a_display_that_a_task_updates_late_is_kept_as_it_was_last(execute):
    cells = execute(UPDATED_LATE, "%tasks wait job")
    text = stored(cells[1])
    assert text.count("newest") == 1
    assert not {"first", "second", "third"} & set(text.split())
    assert "<svg" in str(cells[1].outputs)


def test_a_dashboard_is_a_table_and_no_widget(execute):
    cells = execute("asyncnb.launch(asyncio.sleep(0), name='job'); asyncnb.dashboard()")
    [dashboard] = [output for output in cells[1].outputs if "text/html" in output.get("data", {})]
    assert set(dashboard.data) == {"text/plain", "text/html"}
    assert "job" in dashboard.data["text/html"]


def test_tasks_wait_keeps_the_output_of_several_tasks_apart(execute):
    # The cells share the namespace, and so would share a variable of the same name.
    body = "for {0} in range(3):\n    await asyncio.sleep(0.05)\n    print('{0}', {0})"
    cells = execute(
        "%%atask one\n" + body.format("one"), "%%atask two\n" + body.format("two"), "%tasks wait"
    )
    for cell, mine, other in ((cells[1], "one", "two"), (cells[2], "two", "one")):
        assert [f"{mine} {i}" in stored(cell) for i in range(3)] == [True] * 3
        assert other not in stored(cell).replace(cell.source, "")


def test_tasks_wait_keeps_the_output_of_a_thread_body(execute):
    cells = execute(
        "%%atask job\ntime.sleep(0.3)\n" + SAID_LATE,
        "%tasks wait job",
    )
    assert_all_late_output(stored(cells[1]))


def test_output_said_before_the_launching_cell_ended_is_not_stored_twice(execute):
    cells = execute(
        "%%atask job\nprint('early')\nawait asyncio.sleep(0.3)\nprint('late')",
        "time.sleep(0.5)",
        "%tasks wait job",
    )
    assert stored(cells[1]).count("early") == 1
    assert stored(cells[1]).count("late") == 1


FAILING = "%%atask job{options}\nawait asyncio.sleep(0.1)\nraise ValueError('broken task')"


@pytest.mark.parametrize(
    "cells",
    [
        (FAILING.format(options=" --wait"),),
        (FAILING.format(options=""), "%tasks wait job"),
        (FAILING.format(options=""), "%tasks wait"),
        (FAILING.format(options=""), "await asyncio.sleep(0.5)", "%tasks wait"),
        ("%%atask job\ntime.sleep(0.1)\nraise ValueError('broken task')", "%tasks wait job"),
    ],
    ids=["--wait", "wait job", "wait", "failed before the wait", "thread body"],
)
def test_a_failed_task_fails_the_run(execute, cells):
    with pytest.raises(Exception, match="broken task") as caught:
        execute(*cells)
    assert type(caught.value).__name__ in ("CellExecutionError", "PapermillExecutionError")


def test_a_cancelled_task_does_not_fail_the_run(execute):
    cells = execute(
        "%%atask job\nawait asyncio.sleep(60)", "%tasks cancel job", "%tasks wait", "print('after')"
    )
    assert stored(cells[4]).strip() == "after"


def test_a_traceback_that_takes_long_to_make_is_stored_though_the_run_is_quick(execute):
    cells = execute(
        "from asyncnb._kernel.output import router as _output\n"
        "format_error = _output.format_error\n"
        "def slowly(*args, **options):\n"
        "    time.sleep(0.5)\n"
        "    return format_error(*args, **options)\n"
        "_output.format_error = slowly",
        "async def fail():\n"
        "    await go_on.wait()\n"
        "    raise ValueError('told in time')\n"
        "go_on = asyncio.Event()\n"
        "task = asyncnb.launch(fail())",
        "go_on.set()\nawait asyncnb.wait([task])",
    )
    assert "ValueError: told in time" in stored(cells[2])


def test_tasks_run_side_by_side_headless_too(execute):
    cells = execute(
        "import time; began = time.monotonic()",
        *("%%atask nap" + str(i) + "\nawait asyncio.sleep(1)" for i in range(5)),
        "%tasks wait",
        "print('side by side' if time.monotonic() - began < 4 else 'in a row')",
    )
    assert stored(cells[-1]).strip() == "side by side"
