"""What asyncnb relies on: every private name of Python and of other packages that it reads.

One row for each name: where asyncnb uses it, on which Pythons it must be there, and what breaks
without it. ``holds`` is an expression that is true while the name is there and of its kind; it is
evaluated after the preamble of its part, for PYTHON in the running interpreter, for NOTEBOOK in a
real kernel (so on each ipykernel that is tested), for ELSEWHERE in an interpreter with the packages
that run work elsewhere. ``tests/test_leans.py`` keeps the table complete: it fails for a private
name in asyncnb's code that has no row, and for a row that names a file which no longer uses it.

A row here is for a name; what the name does is tested where a name alone would say too little, in
``core/``, ``kernel/`` and ``offload/`` by ``test_leans.py``.
"""

from __future__ import annotations

import sys
from typing import NamedTuple


class Lean(NamedTuple):
    name: str  # in full, as its package has it
    used: str  # the files below asyncnb/, separated by spaces; * where they are many
    breaks: str
    holds: str
    since: int = 11  # Python 3.x, both inclusive
    until: int = 99

    @property
    def attribute(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def wanted_here(self) -> bool:
        return self.since <= sys.version_info.minor <= self.until

    def complaint(self) -> str:
        return (
            f"{self.name} is gone, or is not what it was. asyncnb uses it in {self.used}; without "
            f"it: {self.breaks}. It no longer holds that {self.holds}"
        )


PYTHON_PREAMBLE = """
import argparse, asyncio, asyncio.base_subprocess, asyncio.streams, asyncio.subprocess
import collections, concurrent.futures, contextlib, contextvars, os, signal, subprocess, sys
import threading, types
Task, Future, Loop = asyncio.Task, asyncio.Future, asyncio.BaseEventLoop

async def nothing(): pass

def is_slot(kind, name):
    # Of a C type, or one of __slots__: there on every instance.
    return type(getattr(kind, name)) in (types.GetSetDescriptorType, types.MemberDescriptorType)

loop = asyncio.SelectorEventLoop()
future = loop.create_future()
handle = loop.call_soon(print)
lock, queue = asyncio.Lock(), asyncio.Queue()
ended = Task.__new__(Task)
"""

_FRAMES = (
    "_core/base/async_raise.py _core/introspection/call_graph.py "
    "_core/introspection/stack.py _core/loop/watchdog.py _core/profiling/sampler.py "
    "_kernel/output/blocked.py _offload/far/profiling.py"
)

PYTHON = [
    # The loop: what the short call_soon and timers write to.
    Lean(
        "_remote_debugging.RemoteUnwinder",
        "_client/from_outside.py",
        "`asyncnb stack` of a kernel that does not answer reports only that it does not answer",
        "hasattr(__import__('_remote_debugging').RemoteUnwinder, 'get_stack_trace')",
        since=14,
    ),
    Lean(
        "asyncio.BaseEventLoop._ready",
        "_core/loop/fast_call_soon.py _core/loop/embedded.py _core/primitives/pause.py",
        "no callback runs; a task that is about to run cannot be paused; no `ready` in statistics",
        "type(loop._ready) is collections.deque",
    ),
    Lean(
        "asyncio.BaseEventLoop._closed",
        "_core/loop/fast_call_soon.py",
        "call_soon fails, or takes callbacks that never run",
        "loop._closed is False",
    ),
    Lean(
        "asyncio.BaseEventLoop._debug",
        "_core/loop/fast_call_soon.py _core/primitives/timeouts.py",
        "call_soon and timeouts fail, or debug mode finds nothing",
        "loop._debug is False",
    ),
    Lean(
        "asyncio.BaseEventLoop._scheduled",
        "_core/primitives/timeouts.py",
        "timeouts fail when they are entered",
        "type(loop._scheduled) is list",
    ),
    Lean(
        "asyncio.BaseEventLoop._timer_cancelled_count",
        "_core/primitives/fast_timer.py",
        "leaving a timeout fails, or cancelled timers are never cleared",
        "loop._timer_cancelled_count == 0",
    ),
    *(
        Lean(
            f"asyncio.BaseEventLoop.{name}",
            "_core/base/visits.py",
            "cells without await fail, or the kernel's loop closes the generators they leave",
            f"callable(loop.{name})",
        )
        for name in ("_asyncgen_firstiter_hook", "_asyncgen_finalizer_hook")
    ),
    Lean(
        "asyncio.BaseEventLoop._thread_id",
        "_core/loop/fast_call_soon.py",
        "while a cell without await runs, every step of a task is mistaken for another thread's",
        "loop._thread_id is None",
    ),
    Lean(
        "asyncio.BaseEventLoop._task_factory",
        "_core/primitives/groups.py _core/loop/fast_call_soon.py",
        "create_task and TaskGroup.create_task fail on the standard loop",
        "loop._task_factory is None",
    ),
    *(
        Lean(
            f"asyncio.Handle.{name}",
            f"_core/primitives/fast_timer.py {others}".strip(),
            "timeouts fail or never expire; a paused task is not found in the queue",
            f"is_slot(asyncio.Handle, {name!r})",
        )
        for name, others in {
            "_callback": "_core/primitives/pause.py _core/base/visits.py",
            "_args": "_core/primitives/pause.py _core/base/visits.py",
            "_cancelled": "_core/primitives/pause.py _core/base/visits.py",
            "_context": "_core/primitives/pause.py _core/base/visits.py",
            "_loop": "_core/loop/guarded.py _core/base/visits.py",
            "_repr": "",
            "_source_traceback": "_core/loop/fast_call_soon.py",
        }.items()
    ),
    *(
        Lean(
            f"asyncio.TimerHandle.{name}",
            f"_core/primitives/fast_timer.py {others}".strip(),
            "timeouts fail or never expire",
            f"is_slot(asyncio.TimerHandle, {name!r})",
        )
        for name, others in {"_when": "_core/base/visits.py", "_scheduled": ""}.items()
    ),
    # Futures and tasks.
    Lean(
        "asyncio.Future._loop",
        "_core/primitives/all_tasks.py _core/primitives/futures.py "
        "_core/primitives/cross_loop.py _core/primitives/tasks.py",
        "no future or task of asyncnb works",
        "future._loop is loop and is_slot(Future, '_loop')",
    ),
    Lean(
        "asyncio.Future._callbacks",
        "_core/launched/crashes.py _core/primitives/backport/eager.py _core/primitives/futures.py "
        "_core/introspection/call_graph.py "
        "_core/primitives/groups.py _core/primitives/pause.py _core/primitives/backport/task.py "
        "_core/introspection/inner.py _core/primitives/joining.py "
        "_core/introspection/waiting_on.py _kernel/awaiting/running_cell.py",
        "no call graphs, no pause, a stopped cell cancels the task that it awaits",
        "future._callbacks is None and is_slot(Future, '_callbacks')",
    ),
    Lean(
        "asyncio.Future._exception",
        "_core/launched/ended.py _core/primitives/gather.py _core/introspection/call_graph.py "
        "_core/primitives/groups.py _core/introspection/unmanaged.py "
        "_core/launched/record.py _kernel/output/router.py _core/listing/detail.py "
        "_core/introspection/leaves.py _kernel/cells/launcher.py",
        "failures of tasks are not shown in their cells",
        "future._exception is None and is_slot(Future, '_exception')",
    ),
    Lean(
        "asyncio.Future.__init__",
        "_core/launched/ended.py",
        "tasks() and task() fail for tasks that have ended some time ago",
        "asyncio.Future.__init__(ended, loop=loop) is None and not ended.done() "
        "and ended.set_name('ended') is None and ended.get_name() == 'ended'",
    ),
    Lean(
        "asyncio.Future._source_traceback",
        "_core/primitives/tasks.py",
        "no task can be made; debug mode does not say where a task was created",
        "future._source_traceback is None and is_slot(Future, '_source_traceback')",
    ),
    Lean(
        "asyncio.Future._log_traceback",
        "_core/launched/record.py _core/primitives/joining.py",
        "`%tasks --failed` and the reports at exit do not know which failures were seen",
        "future._log_traceback is False and is_slot(Future, '_log_traceback')",
    ),
    Lean(
        "asyncio.Future._cancel_message",
        "_core/primitives/backport/eager.py _core/primitives/gather.py",
        "gather() loses the message of a cancellation",
        "future._cancel_message is None and is_slot(Future, '_cancel_message')",
    ),
    Lean(
        "asyncio.Future._make_cancelled_error",
        "_core/primitives/gather.py",
        "gather() of a cancelled task fails with AttributeError",
        "isinstance(future._make_cancelled_error(), asyncio.CancelledError)",
    ),
    Lean(
        "asyncio.Future._asyncio_awaited_by",
        "_core/introspection/inner.py _core/introspection/call_graph.py",
        "call graphs lose the edges that asyncio itself recorded",
        "future._asyncio_awaited_by is None and is_slot(Future, '_asyncio_awaited_by')",
        since=14,
    ),
    Lean(
        "asyncio.Future._asyncio_future_blocking",
        "_core/introspection/kinds.py",
        "a deadlock through a future behind another one is not found",
        "hasattr(asyncio.Future, '_asyncio_future_blocking')",
    ),
    Lean(
        "asyncio.Task._fut_waiter",
        "_core/introspection/call_graph.py _core/primitives/pause.py _core/primitives/tasks.py "
        "_core/introspection/waiting_on.py _core/introspection/inner.py _core/loop/watchdog.py "
        "_core/profiling/sampler.py _core/deadlocks/graph.py _core/deadlocks/waits.py "
        "_core/deadlocks/watcher.py "
        "_kernel/awaiting/running_cell.py",
        "no pause; stacks and the table do not say what a task waits for; no deadlock is found",
        "is_slot(Task, '_fut_waiter')",
    ),
    Lean(
        "asyncio.Task._coro",
        "_core/primitives/backport/eager.py _core/primitives/backport/task.py "
        "_core/tracing/trace.py",
        "no recording of plain tasks; 3.11 and 3.12 take the slow way everywhere",
        "is_slot(Task, '_coro')",
    ),
    Lean(
        "asyncio.Task._must_cancel",
        "_core/primitives/backport/eager.py _core/primitives/backport/task.py "
        "_core/primitives/backport/uncancel.py",
        "a cancellation that was withdrawn is delivered anyway",
        "is_slot(Task, '_must_cancel')",
        until=12,
    ),
    Lean(
        "asyncio.Task._log_destroy_pending",
        "_core/primitives/backport/eager.py _core/primitives/gather.py _core/loop/embedded.py "
        "_core/primitives/backport/task.py "
        "_core/primitives/tasks.py _core/primitives/limiter.py _core/mapping/driver.py",
        "`Task was destroyed but it is pending` is logged for tasks that were not lost",
        "is_slot(Task, '_log_destroy_pending')",
    ),
    Lean(
        "asyncio.tasks._PyTask._context",
        "_core/primitives/backport/task.py",
        "get_context() fails where nest_asyncio has put the task of pure Python in place",
        "'_context' in asyncio.tasks._PyTask.__init__.__code__.co_names",
        until=11,
    ),
    # The registries of asyncio.tasks.
    Lean(
        "asyncio.tasks._scheduled_tasks",
        "_core/primitives/all_tasks.py",
        "all_tasks() fails or is wrong while other threads create tasks",
        "type(asyncio.tasks._scheduled_tasks.data) is set",
        since=12,
        until=13,
    ),
    Lean(
        "asyncio.tasks._eager_tasks",
        "_core/primitives/all_tasks.py",
        "all_tasks() does not find tasks in their eager step",
        "type(asyncio.tasks._eager_tasks) is set",
        since=12,
        until=13,
    ),
    Lean(
        "asyncio.tasks._all_tasks",
        "_core/primitives/all_tasks.py _core/primitives/backport/eager.py",
        "all_tasks() fails, and so does eager start",
        "type(asyncio.tasks._all_tasks.data) is set",
        until=11,
    ),
    Lean(
        "asyncio.tasks._current_tasks",
        "_core/primitives/backport/eager.py _core/primitives/timeouts.py",
        "timeouts and eager start fail",
        "type(asyncio.tasks._current_tasks) is dict",
        until=11,
    ),
    Lean(
        "asyncio.tasks._unregister_task",
        "_core/primitives/backport/eager.py",
        "an eager task whose context cannot be entered stays in all_tasks()",
        "callable(asyncio.tasks._unregister_task)",
        until=11,
    ),
    *(
        Lean(
            f"asyncio.{name}",
            "_core/base/task_lists.py",
            "a task launched by another thread is in no list of the loop's thread: all_tasks() "
            "misses it, and the end of the program crashes",
            f"callable(asyncio.{name})",
            since=14,
        )
        for name in ("_register_task", "_unregister_task")
    ),
    *(
        Lean(
            f"asyncio.tasks.{name}",
            "_core/primitives/tasks.py",
            "after an eager start in a context that cannot be entered, the current task is wrong",
            f"callable(asyncio.tasks.{name})",
            since=12,
        )
        for name in ("_enter_task", "_leave_task", "_unregister_eager_task")
    ),
    Lean(
        "asyncio.tasks._swap_current_task",
        "testing.py",
        "run_virtual() in Pyodide fails inside of a task",
        "callable(asyncio.tasks._swap_current_task)",
        since=12,
    ),
    Lean(
        "asyncio._get_running_loop",
        "*",
        "nothing works: it tells which loop runs in this thread without raising",
        "asyncio._get_running_loop() is None",
    ),
    Lean(
        "asyncio._set_running_loop",
        "_core/primitives/all_tasks.py _core/base/visits.py testing.py",
        "cells without await run on the kernel's own loop; run_virtual() in Pyodide fails",
        "callable(asyncio._set_running_loop)",
    ),
    Lean(
        "asyncio.coroutines._is_coroutine",
        "_core/primitives/awaitables.py",
        "functions marked by others as coroutine functions are not taken for such",
        "asyncio.coroutines._is_coroutine is not None",
        until=15,
    ),
    # What stacks and call graphs read, see core/test_leans.py for the names of frames.
    Lean(
        "asyncio.TaskGroup._parent_task",
        "_core/introspection/call_graph.py",
        "call graphs do not lead from a task of a group to the task that waits for the group",
        "hasattr(asyncio.TaskGroup(), '_parent_task')",
    ),
    Lean(
        "asyncio.TaskGroup._tasks",
        "_core/launched/crashes.py _core/introspection/waiting_on.py _core/deadlocks/waits.py "
        "_core/introspection/leaves.py _offload/far/job_task.py",
        "`waiting_on` and the end of a crashed loop miss the tasks of an asyncio.TaskGroup",
        "type(asyncio.TaskGroup()._tasks) is set",
    ),
    Lean(
        "asyncio.TaskGroup._errors",
        "_core/introspection/inner.py _core/introspection/leaves.py _offload/far/job_task.py",
        "the counts of the tasks inside a task miss the failures in an asyncio.TaskGroup; an "
        "exception group names the task of its first leaf alone",
        "type(asyncio.TaskGroup()._errors) is list",
    ),
    Lean(
        "asyncio.tasks._GatheringFuture",
        "_core/deadlocks/sentences.py",
        "the report of a ring of gather() calls advises a cancel, which raises RecursionError",
        "issubclass(asyncio.tasks._GatheringFuture, Future)",
    ),
    Lean(
        "asyncio.tasks._GatheringFuture._children",
        "_core/primitives/cross_loop.py _core/primitives/first_completed.py "
        "_core/primitives/tasks.py _core/tracing/traced_coroutine.py "
        "_core/introspection/inner.py _core/introspection/waiting_on.py _core/loop/watchdog.py "
        "_core/deadlocks/waits.py",
        "`waiting_on` says nothing of asyncio.gather; a stopped cell waits for its launched tasks",
        "asyncio.tasks._GatheringFuture([future], loop=loop)._children == [future]",
    ),
    Lean(
        "asyncio.tasks._AsCompletedIterator._done",
        "_core/introspection/call_graph.py",
        "call graphs end at asyncio.as_completed",
        "'_done' in asyncio.tasks._AsCompletedIterator.__init__.__code__.co_names",
        since=13,
    ),
    Lean(
        "asyncio.Queue._getters",
        "_core/introspection/call_graph.py",
        "call graphs end at asyncio.as_completed",
        "type(queue._getters) is collections.deque",
    ),
    Lean(
        "asyncio.LifoQueue._init",
        "_core/primitives/sync/queues.py",
        "PriorityQueue and LifoQueue have no order, and overriding methods are not called",
        "all(hasattr(kind, '_init') for kind in (asyncio.Queue, asyncio.LifoQueue))",
    ),
    Lean(
        "asyncio.LifoQueue._put",
        "_core/primitives/sync/queues.py",
        "PriorityQueue and LifoQueue have no order, and overriding methods are not called",
        "all(hasattr(kind, '_put') for kind in (asyncio.Queue, asyncio.LifoQueue))",
    ),
    Lean(
        "asyncio.LifoQueue._get",
        "_core/primitives/sync/queues.py",
        "PriorityQueue and LifoQueue have no order, and overriding methods are not called",
        "all(hasattr(kind, '_get') for kind in (asyncio.Queue, asyncio.LifoQueue))",
    ),
    Lean(
        "asyncio.Queue._unfinished_tasks",
        "_core/introspection/waiting_on.py",
        "`waiting_on` of Queue.join does not say how many",
        "queue._unfinished_tasks == 0",
    ),
    Lean(
        "asyncio.Lock._waiters",
        "_core/introspection/waiting_on.py",
        "`waiting_on` of Lock.acquire does not say how many wait",
        "hasattr(lock, '_waiters') and hasattr(asyncio.Semaphore(), '_waiters')",
    ),
    Lean(
        "asyncio.Condition._lock",
        "_core/deadlocks/graph.py",
        "a task inside `async with condition` is not known to hold its lock",
        "asyncio.Condition(lock)._lock is lock",
    ),
    Lean(
        "contextlib.AsyncExitStack._exit_callbacks",
        "_core/deadlocks/waits.py",
        "a task that entered a lock with an exit stack is not known to hold it",
        "type(contextlib.AsyncExitStack()._exit_callbacks) is collections.deque",
    ),
    Lean(
        "asyncio.StreamReader._waiter",
        "_core/introspection/call_graph.py",
        "call graphs end at a stream's reader",
        "asyncio.StreamReader(loop=loop)._waiter is None",
    ),
    Lean(
        "asyncio.StreamReader._transport",
        "_core/introspection/waiting_on.py",
        "`waiting_on` does not say whose data a reader waits for",
        "hasattr(asyncio.StreamReader(loop=loop), '_transport') and "
        "hasattr(asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop), "
        "'_transport')",
    ),
    Lean(
        "asyncio.base_subprocess.BaseSubprocessTransport._proc",
        "_core/introspection/waiting_on.py",
        "`waiting_on` does not say the command of a subprocess",
        "'_proc' in asyncio.base_subprocess.BaseSubprocessTransport.__init__.__code__.co_names",
    ),
    Lean(
        "asyncio.base_subprocess.BaseSubprocessTransport._pid",
        "_core/introspection/waiting_on.py",
        "`waiting_on` does not say the pid of a subprocess",
        "'_pid' in asyncio.base_subprocess.BaseSubprocessTransport.__init__.__code__.co_names",
    ),
    Lean(
        "asyncio.futures._chain_future",
        "_core/introspection/waiting_on.py",
        "`waiting_on` says `Future` for work in an executor",
        "callable(asyncio.futures._chain_future)",
    ),
    # The frames by which the loop that a background cell runs is found.
    Lean(
        "asyncio.BaseEventLoop.run_forever.self",
        "_core/base/inner_loops.py",
        "a background cell that runs run_forever() is not ended by a cancel",
        "Loop.run_forever.__code__.co_varnames[0] == 'self'",
    ),
    Lean(
        "asyncio.BaseEventLoop.run_until_complete.future",
        "_core/base/inner_loops.py",
        "a cancelled background cell loses all tasks of the loop it runs, not its main task",
        "Loop.run_until_complete.__code__.co_varnames[:2] == ('self', 'future')",
    ),
    Lean(
        "asyncio.Runner.run.task",
        "_core/base/inner_loops.py",
        "a background cell that calls asyncio.run() on uvloop is not ended by a cancel",
        "'task' in asyncio.Runner.run.__code__.co_varnames "
        "and asyncio.Runner.run.__code__.co_qualname == 'Runner.run'",
    ),
    # The interpreter and the rest of the standard library.
    Lean(
        "sys._current_frames",
        f"{_FRAMES} _core/loop/guarded.py _core/base/worker_thread.py _core/leaks/isolated.py "
        "_core/leaks/reach.py _core/leaks/threads.py _kernel/ipykernel/interrupts.py",
        "no stack of a running task, no watchdog, no stop for code that blocks the loop, no leaks",
        "sys._current_frames()[threading.get_ident()] is not None",
    ),
    Lean(
        "sys._getframe",
        "_core/introspection/call_graph.py _core/loop/guarded.py _core/base/inner_loops.py "
        "_kernel/magics/magics.py _core/introspection/leaves.py _core/primitives/tasks.py "
        "_core/leaks/isolated.py _offload/far/job_task.py",
        "no call graph of the current task; no waking of tasks from worker threads; no local "
        "variables in the lines of magics; no names of tasks in an exception group",
        "sys._getframe().f_code is not None",
    ),
    Lean(
        "asyncio.TaskGroup._on_task_done",
        "_core/introspection/leaves.py _offload/far/job_task.py",
        "asyncnb cannot be imported; with other variables, an exception group does not name tasks",
        "{'self', 'task', 'exc'} <= set(asyncio.TaskGroup._on_task_done.__code__.co_varnames)",
    ),
    Lean(
        "sys._is_gil_enabled",
        "_core/base/async_raise.py",
        "a build without a GIL is mistaken for one with a GIL",
        "type(sys._is_gil_enabled()) is bool",
        since=13,
    ),
    Lean(
        "sys._emscripten_info",
        "_core/base/errors.py",
        "in Pyodide asyncnb tries to start threads",
        "hasattr(sys, '_emscripten_info') == (sys.platform == 'emscripten')",
    ),
    Lean(
        "threading._register_atexit",
        "_core/loop/current.py",
        "cleanup of tasks at exit cannot use to_thread()",
        "callable(threading._register_atexit)",
    ),
    Lean(
        "threading.RLock._at_fork_reinit",
        "_core/base/forks.py _offload/far/locks.py",
        "a forked child may hang on a lock",
        "callable(threading.RLock()._at_fork_reinit)",
    ),
    Lean(
        "threading.RLock._is_owned",
        "_core/base/locks.py",
        "join() and run() in a finaliser or a signal handler may deadlock",
        "threading.RLock()._is_owned() is False",
    ),
    Lean(
        "_signal.signal",
        "_offload/far/running.py",
        "each job in a worker sets its signal handler more slowly",
        "__import__('_signal').signal is not None",
    ),
    Lean(
        "argparse.ArgumentParser._actions",
        "_kernel/magics/completion.py _kernel/arguments.py",
        "magics have no Tab completion, and do not check their options",
        "type(argparse.ArgumentParser()._actions) is list",
    ),
    Lean(
        "subprocess._args_from_interpreter_flags",
        "_offload/engines/process.py",
        "no worker process starts",
        "type(subprocess._args_from_interpreter_flags()) is list",
    ),
    Lean(
        "os.environ._data",
        "_offload/engines/process.py",
        "each check whether the environment has changed costs ten times as much",
        "type(os.environ._data) is dict",
    ),
    Lean(
        "concurrent.futures.ThreadPoolExecutor._max_workers",
        "_offload/engines/executor.py _offload/engines/thread_pool.py",
        "a stream to a pool keeps 4 of its threads busy, however many it has",
        "concurrent.futures.ThreadPoolExecutor(3)._max_workers == 3",
    ),
]

NOTEBOOK_PREAMBLE = """
import contextvars, sys
from contextvars import ContextVar
ip = get_ipython()
kernel = ip.kernel
# asyncnb gives displayhook and display_pub of an older kernel its own class while loaded.
import comm, ipykernel
seven = ipykernel.version_info[0] >= 7
threads_have_parents = hasattr(ip, "set_thread_parent")  # ipykernel 7.4
from debugpy._vendored import force_pydevd  # as ipykernel does when it starts
import pydevd
"""

NOTEBOOK = [
    Lean(
        "ipykernel.debugger.Debugger.kernel_modules",
        "_kernel/ipykernel/debugger.py",
        "stepping from one statement of a cell to the next stops in asyncnb",
        "not seven or isinstance(kernel.debugger.kernel_modules, list)",
    ),
    Lean(
        "pydevd.PyDB.do_wait_suspend",
        "_core/base/breakpoints.py",
        "a stop at a breakpoint is reported as code that blocks the loop; an interrupt there ends "
        "the debugger's own code",
        "pydevd.PyDB.do_wait_suspend.__code__.co_filename.endswith('pydevd.py')",
    ),
    Lean(
        "ipykernel.iostream.OutStream._schedule_flush",
        "_kernel/ipykernel/streams.py",
        "a task that keeps printing sends more and more messages a second",
        "callable(type(sys.stdout)._schedule_flush)",
    ),
    Lean(
        "ipykernel.iostream.OutStream._io_loop",
        "_kernel/ipykernel/streams.py",
        "a task that keeps printing sends more and more messages a second",
        "callable(sys.stdout._io_loop.call_later)",
    ),
    Lean(
        "ipykernel.iostream.OutStream._flush",
        "_kernel/ipykernel/streams.py",
        "printed text stays in its buffer",
        "callable(sys.stdout._flush)",
    ),
    Lean(
        "ipykernel.zmqshell.ZMQInteractiveShell._parent_header",
        "_kernel/ipykernel/parents.py",
        "results and displays of tasks appear under the cell that runs",
        "isinstance(ip._parent_header, ContextVar) if threads_have_parents else "
        "isinstance(sys.stdout._parent_header, ContextVar)",
    ),
    Lean(
        "ipykernel.kernelbase.Kernel._shell_parent",
        "_kernel/ipykernel/busy_status.py _kernel/ipykernel/parents.py",
        "widgets made by a task belong to the cell that runs; a click does not bring `busy` back",
        "not seven or isinstance(kernel._shell_parent, ContextVar)",
    ),
    Lean(
        "ipykernel.kernelbase.Kernel._shell_context",
        "_kernel/ipykernel/busy_status.py",
        "a click while a cell runs leaves the kernel shown as idle",
        "not seven or isinstance(kernel._shell_context, contextvars.Context)",
    ),
    Lean(
        "ipykernel.kernelbase.Kernel._main_asyncio_lock",
        "_kernel/ipykernel/busy_status.py",
        "a click while a cell runs leaves the kernel shown as idle",
        "not seven or kernel._main_asyncio_lock.locked() in (True, False)",
    ),
    Lean(
        "ipykernel.kernelbase.Kernel._publish_status",
        "_kernel/ipykernel/busy_status.py _kernel/ipykernel/comm_channel.py",
        "a click on a dashboard is never answered",
        "callable(kernel._publish_status)",
    ),
    Lean(
        "comm.base_comm.BaseComm._msg_callback",
        "_core/events/sources.py",
        "a wait for the messages of a comm replaces the comm's own callback for good",
        "comm.create_comm(comm_id='lean-1')._msg_callback is None",
    ),
    Lean(
        "comm.base_comm.BaseComm._close_callback",
        "_core/events/sources.py",
        "a wait for a widget does not end when the page closes it",
        "comm.create_comm(comm_id='lean-2')._close_callback is None",
    ),
    Lean(
        "ipywidgets.Button._click_handlers",
        "_core/events/sources.py",
        "a wait for a click that ends in another thread makes the next callback miss that click",
        "type(__import__('ipywidgets').Button()._click_handlers.callbacks) is list",
    ),
    Lean(
        "ipywidgets.Widget._msg_callbacks",
        "_core/events/sources.py",
        "a wait for a message that ends in another thread makes the next callback miss it",
        "type(__import__('ipywidgets').Button()._msg_callbacks.callbacks) is list",
    ),
    Lean(
        "comm.base_comm.BaseComm._closed",
        "_core/events/sources.py",
        "a wait for a closed comm begins, and never ends",
        "comm.create_comm(comm_id='lean-3')._closed in (True, False)",
    ),
    Lean(
        "ipykernel.kernelbase.Kernel._topic",
        "_kernel/ipykernel/keep_alive.py _kernel/ipykernel/messages.py",
        "failures of tasks are not shown; a server that culls gets no keep-alive messages",
        "kernel._topic('error').endswith(b'.error')",
    ),
    Lean(
        "traitlets.HasTraits._trait_values",
        "_kernel/ipykernel/parents.py",
        "ipykernel 6 shows displays of tasks under the cell that runs",
        "type(ip._trait_values) is dict",
    ),
    Lean(
        "IPython.core.interactiveshell.InteractiveShell._last_traceback",
        "_kernel/output/tracebacks.py",
        "the reply of a cell whose task failed has no traceback",
        "hasattr(ip, '_last_traceback')",
    ),
    Lean(
        "IPython.core.interactiveshell.InteractiveShell._get_exc_info",
        "_kernel/output/tracebacks.py",
        "no error of a cell is shown",
        "callable(ip._get_exc_info)",
    ),
    Lean(
        "IPython.core.interactiveshell.InteractiveShell._showtraceback",
        "_kernel/output/tracebacks.py",
        "an exception group in a cell is not shown",
        "callable(ip._showtraceback)",
    ),
    Lean(
        "IPython.core.interactiveshell.InteractiveShell.user_ns._oh",
        "_kernel/awaiting/detach.py",
        "the result of a detached cell is not in Out",
        "ip.user_ns['_oh'] is ip.user_ns['Out']",
    ),
    Lean(
        "IPython.core.interactiveshell.InteractiveShell.user_ns._exit_code",
        "_offload/far/notebook.py",
        "`!command` in a cell on a worker leaves no exit code",
        "(ip.system('exit 3'), ip.user_ns['_exit_code'])[1] == 3",
    ),
    Lean(
        "matplotlib_inline.backend_inline.show._draw_called",
        "_kernel/output/figures.py",
        "a figure that a cell draws while a task shows its own is not shown",
        "__import__('matplotlib_inline.backend_inline').backend_inline.show._draw_called "
        "in (True, False)",
    ),
]

ELSEWHERE_PREAMBLE = ""

ELSEWHERE = [
    Lean(
        "distributed.Client._scheduler_identity",
        "_offload/engines/dask.py",
        "a stream to a cluster of any size keeps 4 of its threads busy",
        "'_scheduler_identity' in "
        "__import__('distributed').Client.scheduler_info.__code__.co_names",
    ),
    Lean(
        "distributed.Client._start_arg",
        "_offload/engines/dask.py",
        "the message for a lost scheduler fails, and the task with it",
        "'_start_arg' in __import__('distributed').Client.__init__.__code__.co_names",
    ),
    Lean(
        "ipyparallel.AsyncResult._children",
        "_offload/engines/ipyparallel.py",
        "no work runs on an ipyparallel cluster",
        "'_children' in __import__('ipyparallel').AsyncResult.__init__.__code__.co_names",
    ),
    Lean(
        "ipyparallel.AsyncResult._client",
        "_offload/engines/ipyparallel.py",
        "a call that runs on an engine cannot be cancelled",
        "'_client' in __import__('ipyparallel').AsyncResult.__init__.__code__.co_names",
    ),
    Lean(
        "ipyparallel.Client._closed",
        "_offload/engines/ipyparallel.py",
        "no work runs on an ipyparallel cluster",
        "__import__('ipyparallel').Client._closed is not None",
    ),
    Lean(
        "loky.ProcessPoolExecutor._max_workers",
        "_offload/engines/executor.py",
        "a stream to a pool keeps 4 of its processes busy, however many it has",
        "'_max_workers' in __import__('loky').ProcessPoolExecutor.__init__.__code__.co_names",
    ),
    Lean(
        "anyio._backends._asyncio.Lock._owner_task",
        "_core/deadlocks/graph.py",
        "a task that acquired a lock of anyio without `async with` is not known to hold it",
        "'_owner_task' in __import__('anyio._backends._asyncio')._backends._asyncio."
        "Lock.release.__code__.co_names",
    ),
    Lean(
        "anyio._backends._asyncio.SocketStream._transport",
        "_core/introspection/waiting_on.py",
        "`waiting_on` does not say from which socket an anyio stream (httpx) reads",
        "'_transport' in __import__('anyio._backends._asyncio')._backends._asyncio."
        "SocketStream.__init__.__code__.co_names",
    ),
    Lean(
        "anyio._backends._asyncio.CancelScope._host_task",
        "_core/introspection/call_graph.py",
        "before 3.14, tasks of an anyio task group are not shown inside the task that opened it",
        "'_host_task' in __import__('anyio._backends._asyncio')._backends._asyncio."
        "CancelScope.__init__.__code__.co_names",
    ),
    Lean(
        "trio._core._run.run.runner",
        "_core/base/inner_loops.py",
        "a background cell that calls trio.run() is not ended by a cancel",
        "'runner' in __import__('trio')._core._run.run.__code__.co_varnames",
    ),
    *(
        Lean(
            f"trio._core._run.{kind}.{name}",
            "_core/base/inner_loops.py",
            "cancelling a background cell that calls trio.run() fails",
            f"hasattr(__import__('trio')._core._run.{kind}, {name!r})",
        )
        for kind, name in (
            ("Runner", "entry_queue"),
            ("Runner", "main_task"),
            ("EntryQueue", "run_sync_soon"),
            ("Task", "parent_nursery"),
        )
    ),
    Lean(
        "uvloop.loop._SyncSocket",
        "_core/introspection/waiting_on.py",
        "`waiting_on` of uvloop's sock_recv does not say which socket",
        "{'_SyncSocketReaderFuture', '_SyncSocketWriterFuture'} <= "
        "set(dir(__import__('uvloop.loop').loop))",
    ),
]

LEANS = [*PYTHON, *NOTEBOOK, *ELSEWHERE]
