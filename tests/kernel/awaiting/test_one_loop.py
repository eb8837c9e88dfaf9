"""One loop for every cell: what a cell without await sees, makes and leaves to later ones."""

from __future__ import annotations

import pytest

from tests.kernel.driver import Cell, Kernel
from tests.kernel.test_terminal import ipython

HERE = "asyncio.get_running_loop() is asyncnb.embedded_loop()"


@pytest.fixture
def quiet(kernel):
    """A kernel whose loop nothing wakes but what a test does: no question of the watchdog's."""
    kernel.ok("%asyncnb option watchdog off")
    yield kernel
    kernel.ok("%asyncnb option watchdog 0.25")


# Where the loop is the running one

MAGIC = """
from IPython.core.magic import register_line_magic, register_cell_magic
@register_line_magic
def look(line): print(HERE)
@register_cell_magic
def looks(line, cell): print(HERE); get_ipython().run_cell(cell)
""".replace("HERE", HERE)
SCRIPT = f"""
import asyncio, asyncnb
def main(): print({HERE})
main()
"""
PLACES = {
    "a plain cell": f"print({HERE})",
    "a function": f"def look(): return {HERE}\nprint(look())",
    "a class body": f"class C: here = {HERE}\nprint(C.here)",
    "a comprehension": f"print([{HERE} for _ in 'x'][0])",
    "the last expression": HERE,
    "a generator": f"print(next({HERE} for _ in 'x'))",
    "exec": f"exec({f'print({HERE})'!r})",
    "a cell that awaits": f"await asyncio.sleep(0); print({HERE})",
    "a coroutine": f"async def look(): return {HERE}\nprint(await look())",
    "a script": "%run script.py",
    "a script in the namespace": "%run -i script.py",
    "%time": f"%time print({HERE})",
    "%%time": f"%%time\nprint({HERE})",
    "%%capture": f"%%capture said\nprint({HERE})",
    "%timeit": f"%timeit -n1 -r1 print({HERE})",
    "%prun": f"%prun -q print({HERE})",
    "a line magic of the user's": "%look",
    "a cell magic of the user's": f"%%looks\nprint({HERE})",
    "a cell in a cell": f"get_ipython().run_cell({f'print({HERE})'!r});",
    "an alias of eval": f"print(get_ipython().ev({HERE!r}))",
    "a cell in a cell that awaits": (
        f"await asyncio.sleep(0)\nget_ipython().run_cell({f'print({HERE})'!r});"
    ),
}


@pytest.mark.parametrize("where", PLACES)
def test_the_embedded_loop_is_the_running_one_in(kernel, where):
    kernel.ok(MAGIC)
    kernel.ok(f"open('script.py', 'w').write({SCRIPT!r});")
    for _ in range(2):  # the second time what was compiled first is there
        text = kernel.ok(PLACES[where]).text
        if where == "%%capture":
            text = kernel.ok("print(said.stdout)").text
        assert "True" in text and "False" not in text
    assert kernel.ok(HERE).result == "True"


@pytest.mark.parametrize(
    "body", [f"await asyncio.sleep(0)\nprint({HERE})", f"await look()\n{HERE}"]
)
def test_the_embedded_loop_is_the_running_one_in_a_task(kernel, body):
    kernel.ok("async def look(): pass")
    kernel.ok(f"%%atask it\n{body}").wait_for("True")


