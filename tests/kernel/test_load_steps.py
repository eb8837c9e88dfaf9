"""`%load_ext` and `%unload_ext` are all or nothing, whichever step fails."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.kernel.test_unload import SNAPSHOT

# `failing_at(n)` has the n-th line raise that the loading runs in asyncnb's own IPython side.
WALK = """
import asyncnb._extension as extension, contextlib, os, sys
from asyncnb._kernel import undo as _undo

PACKAGE = os.path.dirname(extension.__file__)
WATCHED = (extension.__file__, os.path.join(PACKAGE, "_kernel"))

class Injected(BaseException):
    "As an interrupt or a lack of memory: it may come at any line."

@contextlib.contextmanager
def failing_at(n):
    lines = 0
    unwind = _undo.UndoStack.unwind.__code__
    def trace(frame, event, _):
        nonlocal lines
        if not frame.f_code.co_filename.startswith(WATCHED) or frame.f_code is unwind:
            return None
        if event == "line":
            lines += 1
            if lines == n:
                sys.settrace(None)
                raise Injected(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return trace
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)

def walk(step):
    "Fail at each line of a load once; return how many there are."
    n = 0
    while True:
        n += 1
        try:
            with failing_at(n):
                extension.load(ip)
        except Injected as exc:
            step(exc)
        else:
            return n
"""

TERMINAL = """
import builtins, gc, io, threading
from IPython.core.interactiveshell import InteractiveShell
ip = InteractiveShell.instance()
import asyncnb
from asyncnb._core.timeline import timeline as _timeline
from asyncnb._core.launched import launch as _launch
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop import embedded as _loop
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.primitives import tasks as _tasks
from asyncnb._core import frontend
from asyncnb._core.base import progress_observers as _progress

def copied(value):
    return value.copy() if isinstance(value, (list, dict)) else value

def snapshot():
    found = {}
    for name, thing in {"ip": ip, "stdout": sys.stdout, "stderr": sys.stderr, "builtins": builtins,
                        "trap": ip.builtin_trap, "publisher": ip.display_pub, "_launch": _launch,
                        "hook": ip.displayhook, "frontend": frontend, "_tasks": _tasks,
                        "_timeline": _timeline, "completer": ip.Completer}.items():
        own = getattr(thing, "__dict__", {})
        for key, value in {**own, **getattr(thing, "_trait_values", {})}.items():
            found[name, key] = copied(value)
    for kind, table in ip.magics_manager.magics.items():
        found["magics", kind] = dict(table)
    for event, callbacks in ip.events.callbacks.items():
        found["event", event] = list(callbacks)
    found["pager"] = list(ip.hooks.show_in_pager.chain)
    found["observers"] = _progress._observers
    found["front end"] = (frontend.current, list(frontend._attached))
    bundles = ip.display_formatter.mimebundle_formatter
    found["displayed"] = bundles.type_printers | bundles.deferred_printers
    found["meta_path"] = list(sys.meta_path)
    found["threads"] = sorted(t.name for t in threading.enumerate())
    found["loop"] = running_embedded_loop()
    found["collects"] = gc.isenabled()
    found["sys"] = type(sys)
    # What any cell changes.
    for key in ("execution_count", "last_execution_result", "last_execution_succeeded",
                "_last_traceback", "_last_input_line"):
        found.pop(("ip", key), None)
    noise = ("_trait_values", "__builtins__")
    return {key: value for key, value in found.items() if key[1] not in noise}

def short(value):
    return str(value)[:500]

def check(what):
    now = snapshot()
    different = [k for k in before.keys() | now.keys()
                 if k not in before or k not in now or
                 (before[k] is not now[k] and before[k] != now[k])]
    assert not different, (what, [(k, short(before.get(k)), short(now.get(k))) for k in different])

def works():
    "A load works, and an unload takes it all out."
    assert ip.run_cell("%load_ext asyncnb", silent=True).success
    assert gc.isenabled()
    assert ip.run_cell("%atask asyncio.sleep(0)", silent=True).success
    assert ip.run_cell("%tasks wait -t 10", silent=True).success
    ip.run_cell("%unload_ext asyncnb", silent=True)

ip.run_cell("import asyncio")
works()
registry.clear() if hasattr(registry, "clear") else None
before = snapshot()
"""

STEPS = """
count = walk(check)
assert count > 150, count
extension.unload(ip)
check("unload")
works()
check("works")
print("walked", count)
"""

NO_THREAD = """
start = threading.Thread.start
def refused(self):
    if self.name.startswith("asyncnb"):
        raise RuntimeError("can't start new thread")
    start(self)
