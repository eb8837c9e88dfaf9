"""`--follow`: cells that run again with what they follow, in their own cell and once each."""

from __future__ import annotations

import itertools

import pytest

LOAD = "%%atask load -o table\nn += 1\nawait gate.wait()\nn"


@pytest.fixture(autouse=True)
def _nothing_follows_later(kernel):
    yield
    kernel.ok("%tasks unfollow --all")


@pytest.fixture
def pipeline(kernel):
    """load -> clean -> report, each in a cell; all have run once."""
    kernel.ok("gate = asyncio.Event(); n = 0; ran = []; gate.set()")
    kernel.ok(LOAD, cell_id="load")
    clean = kernel.ok(
        "%%atask clean --after load --follow\nran.append('clean')\nprint('cleaning', table)",
        cell_id="clean",
    )
    report = kernel.ok(
        "%%atask report --after clean,load --follow\nran.append('report')\nprint('table', table)",
        cell_id="report",
    )
    kernel.ok("await asyncnb.task('report')\ngate.clear()")
    return clean, report


def state(kernel, name):
    return kernel.evaluate(f"asyncnb.task('{name}').info().state")


def test_what_follows_runs_again_once_with_the_new_value_in_its_own_cell(kernel, pipeline):
    clean, report = pipeline
    kernel.drain()
    load = kernel.ok(LOAD, cell_id="load")
    # They wait already when the cell that they follow has returned.
    assert [state(kernel, name) for name in ("clean", "report")] == ["pending", "pending"]
    kernel.ok("gate.set(); await asyncnb.task('report');")
    report.wait_for("table 2")
    assert kernel.evaluate("ran") == ["clean", "report"] * 2
    assert clean.stdout == "cleaning 1\ncleaning 2\n"
    # A front end has removed the first line when it shows the second.
    kinds = [kind for kind, _ in itertools.groupby(m["msg_type"] for m in clean.messages)]
    assert kinds == ["stream", "clear_output", "stream"]
    assert not load.stdout
    info = "asyncnb.task('clean').info()"
    assert kernel.evaluate(f"{info}.cell.id") == "clean"
    assert kernel.evaluate(f"({info}.after, {info}.follows)") == (("load",), True)
    assert "follows clean, load" in kernel.ok("%tasks").result
    assert (
        "follows: runs again"
        in kernel.ok("%tasks graph").of_type("execute_result")[0]["data"]["image/svg+xml"]
    )


def test_a_follower_that_waits_is_not_launched_again_but_waits_for_the_new_run(kernel, pipeline):
    kernel.ok(LOAD, cell_id="load")
    first = kernel.evaluate("asyncnb.task('clean')._record.id")
    kernel.ok(LOAD, cell_id="load")
    assert kernel.evaluate("asyncnb.task('clean')._record.id") == first
    kernel.ok("gate.set(); await asyncnb.task('report');")
    assert kernel.evaluate("table") == 3
    assert kernel.evaluate("ran") == ["clean", "report"] * 2


def test_a_launch_in_python_under_the_name_counts_and_a_failure_too(kernel, pipeline):
    clean, _ = pipeline
    kernel.ok("async def bad(): raise ValueError('boom')")
    kernel.ok("asyncnb.launch(bad(), name='load');")
    clean.wait_for("clean did not run: load failed: ValueError: boom.")
    kernel.ok("gate.set(); asyncnb.launch(asyncio.sleep(0), name='load').join(10)")
    kernel.ok("await asyncnb.task('report');")
    assert kernel.evaluate("ran") == ["clean", "report"] * 2


@pytest.mark.parametrize("again", ["replace", "skip", "error", "keep"])
def test_again_decides_about_a_follower_that_is_running(kernel, again):
    kernel.ok("begun, gate = asyncio.Event(), asyncio.Event(); ran = []")
    kernel.ok("%%atask load\nawait asyncio.sleep(0)")
    body = "begun.set()\nawait gate.wait()\nran.append('clean')"
    clean = kernel.ok(f"%%atask clean --after load --follow --again {again}\n{body}")
    kernel.ok("await begun.wait()")
    kernel.ok("%%atask load --wait\nawait asyncio.sleep(0)")
    kernel.ok("gate.set()\n%tasks wait clean -t 10")
    assert kernel.evaluate("len(ran)") == {"keep": 2}.get(again, 1)
    if again == "error":
        assert "clean did not run again: 'clean' is still running." in clean.stderr
    if again == "skip":
        assert "clean is still running; nothing was started" in clean.stdout


