"""Run one of the interpreter's own asyncio test suites with asyncnb in asyncio's place.

``python -m tests.conformance.run_suite test_tasks [LIBRARY]`` prints one line of JSON: how many
tests ran, which ones were skipped and excluded, and the traceback of each failure. A process of
its own for each suite, since ``import asyncio`` means asyncnb in it.
"""

from __future__ import annotations

import json
import sys
import unittest
import warnings
from pathlib import Path
from typing import Any

from tests.conformance import standin
from tests.conformance.exclusions import reason_to_skip


def _short(test: unittest.TestCase) -> str:
    return ".".join(test.id().split(".")[-3:])


def main(suite: str, library: Path | None) -> dict[str, Any]:
    """Run *suite* and return its result as plain data."""
    warnings.simplefilter("ignore", DeprecationWarning)
    standin.install(suite)
    module = standin.load_tests(suite, library)
    tests = unittest.TestSuite()
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
        elif reason := reason_to_skip(_short(test), tests_of):
            excluded[_short(test)] = reason
        else:
            tests.addTest(test)
    result = unittest.TestResult()
    tests.run(result)
    bad = result.failures + result.errors
    return {
        "suite": suite,
        "ran": result.testsRun,
        "skipped": len(result.skipped),
        "excluded": excluded,
        "failures": {_short(test): text for test, text in bad},
        "unexpected": [_short(test) for test in result.unexpectedSuccesses],
    }


if __name__ == "__main__":
    suite_name, *rest = sys.argv[1:]
    report = main(suite_name, Path(rest[0]) if rest else None)
    print("\n" + json.dumps(report))
