"""Tests that are not run against asyncnb, each with the reason.

Three kinds, and no other: tests of CPython's private internals, in which asyncnb has no part;
tests in which an older Python says the opposite of what a newer one does and asyncnb promises
(each runs in its newer form with 3.15's files); and, where 3.15's files run on an older
interpreter, tests of what that interpreter itself does. Each is tried all the same and has to fail,
so that no exclusion outlives its reason; ``UNTRIED`` names those for which that cannot be.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatch

_PURE_PYTHON = "calls the pure-Python Future's method on the task: only CPython's private _PyTask"
_FRAMES = "compares the names of the private functions that the primitive consists of"
_ONE_LOOP = (
    "asks that a lock with another loop in its private _loop is refused; asyncnb's serve every loop"
)
_TRACEBACK = "tests futures._copy_future_state, a private function of the interpreter"

PRIVATE = {
    "test_tasks.PyTask_PyFuture_Tests.test_set_result_causes_invalid_state": _PURE_PYTHON,
    "test_tasks.PyTask_PyFuture_Tests.test_set_exception_causes_invalid_state": _PURE_PYTHON,
    # What these ask for besides has tests in tests/core/introspection/test_graph.py.
    "test_graph.*.test_stack_tgroup": _FRAMES,
    "test_graph.*.test_stack_wait": _FRAMES,
    "test_graph.*.test_stack_wait_for_non_positive_timeout": _FRAMES,
    "test_graph.*.test_stack_as_completed*": _FRAMES,
    "test_locks.ConditionTests.test_ambiguous_loops": _ONE_LOOP,
}

# Tests of this version or an older one, and what replaced the behaviour that they ask for.
_CLOSES = (
    "awaits the coroutine that a closed TaskGroup refused; since 3.13 it is closed (gh-115957)"
)

SUPERSEDED = {
    (3, 13): {
        "test_runners.RunnerTests.test_run_future": "run() takes any awaitable since 3.14",
    },
    (3, 12): {
        "test_futures.*.test_exception": "set_exception(StopIteration) is no TypeError since 3.13",
        "test_tasks.*.test_as_completed_invalid_args": "run_until_complete(as_completed(...)), "
        "which is no coroutine since 3.13 and refuses bad arguments in the call",
        "test_tasks.*.test_as_completed_coroutine_without_loop": "since 3.13 as_completed() "
        "itself raises, not its first item",
        "test_taskgroups.*.test_taskgroup_no_create_task_after_failure": _CLOSES,
        "test_taskgroups.*.test_taskgroup_without_parent_task": _CLOSES,
        "test_taskgroups.*.test_taskgroup_not_entered": _CLOSES,
        "test_taskgroups.*.test_taskgroup_finished": _CLOSES,
    },
    (3, 11): {
        "test_tasks.*.test_cancel_gather_1": "gathers a generator; since 3.12 it is no coroutine",
        "test_futures2.*.test_recursive_repr_for_pending_tasks": "since 3.12 wait_for() runs a "
        "coroutine in the caller's task, so there is no second task to repr",
        "test_waitfor.*.test_wait_for_self_cancellation": "since 3.12 wait_for() waits for the "
        "task that it cancelled, once (gh-98518)",
    },
}

# 3.15's tests on an older interpreter: what it lacks, up to the version named here.
_ONCE = "asks the interpreter's own __init__ to refuse a second call, as since 3.15 (gh-142615)"
_EDGES = "reads _asyncio_awaited_by, which the interpreter's futures have since 3.14"
_LOOP = "has the interpreter's own loop.create_task() take eager_start, as since 3.13.3"
_STAGGERED = "tests asyncio.staggered, which is the interpreter's own"
_CRASH = "crashes the interpreter's own C future until 3.13.0"
_ITERATOR = "tests the interpreter's own C iterator of a future, which raises SystemError"
_CONTEXT = "tests that the event loop runs exception handlers in the right context, as since 3.12"
_AWAITED = "asks for the interpreter's own words about `await lock`, as since 3.14"

LACKING = {
    (3, 14): {
        "test_futures.*.test_future_disallow_multiple_initialization": _ONCE,
        "test_tasks.*.test_task_disallow_multiple_initialization": _ONCE,
    },
    (3, 13): {
        "test_locks.LockTests.test_lock": _AWAITED,
        "test_locks.LockTests.test_lock_by_with_statement": _AWAITED,
        "test_locks.SemaphoreTests.test_semaphore": _AWAITED,
        "test_locks.BarrierTests.test_barrier": _AWAITED,
        "test_tasks.*.test_wait_discards_awaited_by_for_pending": _EDGES,
        "test_tasks.*.test_shield_cancel_outer": _EDGES,
        "test_tasks.*.test_shield_cancel_outer_in_task": _EDGES,
        "test_tasks.*.test_gather_discards_awaited_by_*": _EDGES,
        "test_eager_task_factory.*.test_staggered_race_with_eager_tasks*": _STAGGERED,
        "test_eager_task_factory.*.test_eager_start_false": _LOOP,
        "test_eager_task_factory.*.test_eager_start_true_with_default_factory": _LOOP,
        "test_futures.*.test_use_after_free_on_fut_callback_0_with_evil__*": _CRASH,
        "test_futures.*.test_evil_call_soon_list_mutation": _CRASH,
        "test_futures.*.test_futureiter_send_after_*_no_crash": _ITERATOR,
        "test_futures.CFutureTests.test_callbacks_copy": "tests that the interpreter's own "
        "_callbacks is a new list each time",
    },
    (3, 12): {
        "test_futures.*.test_copy_state": _TRACEBACK,
        "test_tasks.*.test_task_created_during_thread_state_clear": "starts threads with a "
        "function that came with 3.13",
    },
    (3, 11): {
        "test_futures.*.test_future_iter_throw": "asks for the interpreter's warning about "
        "throw() with three arguments",
        "test_futures2.*.test_task_exc_handler_correct_context": _CONTEXT,
        "test_futures2.*.test_handle_exc_handler_correct_context": _CONTEXT,
        "test_eager_task_factory.*.test_issue105987": "runs _asyncio._swap_current_task, which "
        "came with 3.12, in a process of its own",
    },
}

# On exactly this interpreter.
INTERPRETER = {
    (3, 12): {
        "test_futures.*.test_future_iter_get_referents_segfault": "frees the C iterator's free "
        "list, which 3.12 lets the collector see: it does not come back",
    },
}

UVLOOP = {
    "test_futures2.*.test_task_exc_handler_correct_context": "tests the standard loop: uvloop may "
    "keep a task for a turn more, and with it what its end has to tell",
    "test_timeouts.*.test_nested_timeouts": "tests the standard loop: it runs all timers that are "
    "due in one turn, uvloop rounds each to a millisecond and may run the second too late",
}

UNTRIED = {
    "test_locks.ConditionTests.test_ambiguous_loops": "waits for a lock that it holds itself",
    "test_runners.RunnerTests.test_run_future": "runs a future that is never set",
    "test_futures.*.test_use_after_free_on_fut_callback_0_with_evil__*": "may crash",
    "test_futures.*.test_evil_call_soon_list_mutation": "may crash",
    "test_eager_task_factory.*.test_staggered_race_with_eager_tasks_no_delay": "never ends",
    "test_futures.CFutureTests.test_future_iter_get_referents_segfault": "leaves a 3.12 that may "
    "never end",
    "test_futures2.CFutureTests.test_task_exc_handler_correct_context": "passes on uvloop now and "
    "then",
    "test_futures2.PyFutureTests.test_task_exc_handler_correct_context": "passes on uvloop now and "
    "then",
    "test_timeouts.TimeoutTests.test_nested_timeouts": "passes on uvloop now and then",
}


def reason_to_skip(test_id: str, tests_of: tuple[int, int], uvloop: bool) -> str | None:
    """Return why a test from the files of Python *tests_of* is not run here, or None."""
    here = sys.version_info[:2]
    tables = [PRIVATE, UVLOOP] if uvloop else [PRIVATE]
    tables += [table for version, table in SUPERSEDED.items() if tests_of <= version]
    if tests_of > here:
        tables.append(INTERPRETER.get(here, {}))
        tables += [table for version, table in LACKING.items() if here <= version]
    for table in tables:
        for pattern, reason in table.items():
            if fnmatch(test_id, pattern):
                return reason
    return None


def is_untried(test_id: str) -> bool:
    """Return whether an excluded test is left alone, instead of being tried to see it fail."""
    return any(fnmatch(test_id, pattern) for pattern in UNTRIED)
