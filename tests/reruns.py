"""Tests that failed beside others and passed when run again: listed, and limited in number.

A pytest plugin for whole runs, with pytest-rerunfailures: three workers with real kernels and
browsers on two processors fail a few of 7,500 tests each time by what the machine does meanwhile.
CPython runs its own tests again in the same way. A test that fails twice is a failure, and so is a
run in which more than `MOST` had to be run again.
"""

from __future__ import annotations

from typing import Any

import pytest

MOST = 12
_SETTINGS = pytest.StashKey[Any]()


def _again(config: pytest.Config) -> dict[str, Any]:
    """The first reports of the tests that were run again, by the tests."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reports = [] if reporter is None else reporter.stats.get("rerun", [])
    return {each.nodeid: each for each in reports}


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if len(_again(session.config)) > MOST and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    again = _again(terminalreporter.config)
    if not again:
        return
    number = f"{len(again)} failed once and were run again"
    if len(again) > MOST:
        number += f": more than {MOST}, which is a failure of this run"
    terminalreporter.section(number, yellow=True)
    for test, report in again.items():
        crash = getattr(report.longrepr, "reprcrash", None)
        lines = str(crash.message if crash else report.longrepr).splitlines() or [""]
        terminalreporter.line(f"{test}: {lines[0][:300]}")


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    item.stash[_SETTINGS] = settings  # None: pytest-timeout sets it, as it would


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # pytest-timeout ends its timer at a failure, and limits the first run only.
    if getattr(item, "execution_count", 1) > 1 and _SETTINGS in item.stash:
        hook = item.config.hook
        hook.pytest_timeout_cancel_timer(item=item)
        hook.pytest_timeout_set_timer(item=item, settings=item.stash[_SETTINGS])
