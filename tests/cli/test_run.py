"""`asyncnb run`: real notebooks in real kernels, from the command line to the saved file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asyncnb._cli.main import main
from tests.kernel.driver import environment, install_kernelspec

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")


def stored(cell) -> str:
    """All text in the outputs of a stored cell."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type == "error":
            parts.append(f"{output.ename}: {output.evalue}\n")
        else:
            parts.append(output.data.get("text/plain", "") + "\n")
    return "".join(parts)


class Folder:
    """A folder with notebooks, and the kernel `under-test`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *cells: str, name: str = "work.ipynb", **tags: list[str]) -> str:
        """Write a notebook; `cell_2=["tag"]` gives its third cell a tag, `# …` is a text."""
        notebook = nbformat.v4.new_notebook()
        notebook.metadata["kernelspec"] = {"name": "under-test", "display_name": "under-test"}
        new = nbformat.v4
        notebook.cells = [
            new.new_markdown_cell(code) if code.startswith("# ") else new.new_code_cell(code)
            for code in cells
        ]
        for cell, given in tags.items():
            notebook.cells[int(cell.removeprefix("cell_"))].metadata["tags"] = given
        nbformat.write(notebook, self.path / name)
        return str(self.path / name)

    def cells(self, name: str = "work.run.ipynb"):
        return nbformat.read(self.path / name, as_version=4).cells

    def texts(self, name: str = "work.run.ipynb") -> list[str]:
        return [stored(cell) for cell in self.cells(name) if cell.cell_type == "code"]


@pytest.fixture
def folder(python, tmp_path, monkeypatch) -> Folder:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MPLBACKEND", raising=False)
    install_kernelspec(python, tmp_path / "data" / "kernels")
    (tmp_path / "notebooks").mkdir()
    return Folder(tmp_path / "notebooks")


GATE = "import asyncio\ngate = asyncio.Event()"
JOB = """%%atask job
print("early")
await gate.wait()
print("late print")
display({"image/png": "aGVsbG8=", "text/plain": "<a picture>"}, raw=True)
for i in range(3):
    await asyncio.sleep(0)
    print(i)"""


def test_late_output_lands_in_its_cell_and_the_run_waits_for_the_tasks(folder, capsys):
    path = folder.write(GATE, JOB, "print('between')\ngate.set()", "1 + 1")
    assert main(["run", "--json", path]) == 0
    captured = capsys.readouterr()
    assert folder.texts() == ["", "early\nlate print\n<a picture>\n0\n1\n2\n", "between\n", "2\n"]
    job = folder.cells()[1]
    assert "image/png" in job.outputs[1].data
    assert len(job.outputs) == 3  # two streams in one piece each, and no empty display
    assert [cell.execution_count for cell in folder.cells()] == [1, 2, 3, 4]
    told = json.loads(captured.out)
    assert told["status"] == "done" and told["exit_code"] == 0
    assert told["cells"] == {"total": 4, "done": 4}
    assert told["tasks"] == {"listed": 1, "failed": 0, "cancelled": [], "more_cancelled": 0}
    assert told["output"] == str(folder.path / "work.run.ipynb")
    assert "asyncnb: cell 2 of 4\n" in captured.err
    assert not list(folder.path.glob(".*"))  # nothing beside it
    assert not list((folder.path.parent / "runtime").glob("kernel-*"))  # the kernel is gone


def test_a_task_that_fails_after_the_last_cell_fails_the_run(folder, capsys):
    path = folder.write(
        "# A heading",
        GATE,
        "%load_ext asyncnb\nimport asyncnb",
        "%%atask bad\nawait gate.wait()\nprint('before')\nraise ValueError('broken')",
        "%%atask allowed\nraise KeyError('allowed')",
        "%%atask fine\n1",
        "gate.set()\n%tasks wait fine",
        "%%atask handled\nraise OSError('handled')",
        "try:\n    await asyncnb.task('handled')\nexcept OSError:\n    pass",
        cell_4=["raises-exception"],
    )
    assert main(["run", "--json", path]) == 1
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["status"] == "failed"
    assert told["failures"] == [
        {
            "task": "bad",
            "cell": 3,
            "index": 3,
            "line": 4,
            "source": "raise ValueError('broken')",
            "error": "ValueError: broken",
        }
    ]
    assert (
        "asyncnb: task 'bad' (cell 3, line 4) failed: ValueError: broken\n"
        "    raise ValueError('broken')\n"
    ) in captured.err
    assert folder.texts()[2] == "before\nValueError: broken\n"
    assert folder.texts()[1] == ""  # it was not loaded a second time


def test_failures_are_counted_that_the_kernel_has_forgotten(folder, capsys):
    path = folder.write(
        "import asyncio, asyncnb",
        "async def fails(): raise ValueError('early')\nasyncnb.launch(fails(), name='early')",
        "tasks = [asyncnb.launch(fails(), name=f't {i}') for i in range(15)]\n"
        "await asyncio.wait(tasks)\n%tasks clear",
    )
    assert main(["run", "--json", path]) == 1
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert [each["task"] for each in told["failures"]] == ["early"]
    assert told["tasks"]["failed"] == 16
    assert "asyncnb: 15 more tasks failed\n" in captured.err


def test_a_failed_cell_ends_the_run_and_its_tasks_clean_up(folder, capsys):
    cleaning = "%%atask cleaning\ntry:\n    await gate.wait()\nfinally:\n    print('cleaned up')"
    fails = "def f():\n    raise LookupError('in f')"
    path = folder.write(GATE, cleaning, fails, "\nf()", "print('not reached')")
    assert main(["run", path]) == 1
    told = capsys.readouterr().err
    assert "asyncnb: cell 3, line 2" not in told
    assert "asyncnb: cell 4 failed: LookupError: in f\n" in told
    assert "cancelling 1 task: cleaning" in told
    assert folder.texts() == ["", "cleaned up\n", "", "LookupError: in f\n", ""]


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [(["--no-wait"], 0, "done"), (["--timeout", "5"], 1, "timeout")],
)
def test_tasks_that_do_not_end_are_cancelled_and_named(folder, capsys, options, code, status):
    cleaning = "%%atask cleaning\ntry:\n    await gate.wait()\nfinally:\n    print('cleaned up')"
    path = folder.write(GATE, cleaning, "import asyncnb; await asyncnb.sleep(0)")
    assert main(["run", "--json", *options, path]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == status
    assert told["tasks"]["cancelled"] == ["cleaning"]
    assert folder.texts()[1] == "cleaned up\n"


def test_ctrl_c_interrupts_the_cell_cleans_up_and_saves(folder):
    path = folder.write(
        GATE,
        "%%atask cleaning\ntry:\n    await gate.wait()\nfinally:\n    print('cleaned up')",
        "import time\ntime.sleep(600)",
        "print('not reached')",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "asyncnb", "run", path],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line == "asyncnb: cell 3 of 4\n":
            break
    # Perhaps before the kernel has begun with the cell.
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(60) == 130, rest
    assert "asyncnb: interrupted after 2 of 4 cells" in rest
    texts = folder.texts()
    assert texts[1] == "cleaned up\n"
    assert "KeyboardInterrupt" in texts[2] and texts[3] == ""


def test_a_kernel_that_dies_is_reported_and_the_notebook_saved(folder, capsys):
    path = folder.write("print('said')", "import os; os._exit(3)", "1")
    assert main(["run", path]) == 1
    assert "the kernel died after 1 of 3 cells" in capsys.readouterr().err
    assert folder.texts()[0] == "said\n"


def test_parameters_are_put_below_their_defaults(folder, capsys):
    path = folder.write(
        "first = 1",
        "n = 1\nname = 'default'",
        "n = 'of an earlier run'",
        "print(n, name, unknown)",
        cell_1=["parameters"],
        cell_2=["injected-parameters"],
    )
    given = ["-p", "n", "[1, 2]", "-p", "name", "some text", "-p", "unknown", "007"]
    assert main(["run", path, *given, "-o", str(folder.path / "out.ipynb")]) == 0
    cells = folder.cells("out.ipynb")
    assert [cell.source for cell in cells[2:3]] == [
        "# Parameters\nn = [1, 2]\nname = 'some text'\nunknown = '007'"
    ]
    assert cells[2].metadata.tags == ["injected-parameters"]
    assert len(cells) == 4 and stored(cells[3]) == "[1, 2] some text 007\n"
    assert "parameter unknown is not in the cell tagged `parameters`" in capsys.readouterr().err


def test_what_is_no_notebook_is_refused_before_anything_starts(folder, capsys, monkeypatch):
    good = folder.write("1")
    (folder.path / "text.ipynb").write_text("import os")
    (folder.path / "list.ipynb").write_text("[1]")
    (folder.path / "bytes.ipynb").write_bytes(b"\xff\xfe")
    for arguments, sentence in (
        ([str(folder.path / "none.ipynb")], "There is no notebook"),
        ([str(folder.path / "text.ipynb")], "is not a notebook"),
        ([str(folder.path / "list.ipynb")], "is not a notebook"),
        ([str(folder.path / "bytes.ipynb")], "is not a notebook"),
        ([good, "-p", "no name", "1"], "'no name' is not the name of a variable"),
        ([good, "-p", "class", "1"], "'class' is not the name of a variable"),
        ([good, "-o", str(folder.path)], "is a folder"),
        ([good, "-o", str(folder.path / "no" / "x.ipynb")], "cannot be written"),
        ([good, "-o", "-", "--json"], "name a file"),
    ):
        assert main(["run", *arguments]) == 2
        if "--json" not in arguments:
            assert sentence in capsys.readouterr().err
            assert main(["run", "--json", *arguments]) == 2
        error = json.loads(capsys.readouterr().out)["error"]
        assert error["type"] == "NotebookError" and sentence in error["text"]
    assert main(["run", good, "--kernel-name", "nosuch"]) == 1
    assert "There is no kernel named 'nosuch' here. Known kernels: " in capsys.readouterr().err
    assert not (folder.path / "work.run.ipynb").exists()


def test_a_kernel_without_asyncnb_says_where_to_install_it(folder, capsys, python):
    install_kernelspec(
        python, folder.path.parent / "data" / "kernels", "bare", command=without_asyncnb()
    )
    assert main(["run", folder.write("1"), "-k", "bare"]) == 1
    told = capsys.readouterr().err
    assert f"Install it there: {python} -m pip install asyncnb\n" in told


def without_asyncnb() -> list[str]:
    """Start a kernel whose Python does not find asyncnb."""
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'asyncnb': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
    )
    return ["-c", code, "-f", "{connection_file}"]