def test_unfollow_and_a_run_without_follow_end_it(kernel, pipeline):
    cell = kernel.run("%tasks unfollow")
    assert "expected names of cells that follow, or --all" in cell.error.evalue
    cell = kernel.run("%tasks unfollow load")
    assert "'load' follows no other task. These do: clean, report." in cell.error.evalue
    assert kernel.complete("%tasks unfollow cl") == ["clean"]
    cell = kernel.ok("%tasks unfollow report")
    assert cell.stdout == "report no longer follows clean, load\n"
    kernel.ok("%%atask clean --wait\nran.append('by hand')", cell_id="clean")
    kernel.ok("gate.set()")
    kernel.ok(LOAD.replace("load", "load --wait", 1), cell_id="load")
    assert kernel.evaluate("ran") == ["clean", "report", "by hand"]
    assert kernel.evaluate("asyncnb.task('report').info().follows") is False


def test_the_source_is_that_of_the_last_run(kernel, pipeline):
    kernel.ok("%%atask clean --after load --follow\nran.append('newer')", cell_id="clean")
    kernel.ok("gate.set()")
    kernel.ok(LOAD, cell_id="load")
    kernel.ok("await asyncnb.task('report');")
    assert kernel.evaluate("ran[-2:]") == ["newer", "report"]


def test_a_ring_of_followers_is_refused_even_when_all_have_ended(kernel, pipeline):
    had = kernel.evaluate("len(asyncnb.tasks())")
    cell = kernel.run("%%atask load --after report\n1")
    assert "'load' would wait for itself: load → report → load." in cell.error.evalue
    assert kernel.evaluate("len(asyncnb.tasks())") == had


def test_one_cell_that_launches_both_runs_them_itself(kernel):
    kernel.ok("ran = []")
    both = """
        %atask load asyncio.sleep(0)
        %atask clean --after load --follow asyncio.to_thread(ran.append, 1)
    """
    for _ in range(2):
        kernel.ok(both, cell_id="both")
        kernel.ok("await asyncnb.task('clean');")
    assert kernel.evaluate("ran") == [1, 1]


def test_a_cell_of_a_followed_group_runs_the_follower_again(kernel):
    kernel.ok("ran = []")
    kernel.ok("%%atask page -g pages\nawait asyncio.sleep(0)")
    kernel.ok("%%atask index --after pages --follow\nran.append(1)")
    kernel.ok("await asyncnb.task('index');")
    kernel.ok("%%atask other -g pages\nawait asyncio.sleep(0)")
    kernel.ok("await asyncnb.task('index');")
    assert kernel.evaluate("ran") == [1, 1]


def test_a_long_chain_of_followers_is_no_recursion(kernel):
    kernel.ok(
        """
        ip = get_ipython()
        asyncnb.launch(asyncio.sleep(0), name='n0').join(10)
        for i in range(1, 150):
            line = f'n{i} --after n{i - 1} --follow asyncio.sleep(0)'
            ip.run_line_magic('atask', line)
        asyncnb.task('n149').join(30)
        """,
        60,
    )
    # In another cell, which does not run them itself.
    kernel.ok("asyncnb.launch(asyncio.sleep(0), name='n0').join(10)", 60)
    assert kernel.ok("await asyncnb.task('n149'); len(asyncnb.tasks('n*'))", 60).result == "300"


def test_unloading_ends_it(kernel, pipeline):
    kernel.ok("%unload_ext asyncnb\n%load_ext asyncnb")
    kernel.ok("asyncnb.launch(asyncio.sleep(0), name='load').join(10)")
    assert kernel.evaluate("ran") == ["clean", "report"]
