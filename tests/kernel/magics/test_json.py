"""The facts of ``%tasks`` as JSON: for programs that only run cells, and the same as elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from asyncnb._core.listing.facts import MIME_TYPE
from tests.kernel.control import ControlClient
from tests.kernel.driver import Cell, Kernel

#: What differs between two looks, though nothing has changed.
VOLATILE = {"cpu", "deadline"}


def bundle(cell: Cell) -> dict[str, Any]:
    """The facts beside the table that a cell shows."""
    [shown] = cell.of_type("execute_result")
    return dict(shown["data"][MIME_TYPE])


def tasks(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in t.items() if k not in VOLATILE | {"inside"}} for t in found["tasks"]]


@pytest.fixture
def busy(kernel: Kernel) -> Kernel:
    kernel.ok("import json\nwaits = asyncio.Event()")
    kernel.ok("%%atask fails -g some\nprint('tried'); await asyncio.sleep(0); 1/0")
    kernel.run("%tasks wait")
    kernel.ok("%%atask again --every 3600\nawait asyncio.sleep(0)")
    kernel.ok("%%atask later --after again\n1")
    kernel.ok("%%amap crawl n in range(3) --limit 2\nawait waits.wait()")
    kernel.ok("odd = asyncnb.launch(waits.wait(), name='odd\\ud800', timeout=3600)")
    kernel.ok("while again.info().rounds != 1: await asyncio.sleep(0.001)")
    kernel.ok("while not asyncnb.tasks('crawl/*'): await asyncio.sleep(0.001)")
    return kernel


def test_the_magic_the_table_and_the_protocol_have_the_same_facts(busy: Kernel) -> None:
    with ControlClient(busy) as client:
        listed = client.ok(c="list")
        described = client.ok(c="describe", task="fails")["task"]
    printed = json.loads(str(busy.ok("%tasks --json").result))
    beside = bundle(busy.ok("%tasks"))
    assert tasks(listed) == tasks(printed) == tasks(beside)
    assert listed["total"] == printed["total"] == beside["total"] == 5
    assert printed["version"] == beside["version"] == 1
    assert printed["groups"] == beside["groups"]
    assert printed["groups"]["some"] == {"running": 0, "done": 0, "failed": 1, "cancelled": 0}
    by_name = {task["name"]: task for task in printed["tasks"]}
    assert by_name["fails"]["error"].startswith("ZeroDivisionError")
    assert by_name["fails"]["group"] == "some" and by_name["fails"]["cell"] > 0
    assert described.items() >= by_name["fails"].items()
    assert by_name["again"]["rounds"] == 1
    assert by_name["later"]["after"] == ["again"] and by_name["later"]["state"] == "pending"
    assert by_name["crawl"]["total"] == 3 and by_name["crawl"]["calls"]["limit"] == 2
    assert by_name["odd\\ud800"]["deadline"] > printed["now"]


def test_what_chooses_rows_chooses_facts(busy: Kernel) -> None:
    for line, names in (
        ("--failed", ["fails"]),
        ("-g some", ["fails"]),
        ("'again*'", ["again"]),
    ):
        for found in (
            json.loads(str(busy.ok(f"%tasks --json {line}").result)),
            bundle(busy.ok(f"%tasks {line}")),
        ):
            assert [task["name"] for task in found["tasks"]] == names
            assert found["total"] == 1
    inside = json.loads(str(busy.ok("%tasks --json crawl/").result))["tasks"]
    assert inside[0]["name"] == "crawl" and inside[0]["inside"]["running"] == len(inside) - 1
    assert {each["parent"] for each in inside[1:]} == {inside[0]["id"]}
    assert {*inside[1]} <= {*inside[0]}
    busy.ok("%tasks cancel --all\n")
    busy.ok("%tasks wait -t 20")
    busy.ok("%tasks clear")
    assert bundle(busy.ok("%tasks"))["tasks"] == []
    assert json.loads(str(busy.ok("%tasks --json").result))["tasks"] == []


def test_ten_thousand_tasks_are_no_megabytes_in_a_notebook(kernel: Kernel) -> None:
    kernel.ok(
        "waits = asyncio.Event()\nname = 'a long name ' * 100\n"
        "for n in range(10_000): asyncnb.launch(waits.wait(), name=f'{n} {name}')"
    )
    cell = kernel.ok("%tasks")
    assert len(json.dumps(bundle(cell))) < 200_000
    assert (bundle(cell)["total"], len(bundle(cell)["tasks"])) == (10_000, 100)
    cell = kernel.ok("import json; found = %tasks --json\nfound")
    assert len(str(cell.result)) < 1_000_000
    shown = json.loads(str(cell.result))
    assert (shown["total"], len(shown["tasks"])) == (10_000, 1000)
    assert kernel.evaluate("len(json.loads(found)['tasks'])") == 10_000
    kernel.ok("waits.set()")
    kernel.ok("%tasks wait -t 20")


def test_a_cell_without_history_and_the_option_leave_it_out(kernel: Kernel) -> None:
    for cell in (
        kernel.ok("%tasks", store_history=False),
        kernel.ok("%asyncnb option tasks_json off\n%tasks"),
    ):
        [shown] = cell.of_type("execute_result")
        assert sorted(shown["data"]) == ["text/html", "text/plain"]
    kernel.ok("%asyncnb option tasks_json on")
    assert bundle(kernel.ok("%tasks"))["tasks"] == []


def test_a_notebook_run_without_a_person_is_saved_with_it_and_nbval_is_content(
    python: str, tmp_path: Path
) -> None:
    if python != sys.executable:
        pytest.skip("nbclient runs the kernel of its own environment here")
    sources = ["%load_ext asyncnb", "%tasks"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    nbformat.validate(notebook)
    data = notebook.cells[1].outputs[0].data
    assert data[MIME_TYPE]["tasks"] == []
    del data[MIME_TYPE]  # as it was saved by an earlier version, or with the option off
    path = tmp_path / "saved.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "-q", str(path)]
    command += ["-c", os.devnull, "--rootdir", str(tmp_path), "--nbval-current-env"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
