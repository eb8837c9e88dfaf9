"""`%tasks debug`: the debugger in a cell, typed at its prompts as a front end does."""

from __future__ import annotations

import re

import pytest

from tests.kernel.driver import Cell, Kernel
from tests.kernel.test_terminal import ipython

PAGE = """
async def page(n):
    secret = 1000 + n
    try:
        {}["x"]
    except KeyError as missing:
        raise ValueError(f"bad page {n}") from missing
"""
CRAWL = """
async def crawl():
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(page(n), name=f"child {n}")
"""
LAUNCH = """
task = asyncnb.launch({}, name={!r})
task._record.wait_shown(10)
del task
"""


@pytest.fixture
def failed(kernel: Kernel) -> Kernel:
    kernel.ok(PAGE)
    kernel.ok(LAUNCH.format("page(1)", "page 1"))
    return kernel


def type_at(kernel: Kernel, code: str, *lines: str, **options: object) -> Cell:
    """Run a cell that asks, and give it these lines, which have to end it."""
    cell = kernel.submit(code, **options)
    for line in lines:
        assert kernel.prompt(cell).startswith("ipdb>")
        kernel.answer(line)
    return cell.wait()


def test_the_frames_of_a_failed_task_are_there_with_their_variables(failed):
    cell = type_at(failed, "%tasks debug 'page 1'", "p secret", "p n", "q")
    assert cell.status == "ok"
    assert "ValueError: bad page 1" in cell.text
    assert re.search(r"> In\[\d+\]\(6\)page\(\)", cell.text)
    assert "1001\n1\n" in cell.text
    assert cell.errors == []
    assert failed.ok("print('as before')").stdout == "as before\n"


def test_a_cause_is_chosen_inside_and_on_the_line(failed):
    inside = type_at(failed, "%tasks debug 'page 1'", "exceptions 2", "exceptions", "q")
    assert re.search(r"    1 ValueError: bad page 1  \(In\[\d+\], line 6\)\n", inside.text)
    assert re.search(r">   2 KeyError: 'x'  \(In\[\d+\], line 4; its cause\)\n", inside.text)
    at_once = type_at(failed, "%tasks debug 'page 1' 2", "q")
    assert re.search(r"KeyError: 'x'\n> In\[\d+\]\(4\)page\(\)", at_once.text)


def test_each_error_of_a_group_has_a_number(failed):
    failed.ok(CRAWL)
    failed.ok(LAUNCH.format("crawl()", "crawl"))
    cell = type_at(
        failed, "%tasks debug crawl", "p n", "exceptions 3", "p n", "exceptions 0", "w", "q"
    )
    assert ">   1 ValueError: bad page 0" in cell.text
    assert re.search(r"    5 ValueError: bad page 2  \(child 2, In\[\d+\], line 6\)", cell.text)
    assert re.search(r"> In\[\d+\]\(6\)page\(\)", cell.text)
    assert "\n0\n" in cell.text
    assert "\n1\n" in cell.text
    assert re.search(r"> In\[\d+\]\(2\)crawl\(\)", cell.text)
    assert "taskgroups" not in cell.text
    other = type_at(failed, "%tasks debug crawl 5", "p n", "exceptions 77", "exceptions x", "q")
    assert "\n2\n" in other.text
    assert other.text.count("*** takes a number from 0 to 6") == 2


def test_tasks_keep_running_meanwhile(failed):
    failed.ok(
        "async def count():\n    while True:\n        counted.append(1)\n"
        "        await asyncio.sleep(0)\ncounted = []; t = asyncnb.launch(count())"
    )
    cell = failed.submit("%tasks debug 'page 1'")
    failed.prompt(cell)
    failed.answer("!before = len(counted)")
    failed.prompt(cell)
    failed.answer("[None for _ in iter(lambda: len(counted) > before + 10, True)][:0]")
    failed.prompt(cell)
    failed.answer("q")
    assert cell.wait().status == "ok"
    failed.ok("t.cancel()")


@pytest.mark.parametrize("end", ["c", "exit", "n", "\x04", "run"])
def test_what_ends_pdb_ends_it(failed, end):
    failed.ok("def tracer(*args): pass")
    code = "%tasks debug 'page 1'\nprint('after it', sys.gettrace() is tracer)\nsys.settrace(None)"
    cell = type_at(failed, f"sys.settrace(tracer)\n{code}", end)
    assert cell.status == "ok", cell.error
    assert cell.text.endswith("after it True\n")


def test_the_stop_button_ends_it_and_leaves_the_task_to_be_debugged_again(failed):
    cell = failed.submit("%tasks debug 'page 1'")
    failed.prompt(cell)
    failed.interrupt()
    cell.wait()
    assert type_at(failed, "%tasks debug 'page 1'", "p n", "q").status == "ok"
    assert failed.ok("await asyncio.sleep(0, 5)").result == "5"


