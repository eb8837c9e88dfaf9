"""`asyncnb doctor`: real kernel specs, Pythons and kernels, most of them with something wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from asyncnb._cli.main import main
from tests.kernel.driver import environment, install_kernelspec


class Doctor:
    """What it finds in a separate environment; ``specs`` come first in Jupyter's path."""

    def __init__(self, path: Path, capsys: Any) -> None:
        self.path = path
        self.specs = path / "first" / "kernels"
        self.code = 0
        self._capsys = capsys

    def __call__(self) -> dict[str, dict[str, str]]:
        self.code = main(["doctor", "--json"])
        told = json.loads(self._capsys.readouterr().out)
        assert told["exit_code"] == self.code
        return {each["name"]: each for each in told["findings"]}


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys) -> Doctor:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "first"))
    monkeypatch.delenv("ASYNCNB_LOOP", raising=False)
    return Doctor(tmp_path, capsys)


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> str:
    """A Python without any package."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def test_where_all_is_well_everything_is_named_and_the_exit_code_is_0(doctor, python):
    install_kernelspec(python, doctor.specs, "python3")
    found = doctor()
    assert doctor.code == 0, [each for each in found.values() if each["status"] == "problem"]
    assert sys.executable in found["python"]["text"]
    assert {"asyncnb", "ipykernel", "loop", "runtime folder", "ports"} <= set(found)
    assert (
        found["python3"]["text"].startswith("Python 3.") and "asyncnb " in found["python3"]["text"]
    )
    assert found["kernels"]["text"] == "none running"
    assert all(bool(each["fix"]) <= (each["status"] != "ok") for each in found.values())


def test_kernels_whose_pythons_lack_something_are_named_with_what_mends_them(doctor, bare):
    # The checkout is on PYTHONPATH, where a bare Python would find asyncnb.
    def add(name: str, python: str) -> None:
        install_kernelspec(python, doctor.specs, name)
        file = doctor.specs / name / "kernel.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"env": {"PYTHONPATH": ""}}))

    add("bare", bare)
    add("gone", str(doctor.path / "no" / "python"))
    install_kernelspec("R", doctor.specs, "ir", command=["--slave"])
    (doctor.specs / "broken").mkdir()
    (doctor.specs / "broken" / "kernel.json").write_text("{")
    found = doctor()
    assert doctor.code == 0, "python3 of this environment works"
    assert found["bare"]["status"] == found["gone"]["status"] == "note"
    assert found["bare"]["fix"] == f"{bare} -m pip install ipykernel asyncnb"
    assert "cannot be started" in found["gone"]["text"]
    assert "kernelspec remove gone" in found["gone"]["fix"]
    assert "cannot be read" in found["broken"]["text"]
    assert "not asked" in found["ir"]["text"]

    add("python3", bare)
    assert doctor()["python3"]["status"] == "problem"
    assert doctor.code == 1


def test_a_kernel_without_asyncnb_alone_gets_asyncnb(doctor, tmp_path):
    code = "import sys; sys.path.insert(0, 'x')"
    stub = tmp_path / "only-ipykernel"
    stub.mkdir()
    (stub / "ipykernel.py").write_text(code)
    install_kernelspec(sys.executable, doctor.specs, "half")
    file = doctor.specs / "half" / "kernel.json"
    spec = json.loads(file.read_text())
    spec["argv"][:1] = [sys.executable, "-S"]  # without the installed packages
    file.write_text(json.dumps(spec | {"env": {"PYTHONPATH": str(stub)}}))
    half = doctor()["half"]
    assert half["fix"] == f"{sys.executable} -S -m pip install asyncnb"
    assert "without asyncnb" in half["text"]


def test_a_wrong_loop_is_a_problem(doctor, monkeypatch):
    monkeypatch.setenv("ASYNCNB_LOOP", "trio")
    assert doctor()["loop"]["status"] == "problem"
    monkeypatch.setenv("ASYNCNB_LOOP", "asyncio")
    assert doctor()["loop"]["text"] == "asyncio, by ASYNCNB_LOOP=asyncio"


@pytest.mark.parametrize("entry", ["asyncnb", "asyncnb:plugin"])
def test_an_extension_that_is_turned_off_is_a_problem(doctor, entry):
    config = doctor.path / "config" / "labconfig"
    config.mkdir(parents=True)
    (config / "page_config.json").write_text(json.dumps({"disabledExtensions": {entry: True}}))
    extension = doctor.path / "first" / "labextensions" / "asyncnb"
    extension.mkdir(parents=True)
    (extension / "package.json").write_text('{"version": "0.0.1"}')
    found = doctor()
    assert found["turned off"]["fix"] == f"jupyter labextension enable {entry}"
    assert doctor.code == 1
    assert found["extension"]["status"] == "note" and "0.0.1, but" in found["extension"]["text"]


def test_a_runtime_folder_that_takes_no_files_is_a_problem(doctor):
    (doctor.path / "runtime").write_text("not a folder")
    assert doctor()["runtime folder"]["status"] == "problem"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such permissions")
def test_keys_that_others_can_read_are_a_problem(doctor):
    folder = doctor.path / "runtime"
    folder.mkdir()
    file = folder / "kernel-1.json"
    file.write_text("{}")
    file.chmod(0o644)
    folder.chmod(0o755)
    assert doctor()["keys"]["status"] == "problem"
    folder.chmod(0o700)
    assert "keys" not in doctor()


def test_running_kernels_are_counted(doctor, kernel):
    (doctor.path / "runtime").mkdir(mode=0o700)
    shutil.copy(kernel.scratch / "connection.json", doctor.path / "runtime" / "kernel-1.json")
    assert doctor()["kernels"]["text"] == "1 running, 1 with asyncnb loaded: asyncnb ps"


def test_it_prints_what_mends_and_imports_no_jupyterlab(doctor, bare):
    install_kernelspec(bare, doctor.specs, "python3")
    heavy = ["jupyterlab", "jupyter_server", "jupyter_client", "IPython", "ipykernel", "nbclient"]
    code = (
        "import sys; from asyncnb._cli.main import main; code = main(['doctor']);"
        f"print([name for name in {heavy} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[] 1"
    assert f"\n                       {bare} -m pip install ipykernel asyncnb\n" in done.stdout
