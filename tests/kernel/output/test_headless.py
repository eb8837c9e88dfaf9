"""Headless runs: late output is kept in its cell, and a failed task makes the run fail."""

from __future__ import annotations

import pytest

from tests.kernel.driver import environment, install_kernelspec

nbformat = pytest.importorskip("nbformat")

PREPARE = """%load_ext asyncnb
import asyncio, asyncnb, threading, time
go_on, thread_goes_on = asyncio.Event(), threading.Event()"""


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
#: Says it in a later cell than its own: the one that sets the event.
LATE = "%%atask job\nawait go_on.wait()\n" + SAID_LATE
WAIT = "go_on.set()\n%tasks wait job"


def assert_all_late_output(text: str) -> None:
    for word in ("late print", "late display", "late result"):
        assert text.count(word) == 1, text


def test_wait_keeps_the_output_in_the_launching_cell(execute):
    late = "%%atask job --wait\nawait asyncio.sleep(0)\n" + SAID_LATE
    cells = execute(late, "print('after')")
    assert_all_late_output(stored(cells[1]))
    assert stored(cells[2]).strip() == "after"


def test_tasks_wait_keeps_the_output_of_an_earlier_cell_in_that_cell(execute):
    cells = execute(LATE, "print('between')", WAIT, "print('after')")
    assert_all_late_output(stored(cells[1]))
    assert stored(cells[2]).strip() == "between"
    assert "late" not in stored(cells[3])
    assert stored(cells[4]).strip() == "after"


UPDATED_LATE = """
from IPython.display import SVG
handle = display({"text/plain": "first"}, raw=True, display_id=True)

async def update():
    await go_on.wait()
    handle.update({"text/plain": "second"}, raw=True)
    late = display({"text/plain": "third"}, raw=True, display_id=True)
    late.update(SVG("<svg></svg>"))
    handle.update({"text/plain": "newest"}, raw=True)

asyncnb.launch(update(), name="job")
"""


def test_a_display_that_a_task_updates_late_is_kept_as_it_was_last(execute):
    cells = execute(UPDATED_LATE, WAIT)
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
    body = "for {0} in range(3):\n    await go_on.wait()\n    print('{0}', {0})"
    cells = execute(
        "%%atask one\n" + body.format("one"),
        "%%atask two\n" + body.format("two"),
        "go_on.set()\n%tasks wait",
    )
    for cell, mine, other in ((cells[1], "one", "two"), (cells[2], "two", "one")):
        assert [f"{mine} {i}" in stored(cell) for i in range(3)] == [True] * 3
        assert other not in stored(cell).replace(cell.source, "")


def test_tasks_wait_keeps_the_output_of_a_thread_body(execute):
    cells = execute(
        "%%atask job\nthread_goes_on.wait(30)\n" + SAID_LATE,
        "thread_goes_on.set()\n%tasks wait job",
    )
    assert_all_late_output(stored(cells[1]))


def test_output_said_before_the_launching_cell_ended_is_not_stored_twice(execute):
    cells = execute(
        "said_early = threading.Event()\n"
        "async def talk():\n"
        "    print('early')\n"
        "    said_early.set()\n"
        "    await go_on.wait()\n"
        "    print('late')\n"
        "job = asyncnb.launch(talk(), name='job')\n"
        "assert said_early.wait(30)",
        "go_on.set()\njob.join(30)",
        "%tasks wait job",
    )
    assert stored(cells[1]).count("early") == 1
    assert stored(cells[1]).count("late") == 1


FAIL = "raise ValueError('broken task')"
FAILING = f"%%atask job\nawait go_on.wait()\n{FAIL}"


@pytest.mark.parametrize(
    "cells",
    [
        (f"%%atask job --wait\nawait asyncio.sleep(0)\n{FAIL}",),
        (FAILING, WAIT),
        (FAILING, "go_on.set()\n%tasks wait"),
        (FAILING, "go_on.set()\nawait asyncio.wait([job])", "%tasks wait"),
        (
            f"%%atask job\nthread_goes_on.wait(30)\n{FAIL}",
            "thread_goes_on.set()\n%tasks wait job",
        ),
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
        "task = asyncnb.launch(fail())",
        "go_on.set()\nawait asyncnb.wait([task])",
    )
    assert "ValueError: told in time" in stored(cells[2])


def test_tasks_run_side_by_side_headless_too(execute):
    cells = execute(
        "all_begun = asyncio.Barrier(5)",
        *(f"%%atask meets{i}\nawait all_begun.wait()" for i in range(5)),
        "%tasks wait -t 30",
        "print('side by side' if all_begun.n_waiting == 0 else 'in a row')",
    )
    assert stored(cells[-1]).strip() == "side by side"


def test_an_exception_group_is_stored_as_the_error_of_its_cell(python, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    install_kernelspec(python, tmp_path / "data" / "kernels")
    nb = notebook("raise ExceptionGroup('two', [ValueError('first'), KeyError('second')])")
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="└─"):
        with_nbclient(nb, tmp_path)
    [error] = nb.cells[1].outputs
    assert (error.output_type, error.ename) == ("error", "ExceptionGroup")
    assert error.evalue == "two (2 sub-exceptions)"
    assert "first" in "\n".join(error.traceback) and "└─" in "\n".join(error.traceback)
