"""Very many interrupts, re-runs and cancels."""

from __future__ import annotations

import re
import time

import pytest

from tests.faults.conftest import begin


def storm(kernel, presses=100, seconds=2.0):
    """Send so many interrupts, evenly, as an impatient user does."""
    for _ in range(presses):
        kernel.interrupt()
        time.sleep(seconds / presses)  # the subject of the test is the rate


@pytest.mark.promise("a hundred interrupts in 2 s end the cell, and affect no task")
@pytest.mark.parametrize(
    "code",
    [
        "print('busy', flush=True); time.sleep(600)",
        "print('busy', flush=True)\nwhile True: pass",
        "print('busy'); await asyncio.sleep(600)",
        "print('busy', flush=True); witness.join()",
    ],
    ids=["sleep", "python", "await", "join"],
)
def test_interrupt_storm_on_a_cell(victim, code):
    cell = victim.submit(code).wait_for("busy")
    storm(victim)
    assert cell.wait().error.ename == "KeyboardInterrupt"


@pytest.mark.promise("interrupts while idle are ignored: the next cell runs")
def test_interrupt_storm_on_an_idle_kernel(victim):
    storm(victim, 50, 0.5)
    # A signal that is on its way when a cell begins is that cell's; the one after it is clean.
    victim.run("pass")


@pytest.mark.promise("each launch is either completed or interrupted as a whole; none is half done")
def test_interrupt_storm_during_launches(victim):
    cells = [
        victim.submit(f"%%atask job{n}\nawait asyncio.sleep(0, {n})", stop_on_error=False)
        for n in range(40)
    ]
    storm(victim, 40, 1.0)
    launched = sum(cell.wait().status == "ok" for cell in cells)
    victim.run("pass")
    for task in range(40):
        if cells[task].status == "ok":
            cells[task].wait_for(str(task))
    names = victim.evaluate("[t.get_name() for t in asyncnb.tasks('job*', state='done')]")
    assert len(names) >= launched


EARLY = """
import signal, socket, types
from asyncnb._kernel.ipykernel import interrupts
def socketpair():  # what the kernel's thread calls before it waits for the cell
    interrupts.socket = socket
    pressed = threading.Event()
    if {busy}: asyncnb.embedded_loop().call_soon_threadsafe(pressed.wait, 10)
    try: signal.raise_signal(signal.SIGINT)
    finally: pressed.set()
    return socket.socketpair()
interrupts.socket = types.SimpleNamespace(socketpair=socketpair)
"""

#: What comes before the cell that is stopped, and the cell.
MOMENTS = {
    "before it begins": (EARLY.format(busy=False), "await asyncio.sleep(600)"),
    "before its first step": (EARLY.format(busy=True), "await asyncio.sleep(600)"),
    "between two statements": (
        """
        import signal
        armed, compiler = [], type(get_ipython().compile)
        original = compiler.__call__
        def pressing(*args):  # the shell compiles one statement, runs it, compiles the next
            if armed: signal.raise_signal(armed.pop())
            return original(*args)
        compiler.__call__ = pressing
        """,
        "armed.append(signal.SIGINT)\nreached = True",
    ),
    "as it ends": (
        "import os, signal",
        "await asyncio.sleep(0)\n"
        "asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)\n'ended'",
    ),
}


@pytest.mark.promise(
    "an interrupt at any moment of a cell ends it, and the queued cell does not run"
)
@pytest.mark.parametrize(("before", "code"), MOMENTS.values(), ids=MOMENTS)
def test_interrupt_at_any_moment(fresh_victim, before, code):
    fresh_victim.ok(before)
    stopped = fresh_victim.submit(code)
    queued = fresh_victim.submit("print('ran')")
    assert stopped.wait().error.ename == "KeyboardInterrupt"
    assert queued.wait().status in ("aborted", "error")
    assert "ran" not in queued.text
    assert fresh_victim.evaluate("globals().get('reached', False)") is False


@pytest.mark.promise(
    "an interrupt reaches a cell that ran another one while a subshell ran one, too"
)
def test_interrupt_beside_a_subshell(fresh_victim):
    if not fresh_victim.has_subshells:
        pytest.skip("ipykernel 6 has no subshells")
    fresh_victim.ok("began, subshell_ran = threading.Event(), threading.Event()")
    cell = fresh_victim.submit(  # one statement: each is guarded anew
        """
        if True:
            began.set()
            subshell_ran.wait(20)
            get_ipython().run_cell("1")
            print("busy", flush=True)
            time.sleep(600)
        """
    )
    fresh_victim.aside("assert began.wait(10)\nsubshell_ran.set()")
    cell.wait_for("busy")
    fresh_victim.interrupt()
    assert cell.wait(10).error.ename == "KeyboardInterrupt"


