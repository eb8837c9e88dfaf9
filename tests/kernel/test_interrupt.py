"""The stop button: the foreground cell ends at once, the background never notices."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.kernel.driver import OURS, Cell, Kernel

PROMPT = 20.0  # seconds, on a machine that has much else to do; every cell here would last 60


@pytest.fixture
def busy(kernel):
    """A kernel with a ticking task, and one that waits for `gate` and is to survive."""
    kernel.ok("gate = asyncio.Event(); ticked = threading.Event(); cleaned = []")
    kernel.ok("%%atask ticker\nwhile True:\n    ticked.set()\n    await asyncio.sleep(0.01)")
    kernel.ok("%%atask patient\nawait gate.wait()\n'survived'")
    kernel.ok("%%atask patient2\nawait gate.wait()\n'survived too'")
    return kernel


def stop(kernel: Kernel, code: str) -> Cell:
    """Send a cell, stop it once it says `waiting`, and see it end soon."""
    cell = kernel.submit(code)
    cell.wait_for("waiting")
    pressed = time.monotonic()
    kernel.interrupt()
    cell.wait(PROMPT)
    assert time.monotonic() - pressed < PROMPT
    return cell


def assert_background_alive(kernel: Kernel) -> None:
    assert kernel.ok("1+1").result == "2"
    assert kernel.ok("await asyncio.sleep(0, 3)").result == "3"
    kernel.ok("ticked.clear(); assert ticked.wait(10)")
    assert kernel.evaluate("[t.done() for t in (ticker, patient, patient2)]") == [False] * 3
    assert kernel.evaluate("[t.cancelling() for t in (ticker, patient, patient2)]") == [0] * 3
    assert kernel.ok("gate.set(); await patient", 10).result == "'survived'"


# Without flush=True: a stop during a flush is lost once in 500 times, by ipykernel alone.
WAITS = {
    "await sleep": "print('waiting'); await asyncio.sleep(60)",
    "await an event": "print('waiting'); await asyncio.Event().wait()",
    "await a future": "print('waiting'); await asyncio.get_running_loop().create_future()",
    "await a task": "print('waiting'); await patient",
    "await gather of tasks": "print('waiting'); await asyncio.gather(patient, patient2)",
    "await wait of tasks": "print('waiting'); await asyncio.wait([patient, patient2])",
    "await to_thread": "print('waiting'); await asyncio.to_thread(time.sleep, 3)",
    "async for": (
        "async def g():\n    while True:\n        yield await asyncio.sleep(0.01)\n"
        "print('waiting')\nasync for _i in g(): pass"
    ),
    "join": "print('waiting'); patient.join()",
    "join with a timeout": "print('waiting'); patient.join(60)",
    "tasks wait": "print('waiting')\n%tasks wait patient",
    "tasks wait for all": "print('waiting')\n%tasks wait",
    "run": "print('waiting'); asyncnb.run(asyncio.sleep(60))",
    "run in a function": (
        "async def f():\n    try: await asyncio.sleep(60)\n    finally: cleaned.append(1)\n"
        "print('waiting'); asyncnb.run(f())"
    ),
    "time.sleep": "print('waiting'); time.sleep(60)",
    "a sync loop": "print('waiting')\nwhile True: pass",
    "a sync loop in an await cell": ("await asyncio.sleep(0); print('waiting')\nwhile True: pass"),
    # The command itself says so: a stop between IPython's fork and its exec hits the fork.
    "a shell command": "!echo waiting; sleep 60",
}


@pytest.mark.parametrize("code", WAITS.values(), ids=WAITS)
def test_stop_ends_the_cell_with_keyboard_interrupt_and_leaves_the_background_alone(busy, code):
    cell = stop(busy, code)
    if "!echo" not in code:  # whose end IPython reports as an exit status
        assert cell.error.ename == "KeyboardInterrupt"
        assert [e.ename for e in cell.errors] == ["KeyboardInterrupt"]
        assert OURS not in cell.errors[0].traceback
    assert_background_alive(busy)


def test_the_traceback_of_a_stopped_await_cell_points_at_the_line_that_waited(busy):
    cell = stop(busy, "print('waiting')\nawait asyncio.sleep(60)\nprint('never')")
    assert "----> 2 await asyncio.sleep(60)" in cell.errors[0].traceback
    assert f"Cell In[{cell.count}], line 2" in cell.errors[0].traceback


def test_the_cleanup_of_a_stopped_cell_runs_before_the_cell_ends(busy):
    cell = stop(
        busy,
        """
        try:
            print("waiting"); await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05); print("cleaned up")
        """,
    )
    busy.drain()
    assert "cleaned up" in cell.stdout
    assert cell.error.ename == "KeyboardInterrupt"


def test_the_coroutine_given_to_run_is_cleaned_up_before_the_cell_ends(busy):
    stop(busy, WAITS["run in a function"])
    assert busy.evaluate("cleaned") == [1]


def test_the_children_of_a_task_group_in_a_stopped_cell_are_cancelled(busy):
    cell = stop(
        busy,
        """
        async def child(i):
            try: await asyncio.sleep(60)
            finally: cleaned.append(i)
        async with asyncio.TaskGroup() as group:
            for i in range(3): group.create_task(child(i))
            await asyncio.sleep(0)
            print("waiting")
        """,
    )
    assert cell.error.ename == "KeyboardInterrupt"
    assert busy.evaluate("sorted(cleaned)") == [0, 1, 2]
    assert_background_alive(busy)


def test_a_cell_can_catch_the_stop_as_cancellation_and_end_well(busy):
    cell = stop(
        busy,
        """
        try:
            print("waiting"); await asyncio.sleep(60)
        except BaseException as e:
            print("caught", type(e).__name__)
        """,
    )
    busy.drain()
    assert "caught" in cell.stdout
    assert_background_alive(busy)


def test_a_thread_body_does_not_notice_the_stop_of_a_cell(busy):
    busy.ok("release = threading.Event()")
    busy.ok("%%atask body\nwhile not release.is_set(): pass\n'survived'")
    stop(busy, WAITS["await sleep"])
    stop(busy, WAITS["time.sleep"])
    assert busy.evaluate("body.done()") is False
    busy.ok("release.set()")
    assert busy.evaluate("body.join(10)") == "survived"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to child processes")
def test_a_stop_that_ends_the_child_of_a_cell_first_stops_the_cell(busy):
    # The cell ends by itself, before the kernel's thread gets to see the signal.
    cell = busy.run(
        """
        import os, signal
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        'ended'
        """
    )
    assert cell.status == "error"
    assert [e.ename for e in cell.errors] == ["KeyboardInterrupt"]
    for _ in range(5):
        waiting = busy.submit(
            """
            child = await asyncio.create_subprocess_exec("sleep", "60")
            print("waiting")
            await child.wait()
            """
        )
        queued = busy.submit("print('ran')")
        waiting.wait_for("waiting")
        busy.interrupt()
        waiting.wait(10)
        queued.wait(10)
        assert waiting.error.ename == "KeyboardInterrupt"
        assert "ran" not in queued.text
    assert_background_alive(busy)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to child processes")
@pytest.mark.parametrize(
    ("how", "started"),
    [
        ("exec('sleep', '60')", ""),
        # A shell may lose a signal while it starts, and while it starts a program.
        ("shell('echo up; read line', stdin=-1, stdout=-1)", "await own.stdout.readline(); "),
    ],
    ids=["exec", "shell"],
)
def test_a_stop_ends_the_children_of_its_cell_and_none_of_earlier_cells(busy, how, started):
    busy.ok(f"earlier = await asyncio.create_subprocess_{how}")
    own = f"own = await asyncio.create_subprocess_{how}; {started}"
    stop(busy, f"{own}print('waiting'); await own.wait()")
    assert busy.evaluate("earlier.returncode") is None
    assert busy.ok("await asyncio.wait_for(own.wait(), 10)").result == "-2"
    stop(busy, "print('waiting'); time.sleep(60)")
    assert busy.evaluate("earlier.returncode") is None
    busy.ok("earlier.kill(); await earlier.wait()")
    assert_background_alive(busy)


def test_a_stop_while_nothing_runs_does_nothing(busy):
    for _ in range(3):
        busy.interrupt()
    assert_background_alive(busy)


def test_twenty_stops_in_a_row_work(busy):
    kinds = ["await sleep", "join", "run", "time.sleep", "await a task"]
    for i in range(20):
        cell = stop(busy, WAITS[kinds[i % len(kinds)]])
        assert cell.error.ename == "KeyboardInterrupt", (i, cell)
    assert_background_alive(busy)


def test_a_stop_pressed_twice_for_a_cell_whose_cleanup_hangs_ends_it(busy):
    cell = busy.submit(
        """
        try:
            print("waiting"); await asyncio.sleep(60)
        finally:
            print("cleaning"); await asyncio.sleep(60)
        """
    )
    cell.wait_for("waiting")
    busy.interrupt()
    cell.wait_for("cleaning", PROMPT)
    busy.interrupt()
    assert cell.wait(PROMPT).error.ename == "KeyboardInterrupt"
    assert_background_alive(busy)


def test_a_stop_has_the_queued_cells_aborted_as_ipython_does_and_no_later_one(busy):
    cell = busy.submit(WAITS["await sleep"])
    queued = busy.submit("'queued'")
    cell.wait_for("waiting")
    busy.interrupt()
    assert cell.wait(PROMPT).error.ename == "KeyboardInterrupt"
    assert queued.wait(PROMPT).status == "aborted"
    assert busy.ok("'later'").result == "'later'"


def test_a_keyboard_interrupt_shows_no_error_beneath_other_cells(busy):
    cell = stop(busy, WAITS["await a task"])
    busy.drain()
    assert busy.where("KeyboardInterrupt") == [cell]
    assert busy.where("CancelledError") == []


def test_a_stop_still_hits_a_cell_that_ran_another_while_a_subshell_ran_one(fresh_kernel):
    if not fresh_kernel.has_subshells:
        pytest.skip("this ipykernel has no subshells")
    fresh_kernel.ok("began, subshell_ran = threading.Event(), threading.Event()")
    cell = fresh_kernel.submit(  # one statement: each is guarded anew
        """
        if True:
            began.set()
            subshell_ran.wait(20)
            get_ipython().run_cell("1")
            print("busy", flush=True)
            time.sleep(60)
        """
    )
    fresh_kernel.aside("assert began.wait(10)\nsubshell_ran.set()")
    cell.wait_for("busy")
    fresh_kernel.interrupt()
    assert cell.wait(5).error.ename == "KeyboardInterrupt"


HANDLERS = {
    "sets": "loop.add_signal_handler(signal.SIGUSR1, print)",
    "removes": "loop.remove_signal_handler(signal.SIGUSR1)",
    "sets and removes": (
        "loop.add_signal_handler(signal.SIGUSR1, print)\nloop.remove_signal_handler(signal.SIGUSR1)"
    ),
}


@pytest.mark.parametrize("change", HANDLERS.values(), ids=HANDLERS)
def test_a_stop_reaches_a_cell_that_changes_signal_handlers(kernel, change):
    kernel.ok("import signal")
    kernel.ok("asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)")
    cell = kernel.submit(
        f"await asyncio.sleep(0)\nloop = asyncio.get_running_loop()\n{change}\nprint('busy')\n"
        "await asyncio.Event().wait()"
    ).wait_for("busy")
    kernel.interrupt()
    assert cell.wait(5).error.ename == "KeyboardInterrupt"
    kernel.ok("asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)")


def test_a_stop_reaches_a_cell_beside_which_the_kernels_loop_gets_a_signal_handler(kernel):
    kernel.ok("import signal\nwaits = threading.Event()")
    kernel.ok(
        """
        %%atask job --on kernel
        while not waits.is_set(): await asyncio.sleep(0.01)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
        """
    )
    cell = kernel.submit("waits.set()\nawait job\nprint('busy')\nawait asyncio.Event().wait()")
    cell.wait_for("busy")
    kernel.interrupt()
    assert cell.wait(5).error.ename == "KeyboardInterrupt"
    kernel.ok("asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)")


def test_a_signal_handler_that_a_busy_main_thread_cannot_set_is_refused(kernel):
    kernel.ok(
        """
        import signal
        async def change(method, *args):
            try: getattr(asyncio.get_running_loop(), method)(signal.SIGUSR1, *args)
            except RuntimeError as exc: return str(exc)
        """
    )
    for call in ("change('add_signal_handler', print)", "change('remove_signal_handler')"):
        refusal = kernel.ok(f"asyncnb.run({call})", 15).result  # the main thread waits
        assert "kept it busy for 1 s" in refusal and "a cell with `await`" in refusal
        assert kernel.ok(f"await {call}").result is None
    assert kernel.evaluate("signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL")


WAKEUP = """
import asyncio, signal, socket
from asyncnb._kernel.ipykernel.interrupts import wake_on_signal