threading.Thread.start = refused
for _ in range(2):
    result = ip.run_cell("%load_ext asyncnb", silent=True)
    assert "new thread" in str(result.error_in_exec)
    check("no thread")
threading.Thread.start = start
works()
check("works")
print("walked")
"""

NO_LOOP = """
from asyncnb._core.loop import current as _current
start, seconds = _loop.EmbeddedLoop.start, _current._EARLY_SECONDS
def refused(self): raise RuntimeError("can't start new thread")
_loop.EmbeddedLoop.start, _current._EARLY_SECONDS = refused, 60
assert ip.run_cell("%load_ext asyncnb", silent=True).success
said = io.StringIO()
with contextlib.redirect_stderr(said):
    assert ip.run_cell("1 + 1", silent=True).success
assert "the embedded loop could not be started" in said.getvalue(), said.getvalue()
assert "can't start new thread" in said.getvalue(), said.getvalue()
ip.run_cell("%unload_ext asyncnb", silent=True)
check("no loop")
_loop.EmbeddedLoop.start, _current._EARLY_SECONDS = start, seconds
works()
check("works")
print("walked")
"""

UNDO = """
count = None
n = 0
while count is None or n < count:
    ip.run_cell("%load_ext asyncnb", silent=True)
    undos = extension._loaded._undo._undos
    count = len(undos)
    def broken(undo=undos[n]):
        undo()
        raise ValueError(f"undo {n} is broken")
    undos[n] = broken
    said = io.StringIO()
    stderr, sys.stderr = sys.stderr, said
    try:
        ip.run_cell("%unload_ext asyncnb", silent=True)
    finally:
        sys.stderr = stderr
    assert said.getvalue().count(f"ValueError: undo {n} is broken") >= 1, (n, said.getvalue())
    assert "could not be unloaded" in said.getvalue()
    check(n)
    n += 1
works()
check("works")
print("walked", count)
"""


@pytest.mark.parametrize(
    "body",
    [STEPS, NO_THREAD, NO_LOOP, UNDO],
    ids=["a step", "the thread", "the loop", "an undo"],
)
def test_a_shell_in_which_loading_or_unloading_fails_is_as_before(body):
    done = subprocess.run(
        [sys.executable, "-c", WALK + TERMINAL + body],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "walked" in done.stdout


def test_a_kernel_in_which_each_step_of_loading_fails_is_as_before(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok(SNAPSHOT)
    kernel.ok("ip = get_ipython()\nimport asyncnb")
    kernel.ok(WALK)
    kernel.ok("%load_ext asyncnb\n%unload_ext asyncnb")  # what is imported, and filled, once
    kernel.ok("first = snapshot()")
    kernel.ok("second = snapshot()")
    kernel.ok(
        "volatile = {k[:2] if isinstance(k, tuple) else k for k in differences(first, second)}"
    )
    kernel.ok(
        textwrap.dedent(
            """
            count = walk(lambda exc: None)
            extension.unload(ip)
            """
        ),
        240,
    )
    assert kernel.evaluate("count") > 150
    kernel.ok("left = sorted(map(repr, new(second, snapshot())))")
    assert kernel.evaluate("left") == []
    assert kernel.evaluate("[t.name for t in threading.enumerate() if 'asyncnb' in t.name]") == []
    kernel.ok("%load_ext asyncnb")
    cell = kernel.ok("%%atask job\nprint('spoke')\nawait asyncio.sleep(0, 42)")
    cell.wait_for("42")
    assert cell.stdout == "spoke\n"


@pytest.mark.parametrize(
    ("order", "ending"),
    [("%unload_ext asyncnb", "unloaded"), ("%asyncnb restart", "restarted")],
)
@pytest.mark.parametrize("task", [False, True], ids=["await cell", "task"])
def test_what_ends_the_loop_is_refused_on_it_and_says_where_to_put_it(
    fresh_kernel, order, ending, task
):
    if task:
        magic = f"get_ipython().run_line_magic(*{order[1:]!r}.split())"
        cell = fresh_kernel.ok(f"%%atask job\nawait asyncio.sleep(0)\n{magic}")
        cell.wait_for("in a separate cell")
        said = cell.errors[0].evalue
        assert "a background task" in said
    else:
        cell = fresh_kernel.run(f"await asyncio.sleep(0)\n{order}")
        assert cell.status == "error"
        said = cell.error.evalue + cell.stderr
        assert "a cell with `await`" in said
    assert f"cannot be {ending} here" in said
    assert f"Run {order} in a separate cell" in said
    assert fresh_kernel.ok("await asyncio.sleep(0, 7)").result == "7"  # nothing has changed
    fresh_kernel.ok(order)  # what it says works