ENDS = {
    "an exception": ("1/0", "ZeroDivisionError"),
    "sys.exit": ("sys.exit(3)", "SystemExit"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "CancelledError": ("raise asyncio.CancelledError", "CancelledError"),
    "GeneratorExit": ("raise GeneratorExit", "GeneratorExit"),
    "a syntax error": ("1 +", "SyntaxError"),
    "a usage error": ("%tasks cancel nothing_like_it", "UsageError"),
    "an exception in a nested cell": (
        "get_ipython().run_cell('1/0').raise_error()",
        "ZeroDivisionError",
    ),
    "an exception in %time": ("%time 1/0", "ZeroDivisionError"),
    "an exception in a script": ("%run failing.py", "ZeroDivisionError"),
}


@pytest.mark.parametrize("end", ENDS)
def test_it_still_is_and_the_kernels_outside_after(kernel, end):
    kernel.ok("open('failing.py', 'w').write('1/0');")
    kernel.ok(HOOKS)
    code, error = ENDS[end]
    if "nested" in end:
        kernel.ok("unhook()")  # hooks of a cell in a cell run in the middle of the outer one
    before = f"assert {HERE}\n" if code[0] != "%" and end != "a syntax error" else ""
    ended = kernel.run(before + code)
    assert error in (ended.error.ename if ended.error else ended.text)
    assert kernel.ok(HERE).result == "True"
    assert kernel.evaluate("outside()") == []
    kernel.ok("unhook()")


def test_it_still_is_after_a_stop(kernel):
    for busy in ("time.sleep(60)", "while True: pass", "threading.Event().wait()"):
        cell = kernel.submit(f"print('busy')\n{busy}")
        cell.wait_for("busy")
        kernel.interrupt()
        assert cell.wait(10).error.ename == "KeyboardInterrupt"
        assert kernel.ok(HERE).result == "True"


# Around the cell's code

HOOKS = """
shell, wrong, hooked = get_ipython(), [], []
kernel_loop = shell.kernel.io_loop.asyncio_loop
def hook(event):
    def look(*_):
        if asyncio._get_running_loop() is not kernel_loop: wrong.append(event)
    hooked.append((event, look))
    shell.events.register(event, look)
for _event in ("pre_execute", "pre_run_cell", "post_run_cell", "post_execute"): hook(_event)
def outside(): return sorted(set(wrong))
def unhook():
    while hooked: shell.events.unregister(*hooked.pop())
"""


@pytest.mark.parametrize(
    "code",
    ["1", "1/0", "await asyncio.sleep(0)", "await asyncio.sleep(0); 1/0", "%time 1", "sys.exit()"],
)
def test_hooks_around_the_code_see_the_kernels_loop(kernel, code):
    kernel.ok(HOOKS)
    seen_there = code.startswith("await")  # IPython calls them with the cell, on its loop
    kernel.run(code)
    kernel.ok("1")
    if not seen_there:
        assert kernel.evaluate("outside()") == []
    kernel.ok("unhook()")


def test_what_the_kernels_loop_runs_meanwhile_and_afterwards_sees_that_loop(kernel):
    kernel.ok("kernel_loop = get_ipython().kernel.io_loop.asyncio_loop; seen = []")
    kernel.ok(
        "kernel_loop.call_soon(lambda: seen.append(asyncio.get_running_loop() is kernel_loop))"
    )
    kernel.ok(
        """
        async def look():
            for _ in range(3):
                seen.append(asyncio.get_running_loop() is kernel_loop)
                await asyncio.sleep(0)
        kernel_loop.call_soon(lambda: seen.append(kernel_loop.create_task(look())))
        await asyncio.sleep(0.01)
        """
    )
    kernel.ok("1")
    assert kernel.evaluate("[s for s in seen if isinstance(s, bool)]") == [True] * 4


# What a plain cell makes


def test_a_task_starts_when_the_cells_code_has_ended_and_sees_names_defined_later(kernel):
    cell = kernel.ok(
        """
        async def work(n):
            print("task", n, name)
        tasks = [asyncio.create_task(work(n)) for n in range(3)]
        asyncio.get_running_loop().call_soon(print, "call", 3)
        tasks.append(asyncio.ensure_future(work(4)))
        time.sleep(0.05)
        print("cell")
        name = "defined later"
        """
    )
    cell.wait_for("task 4")
    lines = ["cell", *(f"task {n} defined later" for n in range(3)), "call 3"]
    assert cell.stdout == "\n".join([*lines, "task 4 defined later", ""])


def test_it_starts_when_a_cell_that_fails_or_is_stopped_has_ended(kernel):
    kernel.ok("async def work(): print('begun')")
    failed = kernel.run("t = asyncio.create_task(work()); 1/0")
    assert failed.error.ename == "ZeroDivisionError"
    failed.wait_for("begun")
    stopped = kernel.submit("t = asyncio.create_task(work()); print('busy'); time.sleep(60)")
    stopped.wait_for("busy")
    kernel.interrupt()
    assert stopped.wait(10).error.ename == "KeyboardInterrupt"
    stopped.wait_for("begun")


def test_it_prints_into_its_own_cell_and_runs_while_a_later_cell_blocks(kernel):
    kernel.ok("gate, ran = asyncio.Event(), threading.Event()")
    cell = kernel.ok(
        """
        async def work():
            print("begun")
            await gate.wait()
            print("went on")
            ran.set()
        task = asyncio.create_task(work())
        """
    )
    cell.wait_for("begun")
    other = kernel.ok(
        """
        print("other")
        asyncnb.embedded_loop().call_soon_threadsafe(gate.set)
        assert ran.wait(10)
        print("other ends")
        """
    )
    assert kernel.ok("await task").errors == []
    kernel.drain()
    assert cell.text == "begun\nwent on\n"
    assert other.text == "other\nother ends\n"


def test_its_failure_is_shown_in_its_own_cell(kernel):
    kernel.ok("async def fails():\n    await asyncio.sleep(0)\n    raise ValueError('dropped')")
    cell = kernel.ok("task = asyncio.create_task(fails())\ndel task")
    cell.wait_for(lambda c: c.errors)
    kernel.ok("import gc; gc.collect();")
    kernel.drain()
    assert kernel.where("ValueError: dropped") == [cell]
    kept = kernel.ok("task = asyncio.create_task(fails())")
    assert kernel.run("await task").error.evalue == "dropped"
    assert kept.errors == []


def test_it_is_listed_with_its_cell_and_cancelled_by_its_name(kernel):
    cell = kernel.ok("sleepy = asyncio.create_task(asyncio.sleep(3600), name='sleepy')")
    row = next(n for n in kernel.ok("%tasks --all").text.splitlines() if "sleepy" in n)
    assert f"In[{cell.count}]" in row
    assert kernel.run("%tasks cancel sleepi").status == "error"
    kernel.ok("%tasks cancel sleepy")
    assert kernel.run("await sleepy").error.ename == "CancelledError"
    assert "sleepy" not in kernel.ok("%tasks --all").text


def test_a_later_cell_without_await_cancels_and_sets_what_an_earlier_one_made(quiet):
    quiet.ok(
        """
        woken = threading.Semaphore(0)
        event, future = asyncio.Event(), asyncio.get_running_loop().create_future()
        queue = asyncio.Queue()
        async def follow(awaitable):
            try: return await awaitable
            finally: woken.release()
        tasks = [asyncio.create_task(follow(a)) for a in (event.wait(), future, queue.get())]
        cancelled = asyncio.create_task(follow(asyncio.sleep(3600)))
        timer = asyncio.get_running_loop().call_later(3600, print, "never")
        """
    )
    quiet.ok("event.set(); future.set_result(5); queue.put_nowait(7)")
    quiet.ok("cancelled.cancel(); timer.cancel()")
    quiet.ok("for _ in range(4): assert woken.acquire(timeout=10)")
    assert quiet.evaluate("[t.result() for t in tasks]") == [True, 5, 7]
    assert quiet.evaluate("cancelled.cancelled(), timer.cancelled()") == (True, True)


def test_a_wait_in_a_plain_cell_is_for_what_it_made_itself_too(kernel):
    kernel.ok("async def f(n):\n    await asyncio.sleep(0)\n    return n")
    kernel.ok("async def g(t): return 2 * await t")
    run = "t = asyncio.create_task(f(3)); print({})"
    for wait in (
        "asyncio.get_running_loop().run_until_complete(g(t))",
        "asyncnb.run(g(t))",
        "asyncnb.launch(g(t)).join(10)",
    ):
        assert kernel.ok(run.format(wait)).stdout == "6\n"
    waits = kernel.submit(
        "t = asyncio.create_task(asyncio.sleep(3600))\nprint('waits')\n"
        "asyncio.get_running_loop().run_until_complete(t)"
    )
    waits.wait_for("waits")
    kernel.interrupt()
    assert waits.wait(10).error.ename == "KeyboardInterrupt"
    assert kernel.evaluate("t.done()") is False
    kernel.ok("t.cancel();")


def test_what_ends_or_starts_the_loop_is_refused_with_a_sentence(kernel):
    kernel.ok("loop = asyncio.get_running_loop()")
    for call in ("close", "stop", "run_forever"):
        error = kernel.run(f"loop.{call}()").error
        assert error.ename == "RuntimeError" and f"loop.{call}() does not work" in error.evalue
    assert kernel.ok("await asyncio.sleep(0, 'alive')").result == "'alive'"


# Messages of the front end


def comm_message(kernel: Kernel, comm_id: str, **data: object) -> Cell:
    return kernel._request("comm_msg", {"comm_id": comm_id, "data": data})


def hears_while_a_cell_awaits(kernel: Kernel) -> bool:
    """Whether this ipykernel handles such messages then; ipykernel 6 does after the cell."""
    kernel.ok("import inspect")
    dispatch = "inspect.signature(get_ipython().kernel.dispatch_shell)"
    return bool(kernel.evaluate(f"'concurrent' in {dispatch}.parameters"))


def opened(cell: Cell) -> str:
    """Wait until the cell has opened a comm, and return its id."""
    cell.wait_for(lambda c: c.of_type("comm_open"))
    return str(cell.of_type("comm_open")[-1]["comm_id"])


def test_a_comm_callback_sees_the_loop_and_what_it_schedules_runs(quiet):
    quiet.ok("import comm")
    cell = quiet.ok(
        f"""
        seen, done = [], threading.Event()
        async def job():
            seen.append({HERE}); done.set()
        def got(message):
            seen.append({HERE})
            asyncio.create_task(job())
        channel = comm.create_comm(target_name="t")
        channel.on_msg(got)
        """
    )
    comm_message(quiet, opened(cell), value=1)
    quiet.ok("assert done.wait(10)")
    assert quiet.evaluate("seen") == [True, True]


def test_a_message_during_the_code_of_a_cell_that_awaits_waits_for_its_next_await(quiet):
    if not hears_while_a_cell_awaits(quiet):
        pytest.skip("ipykernel 6 handles it after the cell")
    quiet.ok("import comm")
    for n in range(3):
        cell = quiet.submit(
            """
            reply = asyncio.get_running_loop().create_future()
            channel = comm.create_comm(target_name="t")
            time.sleep(0.2)  # the message comes meanwhile
            channel.on_msg(lambda message: reply.set_result(message["content"]["data"]["value"]))
            print(await asyncio.wait_for(reply, 10))
            """
        )
        comm_message(quiet, opened(cell), value=n)
        assert cell.wait().stdout == f"{n}\n", cell.error


def test_a_comm_callback_that_sets_a_future_wakes_the_cell_that_awaits_it(quiet):
    if not hears_while_a_cell_awaits(quiet):
        pytest.skip("ipykernel 6 handles it after the cell")
    quiet.ok("import comm")
    cell = quiet.submit(
        """
        reply = asyncio.get_running_loop().create_future()
        channel = comm.create_comm(target_name="t")
        channel.on_msg(lambda message: reply.set_result(message["content"]["data"]["value"]))
        print("waits")
        print(await reply)
        """
    )
    cell.wait_for("waits")
    comm_message(quiet, opened(cell), value=42)
    assert cell.wait().stdout == "waits\n42\n"


def test_a_comm_callback_that_fails_is_logged_and_the_next_one_is_heard(quiet):
    if not hears_while_a_cell_awaits(quiet):
        pytest.skip("ipykernel 6 handles it after the cell")
    quiet.ok("import comm")
    cell = quiet.submit(
        """
        reply = asyncio.get_running_loop().create_future()
        def got(message):
            if message["content"]["data"]["value"] == 1: raise ValueError("of the callback")
            reply.set_result(message["content"]["data"]["value"])
        channel = comm.create_comm(target_name="t")
        channel.on_msg(got)
        print("waits")
        print(await reply)
        """
    )
    cell.wait_for("waits")
    id = opened(cell)
    comm_message(quiet, id, value=1)
    comm_message(quiet, id, value=2)
    assert cell.wait().stdout == "waits\n2\n"
    assert quiet.ok(HERE).result == "True"


WAIT_FOR_CHANGE = """
import ipywidgets
slider = ipywidgets.IntSlider()
got, heard = [], threading.Event()
def wait_for_change(widget, value):  # as in the documentation of ipywidgets
    future = asyncio.Future()
    def getvalue(change):
        future.set_result(change.new)
        widget.unobserve(getvalue, value)
    widget.observe(getvalue, value)
    waits.set()
    return future
waits = threading.Event()
async def f():
    got.append(await wait_for_change(slider, "value"))
    heard.set()
"""


@pytest.mark.parametrize(
    "start",
    ["task = asyncio.ensure_future(f())", "%%atask w\nawait f()", "task = asyncnb.launch(f())"],
)
def test_a_task_that_waits_for_a_widget_hears_the_change_at_once(quiet, start):
    pytest.importorskip("ipywidgets")
    quiet.ok(WAIT_FOR_CHANGE)
    quiet.ok(start)
    quiet.ok("assert waits.wait(10)")
    data = {"method": "update", "state": {"value": 7}, "buffer_paths": []}
    comm_message(quiet, quiet.evaluate("slider.model_id"), **data)
    quiet.ok("assert heard.wait(10)")
    assert quiet.evaluate("got") == [7]


def test_an_event_set_in_a_plain_cell_wakes_a_task_at_once(quiet):
    quiet.ok("event, begun, woken = asyncio.Event(), threading.Event(), threading.Event()")
    quiet.ok("%%atask w\nbegun.set()\nawait event.wait()\nwoken.set()")
    quiet.ok("assert begun.wait(10)")
    quiet.ok("event.set()")
    quiet.ok("assert woken.wait(10)")


def test_what_a_thread_body_sets_or_puts_wakes_a_task_while_the_body_runs(quiet):
    quiet.ok("event, queue, got = asyncio.Event(), asyncio.Queue(), []")
    quiet.ok("heard, begun = threading.Semaphore(0), threading.Event()")
    quiet.ok("%%atask a\nawait event.wait()\nheard.release()")
    quiet.ok("%%atask b\nbegun.set()\ngot.append(await queue.get())\nheard.release()")
    cell = quiet.ok(
        """
        %%atask body
        assert begun.wait(10)
        time.sleep(0.1)  # the loop has nothing left to do, and sleeps
        event.set()
        queue.put_nowait(5)
        for _ in range(2): assert heard.acquire(timeout=10)
        print("both heard", got)
        """
    )
    cell.wait_for("both heard [5]")


# Options, unloading, restart


def test_one_loop_off_gives_plain_cells_the_kernels_loop_back(kernel):
    kernels = "asyncio.get_running_loop() is get_ipython().kernel.io_loop.asyncio_loop"
    there = f"await asyncio.sleep(0); {HERE}"
    assert kernel.ok(HERE).result == "True"
    kernel.ok("%asyncnb option one_loop off")
    assert kernel.ok(kernels).result == "True" and kernel.ok(there).result == "True"
    kernel.ok("%asyncnb option one_loop on")
    assert kernel.ok(HERE).result == "True" and kernel.ok(there).result == "True"
    kernel.ok("%asyncnb option autoawait off")
    assert kernel.ok(kernels).result == "True"
    assert kernel.ok(f"await asyncio.sleep(0); {kernels}").result == "True"
    kernel.ok("%asyncnb option autoawait on")
    assert kernel.ok(HERE).result == "True" and kernel.ok(there).result == "True"


def test_an_option_takes_effect_in_the_middle_of_a_cell_or_at_the_next_one(kernel):
    cell = kernel.ok(
        f"print({HERE})\nget_ipython().run_line_magic('asyncnb', 'option one_loop off')\n"
        "task = asyncio.create_task(asyncio.sleep(0, 5))"
    )
    assert cell.stdout.startswith("True\n")
    assert kernel.ok(HERE).result == "False"
    kernel.ok("%asyncnb option one_loop on")
    assert kernel.ok("await task").result == "5"


def test_unloading_and_loading_again(fresh_kernel):
    kernels = "asyncio.get_running_loop() is get_ipython().kernel.io_loop.asyncio_loop"
    fresh_kernel.ok("task = asyncio.create_task(asyncio.sleep(3600))")
    for _ in range(2):
        fresh_kernel.ok("%unload_ext asyncnb")
        assert fresh_kernel.ok(kernels).result == "True"
        fresh_kernel.ok("own = asyncio.create_task(asyncio.sleep(0, 'kernel'))")
        assert fresh_kernel.ok("await own").result == "'kernel'"
        hooks = "[n for n in ('run_code', 'run_ast_nodes') if n in vars(get_ipython())]"
        assert fresh_kernel.evaluate(hooks) == []
        fresh_kernel.ok("%load_ext asyncnb")
        assert fresh_kernel.ok(HERE).result == "True"
    assert fresh_kernel.evaluate("task.cancelled()") is True


def test_a_restart_in_the_middle_of_a_cell(fresh_kernel):
    cell = fresh_kernel.ok(
        f"""
        before = asyncio.get_running_loop()
        lost = asyncio.create_task(asyncio.sleep(0, 'never begun'))
        get_ipython().run_line_magic("asyncnb", "restart")
        print({HERE}, before is asyncnb.embedded_loop())
        task = asyncio.create_task(asyncio.sleep(0, 'begun'))
        """
    )
    assert cell.stdout.endswith("True False\n")
    assert fresh_kernel.ok("await task").result == "'begun'"
    assert fresh_kernel.run("await lost", 10).status == "error"
    assert fresh_kernel.ok(f"{HERE}").result == "True"


# What drives a loop


@pytest.mark.parametrize("module", ["nest_asyncio", "nest_asyncio2"])
def test_asyncio_run_after_nest_asyncio_while_work_of_the_background_goes_on(start_kernel, module):
    kernel = start_kernel()
    kernel.ok(f"import {module}\n{module}.apply()")
    kernel.ok(
        """
        ticks, ticked = 0, threading.Event()
        async def tick():
            global ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)
        async def sees_ticks():
            first = ticks
            while ticks < first + 3: await asyncio.sleep(0.001)
            return "seen"
        task = asyncio.create_task(tick())
        """
    )
    assert kernel.ok("asyncio.run(sees_ticks())").result == "'seen'"
    assert kernel.ok("asyncio.get_event_loop().run_until_complete(sees_ticks())").result == "'seen'"
    assert kernel.ok("await sees_ticks()").result == "'seen'"
    assert kernel.evaluate("task.done()") is False
    kernel.ok("task.cancel();")


WRAPPERS = """
async def work(x):
    await asyncio.sleep(0)
    return 2 * x
def by_run(x): return asyncio.run(work(x))
def by_current_loop(x): return asyncio.get_event_loop().run_until_complete(work(x))
def by_current_loop_after_run(x):
    asyncio.run(work(x))
    try: loop = asyncio.get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop.run_until_complete(work(x))
def by_new_loop(x):
    loop = asyncio.new_event_loop()
    try: return loop.run_until_complete(work(x))
    finally: loop.close()
def by_runner(x):
    with asyncio.Runner() as runner: return runner.run(work(x))
class Client:
    def __init__(self): self.loop = asyncio.get_event_loop()
    def get(self, x): return self.loop.run_until_complete(work(x))
"""


@pytest.mark.parametrize(
    "call",
    [
        "by_run(21)",
        "by_current_loop(21)",
        "by_current_loop_after_run(21)",
        "by_new_loop(21)",
        "by_runner(21)",
        "Client().get(21)",
        "client.get(21)",
    ],
)
def test_a_plain_function_that_runs_a_loop_works_in_a_background_cell(kernel, call):
    kernel.ok(WRAPPERS)
    kernel.ok("client = Client()")
    kernel.ok(f"%%atask job\nprint('answer', {call})").wait_for("answer 42")


def test_what_a_background_cell_made_by_get_event_loop_works_in_other_cells(kernel):
    kernel.ok(WRAPPERS)
    kernel.ok("%%atask job\nclient = Client()")
    kernel.ok("%tasks wait job")
    assert kernel.ok("client.get(1)").result == "2"
    assert kernel.ok("client.loop is asyncnb.embedded_loop()").result == "True"


def test_cancel_of_a_background_cell_that_waits_for_the_loop_cancels_what_it_waits_for(kernel):
    kernel.ok(
        """
        ended = threading.Event()
        async def sleeps():
            try: await asyncio.sleep(3600)
            finally: ended.set()
        """
    )
    kernel.ok(
        "%%atask job\nprint('waits')\nasyncio.get_event_loop().run_until_complete(sleeps())"
    ).wait_for("waits")
    kernel.ok("%tasks cancel job")
    kernel.ok("assert ended.wait(10)")


def test_asyncio_run_is_refused_with_what_to_write(kernel):
    kernel.ok("async def f(): return 1\ncoro = f()")
    error = kernel.run("asyncio.run(coro)").error
    assert "cannot be called from a running event loop" in error.evalue
    assert "asyncnb.run(" in error.traceback and "await" in error.traceback
    kernel.ok("coro.close()")


# Objects of other loops

BEFORE = """
import asyncio, threading, time
async def f(n, event):
    while not event.is_set(): await asyncio.sleep(0.01)
    return n
gates = [threading.Event() for _ in range(8)]
tasks = [asyncio.create_task(f(n, gate)) for n, gate in enumerate(gates)]
queue, lock = asyncio.Queue(), asyncio.Lock()
async def get(): return await queue.get()
async def hold():
    async with lock: await asyncio.Event().wait()
getter, holder = asyncio.create_task(get()), asyncio.create_task(hold())
second = asyncio.create_task(hold())
"""
ADVISED = {
    "asyncio.wait_for": "await asyncio.wait_for(tasks[0], 10)",
    "asyncio.gather of both": "await asyncio.gather(asyncio.sleep(0), tasks[0])",
    "asyncio.as_completed": "for c in asyncio.as_completed(tasks[:2]): await c",
    "a queue": "await queue.get()",
    "a lock": "await lock.acquire()",
    "a coroutine that awaits it": "async def g(): return await tasks[0]\nawait g()",
}


@pytest.fixture
def before(start_kernel):
    """Objects of the kernel's own loop, and asyncnb loaded after them."""
    kernel = start_kernel(extension=False)
    kernel.ok(BEFORE)
    kernel.ok("%load_ext asyncnb\nimport asyncnb")
    return kernel


def test_objects_from_before_loading_are_awaited_or_explained(before):
    for name, code in ADVISED.items():
        error = before.run(code, 10).error
        assert error is not None, name
        advice = "asyncnb: " in error.traceback and "a different loop from" in error.traceback
        assert advice, f"{name}: {error.traceback}"
    before.ok("soon = tasks[0].get_loop().call_soon_threadsafe")  # their loop is the kernel's own
    timer = "threading.Timer(0.05, lambda: [soon(gate.set) for gate in gates[{}:]]).start()\n"
    awaits = "print(tasks[7].done()); await tasks[7]"
    assert before.ok(timer.format(7) + awaits, 10).text == "False\n7\n"
    waits = "len((await asyncio.wait(tasks[:2]))[0])"
    assert before.ok(timer.format(0) + waits, 10).result == "2"
    gathered = before.run("await asyncio.gather(*tasks[:2])", 10)  # works until 3.11
    assert gathered.result == "[0, 1]" or "a different loop from" in gathered.error.traceback
    assert before.ok("await tasks[0]", 10).result == "0"
    assert before.ok("[await t for t in tasks]", 10).result == str(list(range(8)))
    assert before.ok("await asyncnb.gather(*tasks)", 10).result == str(list(range(8)))


def test_asyncnbs_own_take_tasks_from_before_loading(before):
    before.ok("gates[0].set(); gates[1].set(); gates[2].set(); gates[3].set()")
    assert before.ok("await asyncnb.wait_for(tasks[0], 10)", 20).result == "0"
    assert before.ok("len((await asyncnb.wait(tasks[1:3]))[0])", 20).result == "2"
    assert before.ok("await asyncnb.gather(tasks[3], asyncio.sleep(0, 5))", 20).result == "[3, 5]"


def test_a_client_from_before_loading_is_explained(start_kernel):
    pytest.importorskip("aiohttp")
    kernel = start_kernel(extension=False)
    kernel.ok(
        """
        import asyncio, aiohttp
        from aiohttp import web
        async def hello(request): return web.Response(text="hi")
        app = web.Application(); app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0); await site.start()
        port = site._server.sockets[0].getsockname()[1]
        session = aiohttp.ClientSession()
        """
    )
    kernel.ok("%load_ext asyncnb")
    error = kernel.run("r = await session.get(f'http://127.0.0.1:{port}/')", 10).error
    assert "a different loop from" in error.traceback and "%load_ext asyncnb" in error.traceback
    kernel.ok("new = aiohttp.ClientSession()")
    fetch = "print(await (await new.get(f'http://127.0.0.1:{port}/')).text())\nawait new.close()"
    assert kernel.ok(fetch, 10).stdout == "hi\n"


def test_a_client_from_before_loading_leaves_the_kernels_loop_alone(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok(
        """
        import asyncio, socket
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        async def receive():
            theirs.send(b"x")
            return await loop.sock_recv(ours, 1)
        """
    )
    assert kernel.ok("await receive()").result == "b'x'"
    kernel.ok("%load_ext asyncnb")
    error = kernel.run("await loop.sock_connect(socket.socket(), ('127.0.0.1', 9))", 10).error
    assert error.ename == "RuntimeError" and "%load_ext asyncnb" in error.traceback
    assert "a different loop from" in kernel.run("await receive()", 10).error.traceback
    here = "asyncio.run_coroutine_threadsafe(receive(), loop)"  # on its own thread it works
    assert kernel.ok(f"await asyncio.wrap_future({here})", 10).result == "b'x'"
    kernel.ok("%unload_ext asyncnb")
    assert kernel.ok("await receive()").result == "b'x'"
    assert kernel.evaluate("[n for n in vars(loop) if n.startswith(('sock_', 'add_'))]") == []


def test_a_task_of_a_loop_in_a_thread_of_the_users_is_awaited_in_a_cell(kernel):
    kernel.ok(
        """
        theirs = asyncio.new_event_loop()
        thread = threading.Thread(target=theirs.run_forever, daemon=True); thread.start()
        made = []
        async def work(n):
            if n < 0: raise ValueError(n)
            await asyncio.sleep(0.01)
            return n
        async def make(): made.extend(theirs.create_task(work(n)) for n in (1, -1))
        asyncio.run_coroutine_threadsafe(make(), theirs).result(10)
        """
    )
    assert kernel.ok("await made[0]", 10).result == "1"
    assert kernel.run("await made[1]", 10).error.ename == "ValueError"
    submitted = "asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(3), theirs))"
    assert kernel.ok(f"await {submitted}", 10).result == "3"
    assert kernel.run("loop = theirs; theirs.call_soon_threadsafe(theirs.stop);").status == "ok"
    kernel.ok("thread.join(10); theirs.close()")


# A terminal


def test_the_rule_holds_at_the_prompt_of_a_terminal(python, tmp_path):
    shown = ipython(
        python,
        tmp_path,
        "%load_ext asyncnb",
        "import asyncio, asyncnb, threading",
        "e, done = asyncio.Event(), threading.Event()",
        """
        async def work():
            await e.wait()
            print("went on", name)
            done.set()
            return 42

        """,
        "t = asyncio.create_task(work()); name = 'later'",
        f"print('here', {HERE})",
        f"await asyncio.sleep(0); print('there', {HERE})",
        "e.set()",
        "done.wait(10)",
        "await t",
        "%asyncnb option one_loop off",
        "asyncio.get_running_loop()",
        "%asyncnb option one_loop on",
        "asyncio.run(work())",
    )
    for said in ("here True", "there True", "went on later", "42", "asyncnb.run(...)"):
        assert said in shown
    assert shown.count("no running event loop") >= 1  # off: a terminal runs none between cells