signal.signal(signal.SIGINT, lambda *_: None)
owner, other = socket.socketpair(), socket.socketpair()
for each in (*owner, *other):
    each.setblocking(False)

async def main():
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    signal.set_wakeup_fd(owner[0].fileno())
    with wake_on_signal(loop, interrupted.set) as wakes:
        assert wakes()
        signal.raise_signal(signal.SIGINT)
        await asyncio.wait_for(interrupted.wait(), 10)
    assert owner[1].recv(10) == bytes([signal.SIGINT]), "the owner wants its signals meanwhile"
    assert signal.set_wakeup_fd(owner[0].fileno()) == owner[0].fileno(), "and its place back"
    with wake_on_signal(loop, interrupted.set) as wakes:
        signal.set_wakeup_fd(other[0].fileno())
        assert not wakes() and wakes()
        interrupted.clear()
        signal.raise_signal(signal.SIGINT)
        await asyncio.wait_for(interrupted.wait(), 10)
        assert other[1].recv(10) == bytes([signal.SIGINT]), "the new owner wants them, too"
        signal.set_wakeup_fd(other[0].fileno())
    assert signal.set_wakeup_fd(-1) == other[0].fileno(), "a new owner keeps it"

asyncio.run(main())
"""


def test_waiting_for_signals_takes_none_from_their_owner():
    command = [sys.executable, "-c", WAKEUP]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


EARLY = """
import os, signal, socket, types
from asyncnb._kernel.ipykernel import interrupts