def test_a_thread_and_a_task_in_a_variable_can_be_debugged(failed):
    failed.ok("%%atask first\nx = 41\n1 / 0")
    failed.ok("%%atask second\ny = 42\n2 / 0")
    failed.ok("asyncnb.task('second')._record.wait_shown(10)")
    assert "41" in type_at(failed, "%tasks debug first", "p x", "q").text
    assert "42" in type_at(failed, "%tasks debug second", "p y", "q").text


def test_the_frames_of_the_newest_failure_are_kept_and_as_many_as_the_option_says(failed):
    failed.ok(
        "import gc, weakref\nclass Large: pass\nmade = []\ndef fail():\n    x = Large()\n"
        "    made.append(weakref.ref(x))\n    raise OSError('no luck')\n"
        "async def job(): fail()\ndef alive():\n    gc.collect()\n"
        "    return sum(r() is not None for r in made)"
    )
    for n in range(3):
        failed.ok(LAUNCH.format("job()", f"job {n}"))
    assert failed.ok("alive()").result == "1"
    refused = failed.run("%tasks debug 'job 0'").error
    assert refused.evalue.startswith(
        "The frames of 'job 0' are no longer kept (OSError: no luck). They are kept for the newest"
    )
    assert type_at(failed, "%tasks debug 'job 2'", "q").status == "ok"
    assert failed.ok("alive()").result == "1"
    failed.ok("%tasks clear")
    assert failed.ok("alive()").result == "0"
    failed.ok("%asyncnb option frames 2")
    for n in range(3):
        failed.ok(LAUNCH.format("job()", f"job {n}"))
    assert failed.ok("alive()").result == "2"
    assert type_at(failed, "%tasks debug 'job 1'", "q").status == "ok"
    failed.ok("%asyncnb option frames 0")
    assert failed.ok("alive()").result == "0"
    failed.ok("%asyncnb option frames 1")


def test_unloading_frees_the_frames(fresh_kernel):
    fresh_kernel.ok(
        "import weakref, gc\nclass Large: pass\nasync def job():\n    large = Large()\n"
        "    made.append(weakref.ref(large))\n    raise OSError('no luck')\nmade = []"
    )
    fresh_kernel.ok(LAUNCH.format("job()", "job"))
    assert fresh_kernel.ok("gc.collect(); made[0]() is None").result == "False"
    fresh_kernel.ok("%unload_ext asyncnb")
    assert fresh_kernel.ok("gc.collect(); made[0]() is None").result == "True"


def refused(kernel: Kernel, code: str, **options: object) -> str:
    cell = kernel.run(code, **options)
    assert cell.error is not None
    assert cell.error.ename == "UsageError"
    return cell.error.evalue


def test_what_has_not_failed_is_refused_with_its_state(failed):
    failed.ok("gate = asyncio.Event(); t = asyncnb.launch(gate.wait(), name='waits')")
    failed.ok("u = asyncnb.launch(asyncio.sleep(0), name='done'); u.join(5)")
    failed.ok(
        "v = asyncnb.launch(gate.wait(), name='cancelled'); v.cancel()\nawait asyncio.wait([v])"
    )
    assert refused(failed, "%tasks debug waits") == (
        "'waits' has not failed: its state is waiting. `%tasks stack waits` shows where it is."
    )
    assert refused(failed, "%tasks debug done") == "'done' has not failed: its state is done."
    assert refused(failed, "%tasks debug cancelled").endswith("leaves no error to debug.")
    assert "Did you mean 'page 1'?" in refused(failed, "%tasks debug 'page 2'")
    assert "its numbers are from 1 to 2" in refused(failed, "%tasks debug 'page 1' 0")
    failed.ok("t.cancel()")


def test_where_no_person_can_answer_it_is_refused(failed):
    line = "%tasks debug 'page 1'"
    assert "this is a headless run" in refused(failed, line, allow_stdin=False)
    assert "on the loop's thread" in refused(failed, f"await asyncio.sleep(0)\n{line}")
    cell = failed.ok(f"%%atask inside\n{line}")
    assert "on the loop's thread" in cell.wait_for(lambda c: c.error).error.evalue


def test_a_failure_of_another_process_says_why_it_has_no_frames(failed):
    failed.ok("%%atask away --on process\n1 / 0").wait_for(lambda c: c.error, 60)
    assert refused(failed, "%tasks debug away").startswith(
        "'away' failed in another process (process), and only its traceback came back"
    )


def test_tab_offers_the_failed_tasks(failed):
    failed.ok("u = asyncnb.launch(asyncio.sleep(0), name='page done'); u.join(5)")
    assert failed.complete("%tasks debug pa") == ["'page 1'"]
    assert "debug" in failed.complete("%tasks d")


def test_a_terminal_has_it_too(python, tmp_path):
    shown = ipython(
        python,
        tmp_path,
        "%load_ext asyncnb",
        "import asyncio, asyncnb",
        "async def page(n):\n    return 1 / n\n",
        "t = asyncnb.launch(page(0), name='page')",
        "t._record.wait_shown(10)",
        "%tasks debug page",
        "p 'n is', n",
        "q",
        "1 + 1",
    )
    assert "('n is', 0)" in shown
    assert "Out[6]: 2" in shown or ": 2" in shown
