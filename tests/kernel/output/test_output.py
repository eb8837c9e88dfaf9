"""Output of a task appears under its own cell, wherever in the task it is printed."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from tests.kernel.driver import Cell, Kernel

TIMES = 20

# One function that speaks in every way, numbered so that each line can be looked for.
SAY = """
import contextlib, functools, logging, warnings
from concurrent.futures import ThreadPoolExecutor
from IPython.display import clear_output, display, update_display
warnings.simplefilter("always")  # not only once per text and line
_log = logging.getLogger("spoken")
_log.setLevel("INFO")
_log.propagate = False
if not _log.handlers:
    _log.addHandler(logging.StreamHandler())

def say(who, i):
    print(f"{who}:print:{i}.")
    sys.stdout.write(f"{who}:write:{i}.\\n")
    print(f"{who}:stderr:{i}.", file=sys.stderr)
    _log.info(f"{who}:logging:{i}.")
    warnings.warn(f"{who}:warning:{i}.", stacklevel=1)
    display(f"{who}:display:{i}.")
    handle = display("", display_id=True)
    handle.update(f"{who}:update:{i}.")
"""
WAYS = ["print", "write", "stderr", "logging", "warning", "display", "update"]

# Each says everything TIMES times, the first half before the gate opens.
PLACES = {
    "the task": """
        %%atask talker
        for i in range(TIMES):
            if i == TIMES // 2:
                reached.set(); await gate.wait()
            say("task", i)
            await asyncio.sleep(0)
        """,
    "a child task": """
        %%atask talker
        async def child(i):
            await asyncio.sleep(0)
            say("task", i)
        for i in range(TIMES // 2):
            await asyncio.create_task(child(i))
        reached.set(); await gate.wait()
        async with asyncio.TaskGroup() as group:
            for i in range(TIMES // 2, TIMES):
                group.create_task(child(i))
        """,
    "call_soon": """
        %%atask talker
        loop = asyncio.get_running_loop()
        for i in range(TIMES // 2):
            loop.call_soon(say, "task", i)
        await asyncio.sleep(0)
        reached.set(); await gate.wait()
        for i in range(TIMES // 2, TIMES):
            loop.call_later(0.001, say, "task", i)
        await asyncio.sleep(0.05)
        """,
    "asyncio.to_thread": """
        %%atask talker
        for i in range(TIMES // 2):
            await asyncio.to_thread(say, "task", i)
        reached.set(); await gate.wait()
        for i in range(TIMES // 2, TIMES):
            await asyncio.to_thread(say, "task", i)
        """,
    "the default executor": """
        %%atask talker
        loop = asyncio.get_running_loop()
        for i in range(TIMES // 2):
            await loop.run_in_executor(None, say, "task", i)
        reached.set(); await gate.wait()
        for i in range(TIMES // 2, TIMES):
            await loop.run_in_executor(None, functools.partial(say, "task", i))
        """,
    "an executor of the user": """
        %%atask talker
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as pool:
            for i in range(TIMES // 2):
                await loop.run_in_executor(pool, say, "task", i)
            reached.set(); await gate.wait()
            for i in range(TIMES // 2, TIMES):
                await loop.run_in_executor(pool, say, "task", i)
        """,
    "a thread body": """
        %%atask talker
        for i in range(TIMES):
            if i == TIMES // 2:
                reached.set(); thread_gate.wait(30)
            say("task", i)
        """,
    "a thread body's to-and-fro": """
        %%atask talker --on thread
        async def spoken(i): say("task", i)
        for i in range(TIMES):
            if i == TIMES // 2:
                reached.set(); thread_gate.wait(30)
            asyncnb.run(spoken(i))
        """,
}

FOREGROUND = {
    "a sync cell": """
        reached.wait(10)
        for k in range(TIMES // 2): say("main", k)
        thread_gate.set(); asyncnb.embedded_loop().call_soon_threadsafe(gate.set)
        for k in range(TIMES // 2, TIMES):
            say("main", k)
            time.sleep(0.001)
        """,
    "an await cell": """
        await asyncio.to_thread(reached.wait, 10)
        for k in range(TIMES // 2): say("main", k)
        thread_gate.set(); gate.set()
        for k in range(TIMES // 2, TIMES):
            say("main", k)
            await asyncio.sleep(0.001)
        """,
}


def prepare(kernel: Kernel) -> None:
    kernel.ok(SAY + f"\nTIMES = {TIMES}")
    kernel.ok(
        "gate = asyncio.Event(); thread_gate = threading.Event(); reached = threading.Event()"
    )


def heard(cell: Cell) -> Counter[tuple[str, str]]:
    """How many different lines of each speaker and way are below a cell."""
    text = cell.text
    return Counter(
        {
            (who, way): count
            for who in ("task", "main")
            for way in WAYS
            if (count := sum(f"{who}:{way}:{i}." in text for i in range(TIMES)))
        }
    )


@pytest.mark.parametrize("foreground", FOREGROUND)
@pytest.mark.parametrize("place", PLACES)
def test_each_way_of_speaking_lands_in_its_own_cell_while_another_cell_speaks_from(
    kernel, place, foreground
):
    prepare(kernel)
    task = kernel.ok(PLACES[place])
    main = kernel.ok(FOREGROUND[foreground])
    kernel.ok("talker.join(20)")
    kernel.drain()
    assert heard(task) == {("task", way): TIMES for way in WAYS}
    assert heard(main) == {("main", way): TIMES for way in WAYS}
    assert kernel.where("task:") == [task]
    assert kernel.where("main:") == [main]


def test_output_lands_in_its_own_cell_long_after_and_with_nothing_else_running(kernel):
    kernel.ok("gate = asyncio.Event()")
    cell = kernel.ok("%%atask late\nawait gate.wait()\nprint('TOKEN')\ndisplay('TOKEN')")
    for i in range(5):
        kernel.ok(f"print({i}); await asyncio.sleep(0)")
    kernel.ok("await asyncio.sleep(0); asyncio.get_running_loop().call_later(0.3, gate.set);")
    cell.wait_for("'TOKEN'", 10)
    cell.wait_for(lambda c: c.stdout == "TOKEN\n", 10)
    assert kernel.where("TOKEN") == [cell]


def test_two_tasks_with_the_same_code_speak_in_their_own_cells(kernel):
    prepare(kernel)
    cells = {}
    for name in "abc":
        cells[name] = kernel.ok(
            f"%%atask talker_{name}\nawait gate.wait()\n"
            f"for i in range(100):\n    print('{name}', i)\n    await asyncio.sleep(0)"
        )
    kernel.ok("gate.set(); await asyncio.wait([talker_a, talker_b, talker_c], timeout=20);")
    kernel.drain()
    for name, cell in cells.items():
        assert cell.stdout == "".join(f"{name} {i}\n" for i in range(100))


def test_what_a_launched_coroutine_says_lands_in_the_cell_that_launched_it(kernel):
    prepare(kernel)
    kernel.ok("async def talk(who):\n    await gate.wait()\n    say(who, 0)")
    one = kernel.ok("one = asyncnb.launch(talk('task'))")
    two = kernel.ok("two = asyncnb.launch(talk('main')); await asyncio.sleep(0)")
    kernel.ok("gate.set(); await asyncio.gather(one, two);")
    kernel.drain()
    assert heard(one) == {("task", way): 1 for way in WAYS}
    assert heard(two) == {("main", way): 1 for way in WAYS}


def test_a_task_launched_by_a_task_speaks_in_the_cell_of_the_first(kernel):
    prepare(kernel)
    cell = kernel.ok(
        """
        %%atask outer
        async def inner():
            await gate.wait()
            say("task", 0)
        inner_task = asyncnb.launch(inner())
        """
    )
    kernel.ok("outer.join(10); print('other')")
    kernel.ok("gate.set(); await inner_task")
    kernel.drain()
    assert heard(cell) == {("task", way): 1 for way in WAYS}


def test_shell_commands_speak_in_their_own_cell_while_another_cell_prints(kernel):
    prepare(kernel)
    body = "!echo TASK-OUT; echo TASK-ERR >&2"
    cells = [
        kernel.ok(f"%%atask in_thread\nthread_gate.wait(30)\n{body}"),
        kernel.ok(f"%%atask on_loop\nawait gate.wait()\n{body}"),
    ]
    main = kernel.ok(
        """
        thread_gate.set(); asyncnb.embedded_loop().call_soon_threadsafe(gate.set)
        while not (in_thread.done() and on_loop.done()):
            print("MAIN"); time.sleep(0.005)
        """
    )
    kernel.drain()
    assert kernel.where("TASK-OUT") == kernel.where("TASK-ERR") == cells
    assert kernel.where("MAIN") == [main]


def test_update_display_of_another_cells_display_reaches_its_display(kernel):
    kernel.ok("handle = display('first', display_id='the-one')")
    cell = kernel.ok("%%atask updates\nawait asyncio.sleep(0)\nhandle.update('second')")
    cell.wait_for(lambda c: c.updates)
    assert cell.of_type("update_display_data")[0]["transient"]["display_id"] == "the-one"


def test_clear_output_clears_the_cell_of_the_task(kernel):
    prepare(kernel)
    body = "print('before')\n{wait}\nclear_output(wait=True)\nprint('after')"
    cells = [
        kernel.ok("%%atask on_loop\n" + body.format(wait="await gate.wait()")),
        kernel.ok("%%atask in_thread\n" + body.format(wait="thread_gate.wait(30)")),
    ]
    main = kernel.ok(
        """
        gate.set(); thread_gate.set()
        await asyncio.wait([on_loop, in_thread], timeout=20)
        print("main")
        """
    )
    kernel.drain()
    for cell in cells:
        assert cell.of_type("clear_output") == [{"wait": True}]
        kinds = [kind for kind, _ in itertools.groupby(m["msg_type"] for m in cell.messages)]
        assert kinds == ["stream", "clear_output", "stream"]
    assert main.of_type("clear_output") == []


def test_the_order_within_a_cell_is_the_order_of_speaking(kernel):
    cell = kernel.ok(
        "%%atask job\nprint('one')\ndisplay('two')\nprint('three')\nawait asyncio.sleep(0, 'four')"
    )
    cell.wait_for("four")
    assert cell.text == "one\n'two'\nthree\n'four'\n"


def test_the_output_of_a_cell_is_complete_when_wait_ends_it(kernel):
    cell = kernel.ok("%%atask job --wait\nfor i in range(1000): print(i)\nawait asyncio.sleep(0)")
    assert cell.stdout.split() == [str(i) for i in range(1000)]


def test_capture_in_another_cell_is_not_broken_for_that_cell(kernel):
    assert kernel.ok("%%capture caught\nprint('captured')").stdout == ""
    assert kernel.evaluate("caught.stdout") == "captured\n"


def test_task_output_remembers_what_the_task_printed(kernel):
    kernel.ok("%%atask job\nprint('remembered')\nawait asyncio.sleep(0)")
    kernel.ok("job.join(10)")
    assert "remembered" in kernel.evaluate("str(job.output)")


@pytest.mark.parametrize("gate", ["await go_on.wait()", "thread_goes_on.wait(10)"])
def test_input_in_a_task_fails_with_a_sentence_and_blocks_nothing(kernel, gate):
    kernel.ok("go_on, thread_goes_on = asyncio.Event(), threading.Event()")
    cell = kernel.ok(f"%%atask asks\n{gate}\ninput()")
    # While a cell runs: only then is `input` the kernel's, which would ask in that cell.
    kernel.ok("go_on.set(); thread_goes_on.set(); await asyncio.wait([asks]);")
    cell.wait_for(lambda c: c.errors, 10)
    assert cell.error.ename == "RuntimeError"
    assert "input() is not available in a background task" in cell.error.evalue
    assert kernel.ok("1 + 1").result == "2"


def test_input_in_a_task_says_the_same_when_no_cell_runs(kernel):
    until_idle = "while 'built-in' not in repr(input): await asyncio.sleep(0.01)"
    cell = kernel.ok(f"%%atask asks\n{until_idle}\ninput()")
    cell.wait_for(lambda c: c.errors, 10)
    assert cell.error.ename == "EOFError"
    assert "input() is not available in a background task" in cell.error.traceback


def test_a_flood_of_prints_arrives_whole(kernel):
    cell = kernel.ok("%%atask flood\nfor i in range(20_000): print(i)\nawait asyncio.sleep(0)")
    kernel.ok("flood.join(60)", 60)
    kernel.drain()
    assert cell.stdout == "".join(f"{i}\n" for i in range(20_000))
    # One message a print would drown a front end: at most one per flush interval and block.
    assert len(cell.messages) <= 200