@pytest.mark.promise("the cleanup of a task runs to completion during a hundred interrupts")
def test_interrupt_storm_during_a_cleanup(victim):
    victim.ok("gate, cleaned = threading.Event(), threading.Event()")
    cell = victim.ok(
        """
        %%atask job
        try:
            print("begun")
            await asyncio.sleep(600)
        finally:
            print("cleaning")
            while not gate.is_set():
                await asyncio.sleep(0.01)
            cleaned.set()
        """
    )
    cell.wait_for("begun")
    victim.ok("%tasks cancel job")
    cell.wait_for("cleaning")
    storm(victim, 50, 0.5)
    victim.run("pass")
    victim.ok("gate.set(); assert cleaned.wait(10)")


@pytest.mark.promise("a restart during a storm of interrupts gives a clean kernel")
def test_interrupt_storm_during_a_restart(fresh_victim):
    import threading

    over = threading.Event()

    def press():
        while not over.wait(0.02):
            try:
                fresh_victim.interrupt()
            except (RuntimeError, ProcessLookupError):  # between the old process and the new one
                pass

    presser = threading.Thread(target=press)
    fresh_victim.submit("print('busy'); await asyncio.sleep(600)").wait_for("busy")
    presser.start()
    try:
        fresh_victim._manager.shutdown_kernel(restart=True)
    finally:
        over.set()
        presser.join()
    fresh_victim._manager.start_kernel(
        extra_arguments=fresh_victim._arguments,
        env=fresh_victim._env,
        cwd=str(fresh_victim.scratch),
    )
    fresh_victim.pid = fresh_victim._manager.provisioner.pid
    fresh_victim.started.append(fresh_victim.pid)
    fresh_victim._prepare()
    begin(fresh_victim)


@pytest.mark.promise("200 runs of one cell leave one task, the last; each ran its cleanup once")
def test_rerun_storm(victim):
    victim.ok("began = ended = 0")
    body = """
        %%atask again
        began += 1
        try:
            await asyncio.sleep(600)
        finally:
            ended += 1
        """
    cells = [victim.submit(body, cell_id="the-same") for _ in range(200)]
    assert all(cell.wait(60).status == "ok" for cell in cells)
    victim.ok(
        "while len(asyncnb.tasks('again', state='waiting')) != 1 or began - ended != 1:\n"
        "    await asyncio.sleep(0.01)"
    )
    assert len(victim.evaluate("[t.get_name() for t in asyncnb.tasks('again') if not t.done()]"))


@pytest.mark.promise("ten thousand tasks are launched, cancelled and counted correctly")
def test_ten_thousand_tasks_cancelled_at_once(victim):
    victim.ok(
        """
        crowd = [asyncnb.launch(asyncio.sleep(600), name=f"c{n}") for n in range(10_000)]
        assert len(asyncnb.cancel("c*")) == 10_000
        await asyncnb.wait(crowd)
        assert all(t.cancelled() for t in crowd)
        del crowd
        """,
        60,
    )


@pytest.mark.promise(
    "thousands of failures at once: each is shown or counted, and the kernel answers"
)
def test_five_thousand_failures_at_once(victim):
    cell = victim.ok(
        """
        go = asyncio.Event()
        async def fails(n):
            await go.wait()
            raise ValueError(n)
        crowd = [asyncnb.launch(fails(n), name=f"f{n}") for n in range(5000)]
        await asyncio.sleep(0)
        """,
        60,
    )
    victim.ok("go.set()\nawait asyncnb.wait(crowd)", 60)
    assert victim.ok("1 + 1").result == "2"

    def told(cell):
        counted = re.findall(r"asyncnb: ([\d,]+) more failures in this cell", cell.stderr)
        return len(cell.of_type("error")) + sum(int(n.replace(",", "")) for n in counted) == 5000

    cell.wait_for(told, 60)
    middle = cell.errors[500]
    assert re.search(r"Cell In\[\d+\], line 4, in fails\n +raise ValueError\(n\)", middle.traceback)
    assert middle.traceback.endswith(f"ValueError: {middle.evalue}")
    victim.ok("del crowd")