def socketpair():
    # What the kernel's thread does before it waits for the cell takes its time here.
    if {press}:
        signal.raise_signal(signal.SIGINT)
    time.sleep({seconds})
    return socket.socketpair()

interrupts.socket = types.SimpleNamespace(socketpair=socketpair)
"""


@pytest.mark.parametrize("press", [False, True], ids=["after its first line", "before it began"])
def test_no_stop_comes_too_early_for_a_cell_that_awaits(fresh_kernel, press):
    kernel = fresh_kernel
    kernel.ok(EARLY.format(press=press, seconds=0.01 if press else 1.0))
    cell = kernel.submit("print('waiting', flush=True); await asyncio.sleep(60)")
    if not press:
        cell.wait_for("waiting")
        kernel.interrupt()
    assert cell.wait(PROMPT).error.ename == "KeyboardInterrupt"
    kernel.ok("interrupts.socket = socket")


PRESS_BETWEEN = """
import signal
compiler, armed, reached = type(get_ipython().compile), False, False
original = compiler.__call__

def pressing(*args):  # the shell compiles one statement, runs it, compiles the next
    if armed:
        signal.raise_signal(signal.SIGINT)
    return original(*args)

compiler.__call__ = pressing
"""


def test_a_stop_between_two_statements_ends_the_cell(fresh_kernel):
    fresh_kernel.ok(PRESS_BETWEEN)
    cell = fresh_kernel.run("armed = True\nreached = True")
    assert cell.error.ename == "KeyboardInterrupt"
    assert fresh_kernel.evaluate("armed, reached") == (True, False)
    assert "interactiveshell" not in cell.error.traceback
