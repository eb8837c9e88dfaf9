"""`%unload_ext asyncnb` leaves IPython, ipykernel and the process as they were."""

from __future__ import annotations

# Everything that hangs on the objects below: values that can be called or hold things, by identity;
# tables also by content. What changes by itself is found by looking twice before loading.
SNAPSHOT = """
import asyncio, builtins, logging, signal, sys, threading, warnings
import matplotlib.pyplot, matplotlib._pylab_helpers

def plain(value):
    return value is None or isinstance(value, (str, bytes, int, float))

def snapshot():
    ip = get_ipython(); k = ip.kernel
    things = {
        "ip": ip, "kernel": k, "display_pub": ip.display_pub, "displayhook": ip.displayhook,
        "stdout": sys.stdout, "stderr": sys.stderr, "events": ip.events, "compile": ip.compile,
        "history": ip.history_manager, "completer": ip.Completer, "session": k.session,
        "builtin_trap": ip.builtin_trap, "display_trap": ip.display_trap, "tb": ip.InteractiveTB,
        "shell_stream": getattr(k, "shell_stream", None), "comms": k.comm_manager,
        "iopub_thread": k.iopub_thread, "input": ip.input_transformer_manager,
        "Gcf": matplotlib._pylab_helpers.Gcf, "plt": matplotlib.pyplot,
        "asyncio": asyncio, "events_module": asyncio.events, "tasks_module": asyncio.tasks,
        "builtins": builtins, "threading": threading, "sys": sys, "warnings": warnings,
        "logging": logging, "ip_class": type(ip), "kernel_class": type(k),
        "stream_class": type(sys.stdout),
        "asyncio.Task": asyncio.Task, "Thread": threading.Thread,
    }
    found = {}
    for where, thing in things.items():
        for name, value in {**vars(thing), **getattr(thing, "_trait_values", {})}.items():
            if plain(value):
                continue
            found[where, name] = value
            if isinstance(value, (dict, list)) and len(value) < 500:
                items = value.items() if isinstance(value, dict) else enumerate(value)
                found.update({(where, name, k): v for k, v in items if not plain(v)})
    found.update({("magic", kind, n): f for kind, table in ip.magics_manager.magics.items()
                  for n, f in table.items()})
    found.update({("event", n, i): f for n, fs in ip.events.callbacks.items()
                  for i, f in enumerate(fs)})
    found["SIGINT"] = signal.getsignal(signal.SIGINT)
    fd = signal.set_wakeup_fd(-1); signal.set_wakeup_fd(fd); found["wakeup fd"] = fd
    found["policy"] = type(asyncio.get_event_loop_policy())
    found["asyncgen hooks"] = sys.get_asyncgen_hooks()
    return found

def differences(one, two):
    return {k for k in one.keys() | two.keys()
            if k not in one or k not in two or (one[k] is not two[k] and one[k] != two[k])}

# Caches of Python and ipykernel that fill by importing and by printing from a thread; and the
# kernel's loop has a current task or none, by how it runs the cell at that moment.
CACHES = {("sys", "path_importer_cache"), ("threading", "_threading_atexits"),
          ("iopub_thread", "_event_pipes"), ("tasks_module", "_current_tasks")}

def new(one, two):
    return {k for k in differences(one, two)
            if k[:2] not in volatile and k not in volatile and k[:2] not in CACHES}
"""

LIFE = """
plt = matplotlib.pyplot
fig = plt.figure(); plt.plot([1, 2]); plt.close(fig)
print("out"); print("err", file=sys.stderr); display("shown")
"""


