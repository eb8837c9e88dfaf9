"""Kernels for the tests: which Pythons, one shared per module, and none left alive.

`ASYNCNB_TEST_KERNELS` lists the Pythons to run kernels with (separated like PATH; default: this
one), `ASYNCNB_LOOP=uvloop|asyncio` the loop below the embedded one. Both reach the kernel.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.kernel.driver import Kernel

# A shell starts a background job with SIGINT ignored, as some CI runners do, and every process
# that is started from one inherits that: no kernel here could be interrupted, and one of CPython's
# own suites would wait for a KeyboardInterrupt until its time is up.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

RESET = """
%tasks clear
%tasks cancel --all
%tasks wait -t 20
%tasks clear
import gc; gc.collect()
for _name in set(get_ipython().user_ns) - _baseline:
    if not _name.startswith("_"):
        del get_ipython().user_ns[_name]
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timeout: of pytest-timeout, which may not be there")


@pytest.hookimpl(tryfirst=True)  # xdist has a loop that is its own, and the only one then
def pytest_runtestloop() -> None:
    # Thousands of tests, and all that they import, are hundreds of thousands of objects that stay:
    # each gc.collect() of a test would look at every one of them, which takes half a second.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # a plugin may look for referrers, which finds no frozen ones


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if earlier := os.environ.get("ASYNCNB_FAILED_BEFORE"):
        terminalreporter.section("failed before this run", red=True)
        terminalreporter.line(earlier)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "python" in metafunc.fixturenames:
        pythons = os.environ.get("ASYNCNB_TEST_KERNELS", sys.executable).split(os.pathsep)
        if "faults" in metafunc.definition.path.parts and "ASYNCNB_FAULTS" not in os.environ:
            del pythons[1:]  # `make faults` takes them all
        metafunc.parametrize("python", pythons, ids=map(kernel_label, pythons), scope="session")


@functools.cache
def kernel_label(python: str) -> str:
    """The likes of `py311-ipykernel7.4.0`."""
    code = "import sys, ipykernel as k; print('py%d%d' % sys.version_info[:2], k.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise pytest.UsageError(f"ASYNCNB_TEST_KERNELS: no ipykernel in {python}\n{done.stderr}")
    return "{}-ipykernel{}".format(*done.stdout.split())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session", autouse=True)
def _no_kernel_survives() -> Iterator[None]:
    """Every kernel, and every process it left in its group, is gone when the tests are."""
    yield
    driver = sys.modules.get("tests.kernel.driver")
    survivors = list(driver.Kernel.started if driver else ())
    # Helpers of multiprocessing and loky see that their kernel has ended, and end a moment later.
    until = time.monotonic() + 5
    while (survivors := [group for group in survivors if _is_alive(group)]) and (
        time.monotonic() < until
    ):
        time.sleep(0.05)
    assert not survivors, f"process groups of kernels still alive: {survivors}"


def _is_alive(group: int) -> bool:
    if sys.platform == "win32":  # has no groups
        import psutil

        return psutil.pid_exists(group)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class _Shared:
    """The kernel that the tests of one module share, replaced when one of them spoilt it."""

    def __init__(self, python: str, options: dict[str, Any]) -> None:
        self._python = python
        self._options = options
        self._kernel: Kernel | None = None

    def get(self) -> Kernel:
        from tests.kernel.driver import Kernel

        if self._kernel is None:
            self._kernel = Kernel(self._python, **self._options)
            self._kernel.ok("_baseline = set(get_ipython().user_ns)")
        self._kernel.forget()
        return self._kernel

    def reset(self) -> None:
        if self._kernel is not None and (
            not self._kernel.alive or self._kernel.run(RESET, 10).status != "ok"
        ):
            self.discard()

    def discard(self) -> None:
        if self._kernel is not None:
            kernel, self._kernel = self._kernel, None
            kernel.shutdown(now=True)


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How the kernels of a module are started.

    Where a test looks at all that is below a cell, a report that the loop was blocked for a moment,
    by a machine that was busy, is in the way: `REPORTS_BLOCKS = True` in modules that are about it.
    """
    return {"reports_blocks": getattr(request.module, "REPORTS_BLOCKS", False)}


@pytest.fixture(scope="module")
def _shared(python: str, request: pytest.FixtureRequest) -> Iterator[_Shared]:
    shared = _Shared(python, _options(request))
    yield shared
    shared.discard()


@pytest.fixture
def kernel(_shared: _Shared, request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel with asyncnb loaded and no tasks; the module's tests share it.

    A test that failed leaves its kernel to no other test.
    """
    yield _shared.get()
    if request.node.stash.get(_FAILED, False):
        _shared.discard()
    else:
        try:
            _shared.reset()
        except AssertionError:
            _shared.discard()


@pytest.fixture
def start_kernel(python: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Kernel]]:
    """Start kernels of one's own: `start_kernel(extension=False, arguments=[...])`."""
    from tests.kernel.driver import Kernel

    kernels: list[Kernel] = []

    def start(**options: Any) -> Kernel:
        kernels.append(Kernel(python, **(_options(request) | options)))
        return kernels[-1]

    yield start
    for each in kernels:
        each.shutdown(now=True)


@pytest.fixture
def fresh_kernel(start_kernel: Callable[..., Kernel]) -> Kernel:
    """A kernel of one's own with asyncnb loaded: to be unloaded, restarted, shut down."""
    return start_kernel()
