"""The fault table: every test here does something to a real kernel, and checks one promise.

A test carries its promise in ``@pytest.mark.promise("...")``. When it has finished, the kernel must
answer, the task that ran beside it must be alive and unaffected, and the list of tasks consistent.
``make faults`` prints the table and writes it to ``.artifacts/faults.json``, from which the
page on reliability is made.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import kernel_label
from tests.kernel.driver import Kernel

ROOT = Path(__file__).parents[2]
FAILED = pytest.StashKey[bool]()

WITNESS = """
%%atask witness
while True:
    beats.n += 1
    beat.set()
    await asyncio.sleep(0.01)
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise(text): what must hold after the fault")
    if os.environ.get("ASYNCNB_FAULTS") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(), "asyncnb-faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/faults" in item.path.as_posix() and not item.get_closest_marker("promise"):
            raise pytest.UsageError(f"{item.nodeid} makes no promise")


def begin(kernel: Kernel) -> Kernel:
    """Start the witness: a task that must not notice what is done to the others."""
    kernel.ok("import types; beats = types.SimpleNamespace(n=0); beat = threading.Event()")
    kernel.ok(WITNESS)
    kernel.ok("assert beat.wait(10)")
    return kernel


def check(kernel: Kernel, *, witness: bool = True) -> float:
    """Check what holds after every fault; return the seconds that ``1+1`` took."""
    asked = time.monotonic()
    assert kernel.ok("1 + 1", 20).result == "2"
    took = time.monotonic() - asked
    if witness:
        kernel.ok("beat.clear(); assert beat.wait(10), 'the witness has stopped'", 20)
        assert kernel.evaluate("asyncnb.task('witness').done()") is False
    assert kernel.ok("await asyncio.sleep(0, 'loop')", 20).result == "'loop'"
    kernel.ok("%%atask afterwards\nprint('after', 'wards')").wait_for("after wards")
    kernel.ok("%tasks wait afterwards -t 10", 20)
    kernel.ok("import asyncnb.testing; asyncnb.testing.validate()")
    return took


@pytest.fixture
def victim(kernel: Kernel, request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel with a witness in it; checked when the test has finished with it."""
    yield begin(kernel)
    if not request.node.stash.get(FAILED, False):
        request.node.user_properties.append(("answered", check(kernel)))


@pytest.fixture
def fresh_victim(fresh_kernel: Kernel, request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """The same with a new kernel, for changes that the next test must not see."""
    yield begin(fresh_kernel)
    if not request.node.stash.get(FAILED, False):
        request.node.user_properties.append(("answered", check(fresh_kernel)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    marker = item.get_closest_marker("promise")
    if marker:
        properties = dict(report.user_properties)
        if "promise" not in properties:
            report.user_properties += [("promise", marker.args[0]), *_variant(item)]
    return report


def _variant(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Tell the kernel that a row is about from the rest of its parameters."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return
    parts = callspec.id
    if "python" in callspec.params:
        label = kernel_label(callspec.params["python"])
        yield "kernel", label
        parts = parts.replace(label, "", 1).replace("--", "-").strip("-")
    yield "variant", parts


class Table:
    """Registered by ``make faults`` where the reports arrive, the workers' too."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a report says of its row."""
        properties = dict(report.user_properties)
        if "promise" not in properties:
            return
        row = self.rows.setdefault(
            report.nodeid,
            {
                "file": Path(report.nodeid.partition("::")[0]).stem.removeprefix("test_"),
                "fault": _words(report.nodeid),
                "kernel": properties.get("kernel", ""),
                "variant": properties.get("variant", ""),
                "promise": properties["promise"],
                "outcome": "held",
                "reason": "",
                "answered": None,
            },
        )
        if report.skipped:
            row["outcome"] = "skipped"
            row["reason"] = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        elif report.failed:
            row["outcome"] = "BROKEN"
        row["answered"] = properties.get("answered", row["answered"])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table and keep it for the page on reliability."""
        terminalreporter.section("faults")
        named = [(" ".join(filter(None, _where(row))), row) for row in self.rows.values()]
        width = max((len(name) for name, _ in named), default=0)
        for name, row in named:
            took = "" if row["answered"] is None else f"{1000 * row['answered']:.0f} ms"
            line = f"{name:{width}}  {row['outcome']:7}  {took:>7}  {row['promise']}"
            terminalreporter.line(line)
        target = ROOT / ".artifacts" / "faults.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(list(self.rows.values()), indent=1) + "\n")


def _words(node: str) -> str:
    name = node.rpartition("::")[2].removeprefix("test_").partition("[")[0]
    return name.replace("_", " ")


def _where(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["fault"], row["variant"] and f"[{row['variant']}]", row["kernel"]
