"""The tests of the core, in Pyodide: run by ``run.mjs``, with pytest's arguments.

Tests drive loops of their own there, as everywhere, so Pyodide's steps back meanwhile. What starts
a thread is skipped.
"""

import asyncio
import warnings

import pytest

from asyncnb.testing import VirtualTimeLoop, _running_loop_set_aside


class NoThreads:
    """Says of a test that it needs what a browser does not have, if that is how it ended."""

    NEEDS = (
        (RuntimeError, "can't start new thread", "a thread"),
        (RuntimeError, "cannot start any", "a thread"),  # our own sentence
        (OSError, "does not support processes", "a process"),
        (ImportError, "_multiprocessing", "a process"),
    )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        exc = call.excinfo.value if call.excinfo is not None else None
        for kind, words, what in self.NEEDS:
            if isinstance(exc, kind) and words in str(exc):
                report.outcome = "skipped"
                report.longrepr = (str(item.path), 0, f"Skipped: needs {what}")
        return report


def run_pytest(arguments):
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        before = asyncio.get_event_loop_policy()

        class Policy(asyncio.DefaultEventLoopPolicy):
            _loop_factory = VirtualTimeLoop

        asyncio.set_event_loop_policy(Policy())
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-c", "/dev/null"]
    options += [
        "--rootdir",
        "/repo",
        "--import-mode",
        "importlib",
        "-W",
        "ignore::DeprecationWarning",
    ]
    try:
        with _running_loop_set_aside():
            return int(pytest.main([*options, *arguments], plugins=[NoThreads()]))
    finally:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            asyncio.set_event_loop_policy(before)


run_pytest(arguments)  # noqa: F821  # run.mjs sets it