def test_unload_puts_everything_back(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok(SNAPSHOT)
    kernel.ok("%load_ext autoreload\n%unload_ext autoreload")  # IPython's own magics come late

    def live() -> None:
        kernel.ok(LIFE)
        kernel.ok("await asyncio.sleep(0, 1)")
        assert kernel.run("1/0").status == "error"
        assert kernel.run("await asyncio.sleep(0); 1/0").status == "error"

    live()
    kernel.ok("first = snapshot()")
    live()
    kernel.ok("second = snapshot()")
    kernel.ok(
        "volatile = {k[:2] if isinstance(k, tuple) else k for k in differences(first, second)}"
    )
    # Between the cells, where no display hook and no builtins of IPython's are in place.
    kernel.evaluate("len(globals().setdefault('idle', snapshot()))")
    kernel.ok("%load_ext asyncnb")
    kernel.ok("assert new(second, snapshot()), 'a snapshot that sees nothing'")
    kernel.ok("%%atask job\nawait asyncio.sleep(0)\nprint('spoke')")
    kernel.ok("%%atask body\nprint('spoke')")
    kernel.ok("%tasks wait")
    live()
    kernel.ok("%unload_ext asyncnb")
    live()
    kernel.ok("left = sorted(map(repr, new(second, snapshot())))")
    assert kernel.evaluate("left") == []
    assert kernel.evaluate("sorted(map(repr, new(idle, snapshot())))") == []


def test_unload_gives_await_cells_back_to_the_kernels_loop(fresh_kernel):
    here = "await asyncio.sleep(0); threading.current_thread() is threading.main_thread()"
    assert fresh_kernel.ok(here).result == "False"
    fresh_kernel.ok("%unload_ext asyncnb")
    assert fresh_kernel.ok(here).result == "True"
    assert fresh_kernel.run("%%atask x\nawait asyncio.sleep(0)").status == "error"


def test_unload_ends_the_tasks_with_their_cleanup(fresh_kernel):
    fresh_kernel.ok("started = threading.Event(); log = []")
    fresh_kernel.ok(
        """
        %%atask job
        try:
            started.set()
            await asyncio.sleep(60)
        finally:
            log.append("cleaned up")
        """
    )
    fresh_kernel.ok("assert started.wait(10)")
    fresh_kernel.ok("%unload_ext asyncnb", 10)
    assert fresh_kernel.evaluate("log") == ["cleaned up"]
    assert (
        fresh_kernel.evaluate("[t.name for t in threading.enumerate() if 'asyncnb' in t.name]")
        == []
    )


def test_the_extension_works_after_unloading_and_loading_again(fresh_kernel):
    for _ in range(3):
        fresh_kernel.ok("%unload_ext asyncnb")
        fresh_kernel.ok("%load_ext asyncnb")
    cell = fresh_kernel.ok("%%atask job\nprint('spoke')\nawait asyncio.sleep(0, 42)")
    cell.wait_for("42")
    fresh_kernel.drain()
    assert cell.stdout == "spoke\n"
    assert cell.shown == ["42"]
    waiting = fresh_kernel.submit("print('waiting'); await asyncio.sleep(60)")
    waiting.wait_for("waiting")
    fresh_kernel.interrupt()
    assert waiting.wait(5).error.ename == "KeyboardInterrupt"


def test_interrupt_of_a_sync_cell_works_after_unload(fresh_kernel):
    fresh_kernel.ok("%unload_ext asyncnb")
    cell = fresh_kernel.submit("print('busy', flush=True); time.sleep(60)")
    cell.wait_for("busy")
    fresh_kernel.interrupt()
    assert cell.wait(5).error.ename == "KeyboardInterrupt"


WIDGET = "application/vnd.jupyter.widget-view+json"


def watch(kernel, comm):
    """Send what a page sends that shows a widget; return when it has got the rows."""

    def answered():
        sent = [m["content"] for cell in list(kernel._cells.values()) for m in cell.messages]
        data = [content["data"] for content in sent if content.get("comm_id") == comm]
        return any(each.get("content", {}).get("k") == "snapshot" for each in data)

    asks = {"method": "custom", "content": {"c": "sync"}}
    kernel._request("comm_msg", {"comm_id": comm, "data": asks})
    with kernel._news:
        assert kernel._news.wait_for(answered, 30)


def test_nothing_that_stays_on_a_page_or_fails_keeps_an_unloaded_asyncnb(fresh_kernel):
    kernel = fresh_kernel
    kernel.ok("import gc; kinds = {'Extension', 'OutputRouter', 'BrowserSide', 'Feed', 'Row'}")
    living = "sorted({n for n in (type(o).__name__ for o in gc.get_objects()) if n in kinds})"
    for _ in range(2):
        kernel.ok("dashboard = asyncnb.dashboard()")
        kernel.ok("task = asyncnb.launch(asyncio.sleep(600), name='sleeps')")
        shown = kernel.ok("display(dashboard, task)").displays
        assert [WIDGET in data for data in shown] == [True, True]
        watch(kernel, kernel.evaluate("dashboard.comm.comm_id"))
        cell = kernel.ok("%%atask fails --trace\nprint('spoke')\nawait asyncio.sleep(0)\n1/0")
        cell.wait_for("ZeroDivisionError")
        kernel.ok("display(asyncnb.timeline('fails'))")
        assert kernel.run("await asyncio.sleep(0); 1/0").status == "error"
        kernel.ok("gc.collect()")
        assert kernel.evaluate(living) == kernel.evaluate("sorted(kinds)")
        kernel.ok("%unload_ext asyncnb")
        kernel.ok("gc.collect()")
        assert kernel.evaluate(living) == []
        kernel.ok("%load_ext asyncnb")