@pytest.mark.promise("a task can be cancelled in every state; the table then says cancelled")
@pytest.mark.parametrize(
    ("cell", "state", "then", "state_then"),
    [
        ("%%atask job\nawait asyncio.sleep(600)", "waiting", None, None),
        ("%%atask job\nwhile True: time.sleep(0.001)", "running", None, None),
        (
            "%%atask job\ntry: await asyncio.sleep(600)\nfinally: await asyncio.sleep(600)",
            "waiting",
            "%tasks cancel job",
            "cancelling",
        ),
        ("%%atask job -t 600\nawait asyncio.sleep(600)", "waiting", None, None),
        ("%%atask job\nawait asyncio.sleep(600)", "waiting", "%tasks pause job", "paused"),
    ],
    ids=["waiting", "thread", "cancelling", "with-timeout", "paused"],
)
def test_cancel_in_every_state(victim, cell, state, then, state_then):
    reach = "while asyncnb.task('job').info().state != {!r}: await asyncio.sleep(0.01)"
    victim.ok(cell)
    victim.ok(reach.format(state))
    if then:
        victim.ok(then)
        victim.ok(reach.format(state_then))
    victim.run("%tasks cancel job")
    victim.ok("await asyncnb.wait([asyncnb.task('job')])")
    assert victim.evaluate("asyncnb.task('job').info().state") == "cancelled"


@pytest.mark.promise(
    "a task cancelled before it started never starts; one on the loop is interrupted"
)
@pytest.mark.parametrize("state", ["pending", "running"])
def test_cancel_while_the_loop_is_blocked(victim, state):
    victim.ok("inside = threading.Event(); began = []")
    victim.ok("%%atask busy\nawait asyncio.sleep(0)\ninside.set()\nwhile True: pass")
    victim.ok("assert inside.wait(10)")
    victim.ok("%%atask job\nbegan.append(1)\nawait asyncio.sleep(0)")
    assert victim.evaluate("asyncnb.task('job').info().state") == "pending"
    assert victim.evaluate("asyncnb.task('busy').info().state") == "running"
    victim.ok("%tasks cancel busy job" if state == "pending" else "%tasks cancel busy")
    victim.ok("await asyncnb.wait([asyncnb.task('job'), asyncnb.task('busy')])")
    assert victim.evaluate("asyncnb.task('busy').info().state") == "cancelled"
    began = ("cancelled", []) if state == "pending" else ("done", [1])
    assert victim.evaluate("asyncnb.task('job').info().state, began") == began


@pytest.mark.promise("all tasks cancelled while one of them blocks the loop: that one ends as well")
@pytest.mark.parametrize("way", ["%tasks cancel --all", "asyncnb.cancel('*');"])
def test_cancel_all_while_the_loop_is_blocked(fresh_victim, way):
    victim = fresh_victim
    victim.ok("inside = threading.Event()\n%atask before asyncio.sleep(600)")
    victim.ok("%%atask busy\nawait asyncio.sleep(0)\ninside.set()\nwhile True: pass")
    victim.ok("%atask after asyncio.sleep(600)\nassert inside.wait(10)")
    victim.ok("crowd = asyncnb.tasks()")
    victim.ok(way)
    victim.ok("await asyncnb.wait(crowd)")
    assert victim.evaluate("{t.info().state for t in crowd}") == {"cancelled"}
    begin(victim)


@pytest.mark.promise("cancelling a task that has ended prints a sentence and leaves its state")
@pytest.mark.parametrize("body", ["'result'", "raise ValueError", "raise asyncio.CancelledError"])
def test_cancel_of_a_task_that_has_ended(victim, body):
    victim.ok(f"%%atask job\nawait asyncio.sleep(0)\n{body}")
    victim.ok("await asyncnb.wait([asyncnb.task('job')])")
    before = victim.evaluate("asyncnb.task('job').info().state")
    assert "no tasks to cancel" in victim.ok("%tasks cancel job").stdout
    assert victim.evaluate("asyncnb.cancel('job')") == []
    assert victim.evaluate("asyncnb.task('job').info().state") == before


PLAIN = "asyncio.create_task(asyncio.sleep(600), name=name)"
CUT = "n" * 39 + "…"


@pytest.mark.promise("a task is cancelled by the name that its row shows, whatever its name is")
@pytest.mark.parametrize(
    ("make", "loop"),
    [("asyncnb.launch(asyncio.sleep(600), name=name)", "on"), (PLAIN, "on"), (PLAIN, "off")],
    ids=["launched", "on the loop", "on the kernel's loop"],
)
def test_cancel_by_the_name_shown(victim, make, loop):
    for name, shown in (("two\nlines", "two lines"), ("\x1b[2J", r"\u001b[2J"), ("n" * 60, CUT)):
        victim.ok(f"%asyncnb autoawait {loop}\nname = {name!r}")
        victim.ok(f"kept = {make}\nawait asyncio.sleep(0)\n%asyncnb autoawait on")
        assert shown in victim.ok("%tasks --all").text
        victim.ok(f"assert asyncnb.cancel({shown!r}) == [kept]")
        victim.ok("while not kept.done(): await asyncio.sleep(0.001)")
        assert victim.evaluate("kept.cancelled()") is True


