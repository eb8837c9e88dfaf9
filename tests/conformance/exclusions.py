"""Tests that are not run against asyncnb, each with the reason.

Only tests of CPython's private internals belong here, and those of an older Python that say the
opposite of what 3.14 does and interface.md promises.
"""

from __future__ import annotations

from fnmatch import fnmatch

_ANY_AWAITABLE = "says that run() refuses a future, which it takes since 3.14, as asyncnb's does"

_PURE_PYTHON = "calls the pure-Python Future's method on the task: only CPython's private _PyTask"

EXCLUDED: dict[str, str] = {
    "test_runners.RunnerTests.test_run_future": _ANY_AWAITABLE,
    "test_tasks.PyTask_PyFuture_Tests.test_set_result_causes_invalid_state": _PURE_PYTHON,
    "test_tasks.PyTask_PyFuture_Tests.test_set_exception_causes_invalid_state": _PURE_PYTHON,
}


def reason_to_skip(test_id: str) -> str | None:
    """Return why the test is not run, or None when it is."""
    for pattern, reason in EXCLUDED.items():
        if fnmatch(test_id, f"*{pattern}"):
            return reason
    return None
