"""Run one of the interpreter's own asyncio test suites with asyncnb in asyncio's place.

``python -m tests.conformance.run_suite SUITE [--library DIR] [--uvloop]`` prints one line of JSON:
how many tests ran, which ones were skipped and excluded, which exclusions are stale (the test
passes), and the traceback of each failure. A
process of its own for each suite, since ``import asyncio`` means asyncnb in it.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import unittest
import warnings
from pathlib import Path
from typing import Any

from tests.conformance import standin
from tests.conformance.exclusions import UNTRIED, reason_to_skip


def _short(test: unittest.TestCase) -> str:
    return ".".join(test.id().split(".")[-3:])


def use_uvloop() -> None:
    """Have the tests, and what runs them, make uvloop's loops."""
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    # It looks for the executor in a private attribute of the standard loop.
    utils: Any = importlib.import_module("test.test_asyncio.utils")
    utils.TestCase.close_loop = staticmethod(lambda loop: loop.close())


def main(suite: str, library: Path | None = None, *, uvloop: bool = False) -> dict[str, Any]:
    """Run *suite* and return its result as plain data."""
    warnings.simplefilter("ignore", DeprecationWarning)
    standin.install(suite)
    if uvloop:
        use_uvloop()
    module = standin.load_tests(suite, library)
    tests, others = unittest.TestSuite(), unittest.TestSuite()
    excluded: dict[str, str] = {}
    tests_of = sys.version_info[:2]
    if library is not None:  # lib/python3.13
        major, _, minor = library.name.removeprefix("python").partition(".")
        tests_of = int(major), int(minor)
    todo: list[Any] = [unittest.defaultTestLoader.loadTestsFromModule(module)]
    while todo:
        test = todo.pop()
        if isinstance(test, unittest.TestSuite):
            todo += list(test)
        elif reason := reason_to_skip(_short(test), tests_of, uvloop):
            excluded[_short(test)] = reason
            if _short(test) not in UNTRIED:
                others.addTest(test)
        else:
            tests.addTest(test)
    result = unittest.TestResult()
    tests.run(result)
    bad = result.failures + result.errors
    # An exclusion is a claim, too: that this test cannot pass here.
    unable = unittest.TestResult()
    others.run(unable)
    not_passed = [*unable.failures, *unable.errors, *unable.skipped]
    stale = (
        set(excluded)
        - set(UNTRIED)
        - {_short(getattr(test, "test_case", test)) for test, _ in not_passed}
    )
    return {
        "suite": suite,
        "ran": result.testsRun,
        "skipped": len(result.skipped),
        "excluded": excluded,
        "stale": sorted(stale),
        "failures": {_short(test): text for test, text in bad},
        "unexpected": [_short(test) for test in result.unexpectedSuccesses],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    report = main(options.suite, options.library, uvloop=options.uvloop)
    print("\n" + json.dumps(report))
