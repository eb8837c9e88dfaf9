"""The tutorials run, show what they show in their saved outputs, and a broken one is noticed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


#: Runs pytest without what jsonschema imports when it is there (as it is beside JupyterLab): a
#: checker of addresses that takes three seconds to build its grammar, and that no notebook needs.
PYTEST = "import sys; sys.modules['rfc3987_syntax'] = None; import pytest; sys.exit(pytest.main())"

#: Several to a process, since nbval takes as long to import as a notebook to run.
BATCHES = [TUTORIALS[n : n + 3] for n in range(0, len(TUTORIALS), 3)]


def nbval(*notebooks: Path) -> subprocess.CompletedProcess[str]:
    """Run notebooks under nbval, outputs compared; in a separate process, undistributed."""
    sanitizers = str(ROOT / "notebooks" / "sanitize.cfg")
    command = [sys.executable, "-c", PYTEST, "-p", "nbval.plugin", "-p", "no:cacheprovider", "-q"]
    command += ["-c", os.devnull, "--rootdir", str(notebooks[0].parent)]
    command += ["--nbval", "--nbval-sanitize-with", sanitizers, *map(str, notebooks)]
    # Other plugins would be loaded for nothing, time and again. And a busy machine is slow without
    # anybody's blocking the loop.
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "ASYNCNB_WATCHDOG": "30",
    }
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )


def code_cells(notebook: Path) -> list[nbformat.NotebookNode]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("batch", BATCHES, ids=lambda b: f"{b[0].stem[:2]}-{b[-1].stem[:2]}")
def test_tutorials_run_and_show_what_they_show(batch: list[Path]) -> None:
    done = nbval(*batch)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_has_its_outputs_saved_and_is_small(notebook: Path) -> None:
    cells = code_cells(notebook)
    assert all(cell.execution_count for cell in cells)
    assert any(cell.outputs for cell in cells)
    assert notebook.stat().st_size < 200_000


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_keeps_no_trace_of_where_it_was_run(notebook: Path) -> None:
    text = notebook.read_text()
    found = re.findall(r".{,40}(?:/tmp/|/home/|/root/|/usr/|site-packages|\\\\Users).{,40}", text)
    assert not found
    metadata = json.loads(text)["metadata"]
    assert metadata["language_info"] == {"name": "python"}
    assert set(metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_says_by_its_prefix_what_needs_asyncnb(notebook: Path) -> None:
    code = "\n".join(cell.source for cell in code_cells(notebook))
    assert not re.findall(r".*\b(?:as aio|aio\.).*", code)
    assert "def picture(main" not in code  # draw_virtual of asyncnb.testing


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_has_lines_that_no_page_cuts(notebook: Path) -> None:
    lines = [line for cell in code_cells(notebook) for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > 80]


#: How the cell ends that checks what the reader wrote, so that "Run all" passes before that, too.
CHECK = re.compile(
    r'\nif "(?P<name>\w+)" in globals\(\):\n'
    r"    (await )?check\((?P=name)\)\n"
    r'    print\("(?P=name) is right"\)\n'
    r"else:\n"
    r'    print\("nothing to check yet: write (?P=name) in the cell above"\)\Z'
)


def exercise(nodes: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return the cells of the exercise: question, answer, check, solution, and what follows."""
    return nodes[max(n for n, c in enumerate(nodes) if c.source.startswith("## Exercise")) :]


@pytest.mark.parametrize("notebook", TUTORIALS[1:], ids=lambda path: path.stem)
def test_a_tutorial_ends_with_an_exercise_that_checks_the_readers_answer(notebook: Path) -> None:
    nodes = nbformat.read(notebook, as_version=4).cells
    question, answer, check, solution, *_ = exercise(nodes)
    assert answer.source == "# your answer"
    found = CHECK.search(check.source)
    assert found, check.source
    name = found["name"]
    assert name in question.source
    assert "in the empty cell below" in question.source
    assert "assert " in check.source
    assert check.outputs[-1].text.endswith(
        f"nothing to check yet: write {name} in the cell above\n"
    )
    assert solution.metadata["tags"] == ["solution"]
    assert solution.metadata["jupyter"]["source_hidden"] is True
    # Under its own name: run again, the check checks the reader's answer, and not this one.
    assert re.search(r"^(await )?check\([Ss]olution\)\Z", solution.source, re.MULTILINE)
    defined = rf"^\s*((async )?def|class) {name}\b|^{name}\b.*="
    code = [cell for cell in nodes if cell.cell_type == "code" and cell is not check]
    assert not [cell for cell in code if re.search(defined, cell.source, re.MULTILINE)]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('print("the kitchen is done")', 'print("the kitchen is dark")'),  # outputs differ
        ("order.set_result", "order.set_resort"),  # a cell fails
        ("if not future.done()", "if future.done()"),  # the solution no longer solves it
        ("# your answer", "Turnstile = object"),  # the reader's answer is wrong
    ],
)
def test_a_broken_tutorial_fails(tmp_path: Path, right: str, wrong: str) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "04_futures.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    broken = next(cell for cell in reversed(cells) if right in cell.source)
    broken.source = broken.source.replace(right, wrong)
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    done = nbval(tmp_path / "broken.ipynb")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed" in done.stdout


def test_a_right_answer_is_said_to_be_right(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "04_futures.ipynb", as_version=4)
    _, answer, check, solution, *_ = exercise(notebook.cells)
    answer.source = solution.source.replace("Solution", "Turnstile").rpartition("\n\n\n")[0]
    check.outputs[-1].text = "Turnstile is right\n"
    nbformat.write(notebook, tmp_path / "answered.ipynb")
    done = nbval(tmp_path / "answered.ipynb")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("answer", "reply"),
    [(None, "squares is right"), ("%%atask squares\n[1]", "the result is [1]")],
)
def test_the_quick_start_checks_the_task_that_the_reader_started(
    tmp_path: Path, answer: str | None, reply: str
) -> None:
    notebook = nbformat.read(TUTORIALS[0], as_version=4)
    _, empty, check, solution, *_ = exercise(notebook.cells)
    assert empty.source == "# your answer"
    empty.source = answer or solution.source.replace("solution", "squares")
    notebook.cells = [notebook.cells[1], empty, check]
    nbformat.write(notebook, tmp_path / "answered.ipynb")
    command = [sys.executable, ROOT / "tests" / "demo.py", tmp_path / "answered.ipynb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert f"\n{reply}\n" in done.stdout or done.stderr.endswith(f": {reply}\n"), done


def test_the_demo_prints_what_the_quickstart_produced() -> None:
    command = [sys.executable, "tests/demo.py", "notebooks/01_quickstart.ipynb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "prime number 3000 is 27449" in done.stdout
    assert "6/6 done" in done.stdout