@pytest.mark.promise(
    "a group cancelled by magic or button: its body is done, its tasks are cancelled"
)
@pytest.mark.parametrize("pause", ["", "%tasks pause pages"])
@pytest.mark.parametrize("way", ["%tasks cancel -g pages", "click('cancel_group', group='pages')"])
def test_cancel_of_a_group_both_ways(victim, way, pause):
    victim.ok(
        "from asyncnb._core.launched import launch as _launch\n"
        "from asyncnb.widgets._commands import Commands\n"
        "click = lambda verb, **given: Commands().execute(verb, given) or None"
    )
    victim.ok("%%agroup pages\npages.create_task(asyncio.sleep(600), name='page')")
    victim.ok("await asyncio.sleep(0)\nboth = [asyncnb.task('pages'), asyncnb.task('page')]")
    victim.ok(pause)
    victim.ok(way)
    victim.ok("await asyncio.wait(both, timeout=10);", 15)
    assert victim.evaluate("[task.info().state for task in both]") == ["done", "cancelled"]


@pytest.mark.promise(
    "a paused task: an interrupt ends the wait for it; a cancel ends it, after its cleanup"
)
def test_cancel_of_a_paused_group(victim):
    victim.ok(
        """
        cleaned = []
        async def child(n):
            try:
                await asyncio.sleep(600)
            finally:
                await asyncio.sleep(0)
                cleaned.append(n)
        crowd = asyncnb.open_group("crowd")
        held = [crowd.create_task(child(n), name=f"held{n}") for n in range(3)]
        await asyncio.sleep(0)
        for task in held[:2]: task.pause()
        """
    )
    waits = victim.submit("print('busy'); await crowd").wait_for("busy")
    victim.interrupt()
    assert waits.wait().error.ename == "KeyboardInterrupt"
    states = "[t.info().state for t in held]"
    assert victim.evaluate(states) == ["paused", "paused", "waiting"]
    victim.ok("%tasks cancel held0\nawait asyncnb.wait(held[:1])")
    assert victim.evaluate(states) == ["cancelled", "paused", "waiting"]
    victim.ok("%tasks cancel -g crowd\nawait asyncnb.wait(held)")
    assert victim.evaluate(states) == ["cancelled"] * 3
    assert victim.evaluate("sorted(cleaned)") == [0, 1, 2]


@pytest.mark.promise(
    "a task that refuses shows as cancelling, can be cancelled again, blocks no other"
)
def test_cancel_of_a_task_that_refuses(victim):
    victim.ok("refused = 0; give_in = False")
    victim.ok(
        """
        %%atask stubborn
        while not give_in:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                refused += 1
                if give_in:
                    raise
        """
    )
    reach = "while asyncnb.task('stubborn').info().state != {!r}: await asyncio.sleep(0.01)"
    victim.ok(reach.format("waiting"))
    for n in range(1, 4):
        victim.ok("%tasks cancel stubborn")
        victim.ok(f"while refused < {n}: await asyncio.sleep(0.01)")
        assert victim.evaluate("asyncnb.task('stubborn').info().state") == "cancelling"
        assert "cancelling" in victim.ok("%tasks").result
    victim.ok("give_in = True")
    victim.ok("%tasks cancel stubborn")
    victim.ok("await asyncnb.wait([asyncnb.task('stubborn')])")


@pytest.mark.promise("a task shows thousands of charts: the output kept for it is bounded")
@pytest.mark.parametrize("update", [False, True], ids=["new displays", "updates of one"])
def test_charts_storm(victim, update):
    show = "handle.update(chart, raw=True)" if update else "display(chart, raw=True)"
    victim.ok(
        f"""
        %%atask charts
        import pickle
        from IPython.display import display
        handle = display({{"application/x-chart+json": {{}}}}, raw=True, display_id=True)
        for n in range(2_000):
            chart = {{"application/x-chart+json": {{"points": [[i, n] for i in range(300)]}}}}
            {show}
            if n % 20 == 0: await asyncio.sleep(0)
        """
    )
    victim.ok("charts.join(60)", 90)
    assert victim.evaluate("len(pickle.dumps(charts._record.output.items()))") < 500_000
