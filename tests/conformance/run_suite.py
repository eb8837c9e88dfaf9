"""Run one of the interpreter's own asyncio test suites with asyncnb in asyncio's place.

``python -m tests.conformance.run_suite SUITE [--library DIR] [--uvloop]`` prints one line of JSON:
how many tests ran, which ones were skipped and excluded, which exclusions are stale (the test
passes), and the traceback of each failure. A process of its own for each suite, since
``import asyncio`` means asyncnb in it. With ``--standard`` the standard library is left in its
place, and every test runs whose ID is not a line of standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import importlib
import json
import sys
import unittest
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.conformance import files, standin
from tests.conformance.exclusions import is_untried, reason_to_skip


def _short(test: unittest.TestCase) -> str:
    return ".".join(test.id().split(".")[-3:])


def use_uvloop() -> None:
    """Make the tests, and what runs them, create uvloop's loops."""
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    # It looks for the executor in a private attribute of the standard loop.
    utils: Any = importlib.import_module("test.test_asyncio.utils")
    utils.TestCase.close_loop = staticmethod(lambda loop: loop.close())


def main(
    suite: str,
    library: Path | None = None,
    *,
    uvloop: bool = False,
    standard: bool = False,
    without: Collection[str] = (),
) -> dict[str, Any]:
    """Run *suite* and return its result as plain data."""
    warnings.simplefilter("ignore", DeprecationWarning)
    if library is not None:
        files.lend_tools()
    if not standard:
        standin.install(suite)
    module = files.load(suite, library)
    if uvloop:
        use_uvloop()
    tests_of = sys.version_info[:2]
    if library is not None:  # lib/python3.15
        major, _, minor = library.name.removeprefix("python").partition(".")
        tests_of = int(major), int(minor)
    tests, others = unittest.TestSuite(), unittest.TestSuite()
    excluded: dict[str, str] = {}
    todo: list[Any] = [unittest.defaultTestLoader.loadTestsFromModule(module)]
    while todo:
        test = todo.pop()
        if isinstance(test, unittest.TestSuite):
            todo += list(test)
        elif _short(test) in without:
            continue
        elif not standard and (reason := reason_to_skip(_short(test), tests_of, uvloop)):
            excluded[_short(test)] = reason
            if not is_untried(_short(test)):
                others.addTest(test)
        else:
            tests.addTest(test)
    result = _Result()
    tests.run(result)
    bad = result.failures + result.errors
    # An exclusion is a claim, too: that this test cannot pass here.
    unable = _Result()
    others.run(unable)
    not_passed = [*unable.failures, *unable.errors, *unable.skipped]
    stale = {name for name in excluded if not is_untried(name)} - {
        _short(getattr(test, "test_case", test)) for test, _ in not_passed
    }
    return {
        "suite": suite,
        "ran": len(result.started - {_short(test) for test, _ in result.skipped}),
        "skipped": len(result.skipped),
        "excluded": excluded,
        "stale": sorted(stale),
        "failures": {_short(getattr(test, "test_case", test)): text for test, text in bad},
        "unexpected": [_short(test) for test in result.unexpectedSuccesses],
    }


class _Result(unittest.TestResult):
    """Says what runs and fails, for the parent of a process that crashes; ends one that hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.started: set[str] = set()  # testsRun counts skipped ones, except in 3.12.1

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.started.add(_short(test))
        print(f"\nruns {_short(test)}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(SECONDS_OF_ONE_TEST, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        print(f"\nskipped {_short(test)}", file=sys.stderr, flush=True)

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._failed(test)

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._failed(test)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failed(test)

    def _failed(self, test: Any) -> None:
        print(f"\nfailed {_short(test)}", file=sys.stderr, flush=True)


SECONDS_OF_ONE_TEST = 40


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--standard", action="store_true")
    options = vars(parser.parse_args())
    options["without"] = set(sys.stdin.read().split()) if options["standard"] else ()
    report = main(options.pop("suite"), options.pop("library"), **options)
    print("\n" + json.dumps(report))
