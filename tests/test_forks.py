"""Forks: a child has every lock free, and none of what needs its parent's threads."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import asyncnb
from tests.parsed import nodes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
PACKAGE = Path(asyncnb.__file__).parent

WALK = """
import collections, importlib, pkgutil, threading, warnings, weakref
import asyncio, os, sys, asyncnb
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
LOCKS = type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore
MUTABLE = (
    list, dict, set, collections.deque, weakref.WeakSet, weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
)

def modules():
    for found in pkgutil.walk_packages(asyncnb.__path__, "asyncnb."):
        module = importlib.import_module(found.name)
        if module.__name__ == found.name:
            yield module

def ours(kind):
    return getattr(kind, "__module__", "").startswith("asyncnb")

def parts(holder):
    names = {**getattr(holder, "__dict__", {})}
    for kind in type(holder).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if isinstance(name, str) and hasattr(holder, name):
                names[name] = getattr(holder, name)
    return names

def walk():
    for module in modules():
        for name, value in list(vars(module).items()):
            path = f"{module.__name__.removeprefix('asyncnb.')}.{name}"
            yield path, value
            inner = vars(value) if isinstance(value, type) else parts(value)
            if ours(value if isinstance(value, type) else type(value)):
                yield from ((f"{path}.{each}", part) for each, part in list(inner.items()))
