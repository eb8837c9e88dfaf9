"""In a browser's Python: Pyodide from npm, in Node, with the kernel of JupyterLite.

No threads, and a loop that is there already. `inside_*.py` run in Pyodide, the rest here.
`make pyodide` runs these alone.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pyodide.install import ROOT, installed, missing

HERE = Path(__file__).parent

#: The core's tests of primitives: tasks, futures, groups, timeouts, waiting. The others are about
#: threads, processes or time.
CORE = [
    "test_testing.py",
    "introspection/test_graph.py",
    *(
        f"primitives/test_{name}.py"
        for name in ("eager", "futures", "groups", "tasks", "timeouts", "waiting")
    ),
]

#: A chain of tasks that long overflows the stack of the JavaScript engine, which ends Pyodide.
TOO_DEEP = "tests/core/introspection/test_graph.py::test_a_long_chain_is_no_recursion_error"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1000),
    pytest.mark.skipif(missing() is not None, reason=f"{missing()}"),
]


def run_inside(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    assert node is not None
    command = [node, HERE / "run.mjs", installed(), ROOT, HERE / script, *arguments]
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=900
    )


def test_the_primitives_work_without_threads() -> None:
    files = [f"/repo/tests/core/{name}" for name in CORE]
    done = run_inside("inside_core.py", *files, "--deselect", TOO_DEEP, "--tb", "short")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1])}
    # What is skipped needs a thread; if that were most of it, nothing would be shown.
    assert counts["passed"] > 3 * counts["skipped"], counts


def test_the_kernel_of_jupyterlite_runs_background_tasks() -> None:
    script = HERE / "inside_kernel.py"
    done = run_inside(script.name)
    assert done.stdout, done.stderr[-5000:]
    results: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    failed = [f"{name}:\n{text}" for name, text in results.items() if text != "ok"]
    assert not failed, "\n".join(failed)
    tests = [node.name for node in ast.parse(script.read_text()).body if hasattr(node, "name")]
    assert set(results) == {name for name in tests if name.startswith("test_")}
    assert done.returncode == 0, done.stderr[-5000:]