"""


def plain_python(code: str) -> str:
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    if sys.version_info < (3, 12):
        command = command[:1]
    done = subprocess.run(
        [*command, "-c", textwrap.dedent(WALK) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


def test_every_lock_that_another_thread_held_is_free_in_a_child() -> None:
    printed = plain_python(
        """
        from asyncnb._offload.engines import in_order, process, worker_hub
        asyncnb.embedded_loop(), worker_hub.worker_hub(), in_order.call_in_order(lambda: None)
        held, done = threading.Event(), threading.Event()
        before = {path: part for path, part in walk() if isinstance(part, LOCKS)}
        assert len(before) > 15, before
        def hold():
            # Those of the watchdog and the like are held already, by design.
            taken = [lock for lock in before.values() if lock.acquire(timeout=0.2)]
            held.set()
            done.wait(60)
            for lock in taken: lock.release()
        threading.Thread(target=hold).start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            after = [(path, part) for path, part in walk() if isinstance(part, LOCKS)]
            stuck = [path for path, lock in after if not lock.acquire(timeout=0.2)]
            print(len(after) > 15, stuck, flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        done.set()
        """
    )
    assert printed == "True []"


#: Locks of objects that a child does not use, as nothing of it leads there.
OF_THE_PARENT = {
    "_core/base/inner_loops.py": "of one thread that works in the parent",
    "_core/primitives/sync/lock.py": "the state of a user's lock, which no thread waits for",
    "_core/loop/embedded.py": "a child gets a loop of its own",
    "_core/primitives/joining.py": "of one thread that waits in the parent",
    "_core/base/worker_thread.py": "of one thread that works in the parent",
    "_core/profiling/sampler.py": "of one thread that works in the parent",
    "_core/loop/watchdog.py": "a bell for a thread of the parent's",
    "_kernel/awaiting/detach.py": "of one request to a kernel, which the child is not",
    "_core/loop/current.py": "a fork waits until the thread that uses it has ended",
    "_offload/engines/worker_hub.py": "a child opens a hub of its own",
    "_offload/engines/dask.py": "a child forgets the engines",
    "_offload/engines/own_threads.py": "of one run of a map, whose threads are the parent's",
    "_offload/engines/ipyparallel.py": "a child forgets the engines",
    "_offload/engines/process.py": "a child forgets the engine and its workers",
    "_offload/jobs.py": "of one job, whose end the parent's threads report",
    "_offload/far/line.py": "found by the id of the process",
    "_offload/far/worker.py": "a worker's, which runs its jobs in the thread that a fork keeps",
    "_offload/far/running.py": "of one job",
    "_offload/far/output.py": "of one job's stream",
    "_offload/far/locks.py": "makes those that are renewed",
}


#: What no kernel loads: separate programs, which do not fork.
PROGRAMS = {"_cli", "_client", "_mcp"}


def test_every_lock_survives_a_fork_or_says_why_it_need_not() -> None:
    plain = {
        path.as_posix()
        for path, node in nodes(ast.Attribute)
        if path.parts[0] not in PROGRAMS
        and re.fullmatch(r"threading\.(R?Lock|Condition|(Bounded)?Semaphore)", ast.unparse(node))
    }
    assert plain - {"_core/base/locks.py"} == OF_THE_PARENT.keys()


def test_one_place_registers_what_a_fork_does() -> None:
    calls = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "os.register_at_fork(" in path.read_text()
    }
    # The far end has no asyncnb to ask.
    assert calls == {"_core/base/forks.py", "_offload/far/locks.py"}


def test_a_fork_waits_for_the_imports_of_a_loop_that_starts_early() -> None:
    printed = plain_python(
        """
        from asyncnb._core.loop import current
        current._EARLY_SECONDS = 60
        current.start_early(lambda: print("prepared", flush=True))
        thread = current._early.thread
        pid = os.fork()
        if pid == 0:
            print("child", asyncnb.launch(asyncio.sleep(0, 5)).join(20), flush=True)
            os._exit(0)
        assert not thread.is_alive()
        os.waitpid(pid, 0)
        print("parent", current.running_embedded_loop() is not None)
        """
    )
    assert printed.splitlines() == ["prepared", "child 5", "parent True"]


#: Emptied or made anew in a child: what the test above fills and looks at.
RESET = {
    "_core.frontend._attached",
    "_core.frontend.current",
    "_core.launched.after._names",
    "_core.launched.after._on_launch",
    "_core.launched.registry.registry",
    "_core.launched.open_group.named",
    "_core.base.progress_observers._failed",
    "_core.launched.record.observers",
    "_core.mapping.save_lock._held",
    "_core.profiling.sampler.sampler",
    "_core.tracing.traced_loops._watched",
    "_core.tracing.recording.recorder",
    "_core.base.visits.guarded",
    "_core.loop.tripwire.wires",
    "_core.base.visits.visits",
    "_core.primitives.joining._joiners",
    "_core.primitives.joining._waiters",
    "_offload.engines.dask._engines",
    "_offload.engines.executor._engines",
    "_offload.engines.ipyparallel._engines",
    "_offload.jobs._mailboxes",
    "_offload.far.profiling.samplers",
    "_offload.far.running._cancelled",
    "_offload.far.output._flusher",
    "_offload.far.running.running",
}

#: Variables that functions set anew: True if a child gets them as a new process would, or why not.
REBOUND = {
    "_core.frontend.current": True,
    "_core.launched.launch._launch_elsewhere": "set when the package is imported",
    "_core.loop.current._current": True,
    "_core.loop.current._early": True,
    "_core.loop.current._starting": True,
    "_core.base.progress_observers._observers": True,
    "_core.primitives.suspended._first_steps": "one for all loops, without a state",
    "_core.primitives.tasks._wrap_coroutine": True,
    "_core.tracing.recording._remove_task_hook": True,
    "_core.tracing.recording._recorded": True,
    "_extension._loaded": True,
    "_offload.engines.in_order._calls": True,
    "_offload.engines.worker_hub._worker_hub": True,
    "_offload.far.notebook._last_reporter": "each cell enters its own before it runs",
    "_offload.far.notebook._shell": "the process's own; a fork copies it",
    "_offload.packing._limit": "an option, which stays as it was set",
    "_offload.engines.process._engine": True,
    "_offload.far.output._flusher": True,
}

#: Module variables that a child keeps, and why.
KEPT = {
    "_core.primitives.all_tasks._suspended": (
        "weak; asked by loop, and the parent's loop is not the child's"
    ),
    "_core.primitives.awaitables._coroutine_types": "types",
    "_core.primitives.backport.eager._current_tasks": "asyncio's own",
    "_core.primitives.backport.eager._known": (
        "weak; until a task of the parent is garbage-collected"
    ),
    "_core.config.config": "options, which stay as they were set",
    "_core.base.forks.locks": "a child may fork",
    "_core.base.forks._resets": "a child may fork",
    "_core.base.forks._finishers": "a child may fork",
    "_core.loop.prerequisites._preparations": "the core's own",
    "_core.primitives.futures._incoming": "weak; by the future, which is the parent's",
    "_core.introspection.call_graph._OPAQUE": "names",
    "_core.loop.guarded.on_wakeup_fd_replaced": "of the cells that run in the forking thread",
    "_core.introspection.call_graph.wrappers": "code objects",
    "_core.primitives.cross_loop._adders": "by type",
    "_core.primitives.cross_loop._removers": "by type",
    "_core.primitives.cross_loop._done_signals": "weak; by the future, which is the parent's",
    "_core.loop.embedded._dead_loop_hooks": "the core's own",
    "_core.loop.hosted.on_hosted_shutdown": "the core's own",
    "_core.primitives.fast_timer._known_call_at": "functions",
    "_core.introspection.waiting_on._LIBRARIES": "names",
    "_kernel.ipykernel.control_requests._importing": "empty: a fork waits until it is",
    "_kernel.ipykernel.streams._retired": "what sys holds stays as it is, too",
    "_offload.far.dask._keys": "of a worker, whose key stays as it is",
    "_offload.far.line._connections": "by the id of the process",
    "_offload.far.remote._functions": "functions that came with jobs",
    "_offload.far.output.outputs": "by thread; the one that forks still runs its job",
    "_offload.far.notebook._reporters": "by thread; each cell enters its own before it runs",
    "_core.primitives.suspended._first_steps": "made anew for each loop",
}

FILL = """
from asyncnb._core import frontend
from asyncnb._core.launched import launch as _launch
from asyncnb._core.launched import registry as _registry
from asyncnb._core.launched import record as _record
from asyncnb._core.launched import named_groups as _named_groups
from asyncnb._core.launched import registry as _registry
from asyncnb._core.loop import current as _current
from asyncnb._core.primitives import tasks as _tasks
from asyncnb._core.base import progress_observers as _progress
from asyncnb._core.launched import open_group as _open_groups
from asyncnb._core.mapping import save_lock as _save_lock
from asyncnb._core.profiling import sampler as _sampler
from asyncnb._core.tracing import recording as _trace
from asyncnb._core.tracing import traced_loops as _traced_loops
from asyncnb._core.primitives import joining as _waiters
from asyncnb._core.base import visits as _visits
from asyncnb._offload.engines import executor as _executor
from asyncnb._offload.engines import in_order as _in_order
from asyncnb._offload.engines import worker_hub as _worker_hub
from asyncnb._offload import jobs as _jobs
from asyncnb._offload.engines import process as _process
from asyncnb._offload.far import output as _output
from asyncnb._offload.far import profiling as _far_profiling
from asyncnb._offload.far import running as _running
from asyncnb._offload.engines import dask as _dask
from asyncnb._offload.engines import ipyparallel as _ipyparallel

def state():
    return {
        "open groups": len(_open_groups.named),
        "tasks": len(_registry.registry.records()),
        "observers": len(_record.observers),
        "progress": (len(_progress._observers), len(_progress._failed)),
        "front end": (frontend.current, len(frontend._attached)),
        "recorded": (_trace._recorded, _tasks._wrap_coroutine, len(_traced_loops._watched)),
        "recording": (len(_trace.recorder.steps), len(_trace.recorder.traces)),
        "save files": len(_save_lock._held),
        "profiles": (len(_sampler.sampler.sessions()), _sampler.sampler._thread),
        "loop": _current._current,
        "visits": (len(_visits.visits), len(_visits.guarded)),
        "waiters": (len(_waiters._waiters), len(_waiters._joiners)),
        "worker hub": (_worker_hub._worker_hub, _in_order._calls, len(_executor._engines)),
        "workers": (_process._engine, len(_dask._engines), len(_ipyparallel._engines)),
        "mailboxes": len(_jobs._mailboxes),
        "sampled jobs": len(_far_profiling.samplers),
        "jobs": (len(_running.running), len(_running._cancelled), _output._flusher._thread),
    }
"""


def test_a_child_starts_with_none_of_its_parents_tasks_groups_hooks_and_connections() -> None:
    printed = plain_python(
        FILL
        + """
begun = state()
class Engine: pass
engine = Engine()
group = asyncnb.open_group("pages")
async def waits_for(task): await task
asyncnb.launch(asyncio.sleep(60), trace=True)
task = group.create_task(asyncio.sleep(60))
threading.Thread(target=lambda: task.join(), daemon=True).start()
while not _waiters._joiners: os.sched_yield()
_record.observers.add(lambda record: None); frontend.attach(frontend.PlainFrontEnd())
_progress.observe_progress(print); _progress._failed.add(1)
_visits.guard(asyncnb.embedded_loop())
asyncnb.profile().start()
import tempfile
with tempfile.NamedTemporaryFile() as _file: _lock = _save_lock.SaveLock(_file.name, "x", "x")
_worker_hub.worker_hub(), _in_order.call_in_order(lambda: None)
_executor._engines[engine] = _dask._engines[engine] = engine; _ipyparallel._engines.append(engine)
_process.process_engine(); _jobs._mailbox(asyncnb.embedded_loop())
_far_profiling.samplers[1] = None
_running.running[1] = 1; _running._cancelled[2] = None
class Quiet:
    def flush(self): pass
_output._flusher.flush_soon(Quiet())
full = state()
filled = [name for name in begun if full[name] == begun[name]]
assert not filled, filled
pid = os.fork()
if pid == 0:
    left = state()
    print({name: left[name] for name in begun if left[name] != begun[name]})
    again = asyncnb.open_group("pages")
    print(again is not group, again.create_task(asyncio.sleep(0, 5)).join(20), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
_lock.release()
sys.stdout.flush()
os._exit(0)  # as it stands: it waits, and its hooks are not real ones
"""
    )
    assert printed.splitlines() == ["{}", "True 5"]


def test_every_variable_of_a_module_is_reset_or_says_why_it_need_not_be() -> None:
    printed = plain_python(
        """
        names = {}
        for module in modules():
            for name, value in vars(module).items():
                if name.startswith("__") or isinstance(value, type):
                    continue
                if isinstance(value, MUTABLE) or ours(type(value)):
                    constant = ours(type(value)) or len(value)
                    if not (name.strip("_").isupper() and constant):
                        path = f"{module.__name__.removeprefix('asyncnb.')}.{name}"
                        names.setdefault(id(value), []).append(path)
        for each in names.values(): print(*each)
        """
    )
    known = KEPT.keys() | RESET
    unknown = [names for names in printed.splitlines() if known.isdisjoint(names.split())]
    assert not unknown, "say in RESET or KEPT what a fork does to these"


def test_every_variable_that_code_sets_anew_is_known_here() -> None:
    found = {
        f"{path.with_suffix('').as_posix().replace('/', '.')}.{name}"
        for path, node in nodes(ast.Global)
        for name in node.names
    }
    assert found == REBOUND.keys()
