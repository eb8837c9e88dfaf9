"""Task groups that cells share: %%agroup, -g, and the verbs that take a group."""

from __future__ import annotations

import pytest


@pytest.fixture
def helpers(kernel):
    """`rest(name)` and `fail(name)` for bodies, and the log that they write."""
    kernel.ok(
        """
        log = []; gate = asyncio.Event()
        async def rest(name="x"):
            try:
                await asyncio.sleep(60)
            finally:
                log.append(name)
        """
    )
    return kernel


def test_a_group_cell_runs_its_body_and_ends_with_its_last_task(helpers):
    cell = helpers.ok(
        """
        %%agroup g
        child = g.create_task(gate.wait(), name="child")
        print("body done")
        "the result"
        """
    )
    cell.wait_for("body done")
    assert helpers.evaluate("asyncnb.task('g').done()") is False
    helpers.ok("gate.set(); await asyncio.sleep(0)")
    helpers.ok("%tasks wait -g g")
    assert cell.shown == ["'the result'"]
    assert helpers.evaluate("[t.get_name() for t in asyncnb.tasks(group='g')]") == ["g", "child"]


def test_a_group_spans_cells_and_a_failure_in_one_cancels_those_of_the_others(helpers):
    first = helpers.ok("%%agroup g\nchild = g.create_task(rest('child'), name='child')")
    helpers.ok("%%atask other -g g\nawait rest('other')")
    helpers.ok("%atask -g g third rest('third')")
    helpers.ok("assert not log")
    failing = helpers.ok("%%atask bad -g g\nawait asyncio.sleep(0)\n1/0")
    waiting = helpers.run("%tasks wait -g g")
    assert sorted(helpers.evaluate("log")) in (
        ["child", "other", "third"],
        ["child", "other"],  # the third may have been cancelled before its first step
    )
    said = f"bad (In[{failing.count}]): ZeroDivisionError: division by zero"
    assert waiting.error.ename == "TasksFailedError"
    assert said in waiting.error.evalue
    first.wait_for("ExceptionGroup")
    assert said in first.text
    assert "line" not in first.text  # its traceback appears under the other cell, once
    assert len(failing.errors) == 1
    assert helpers.evaluate("[t.info().state for t in asyncnb.tasks(group='g')]") == [
        "failed",
        "cancelled",
        "cancelled",
        "cancelled",
        "failed",
    ]


def test_awaiting_a_group_names_the_child_and_its_cell(helpers):
    helpers.ok("g = asyncnb.open_group('g')")
    failing = helpers.ok("%%atask bad -g g\nraise ValueError('boom')\nawait gate")
    helpers.ok("await asyncio.wait([bad])")
    cell = helpers.run("await g")
    assert cell.error.ename == "ExceptionGroup"
    assert f"bad (In[{failing.count}]): ValueError: boom" in cell.error.evalue


def test_on_error_continue_leaves_the_siblings_alone(helpers):
    cell = helpers.ok(
        """
        %%agroup g --on-error continue
        async def bad(): raise ValueError("boom")
        g.create_task(bad(), name="bad")
        await gate.wait()
        """
    )
    cell.wait_for("ValueError: boom")
    assert helpers.evaluate("asyncnb.task('g').done()") is False
    helpers.ok("gate.set(); await asyncio.sleep(0)")
    helpers.ok("await asyncnb.task('g')")
    assert len(cell.errors) == 1


def test_cancelling_a_group_ends_its_tasks_and_is_no_failure(helpers):
    cell = helpers.ok("%%agroup g\ng.create_task(rest(), name='child')\nprint('body')")
    cell.wait_for("body")
    helpers.ok("%%atask other -g g\nprint('on')\nawait rest('other')").wait_for("on")
    assert "cancellation requested for 3 tasks" in helpers.ok("%tasks cancel -g g").stdout
    helpers.ok("%tasks wait -g g")
    assert sorted(helpers.evaluate("log")) == ["other", "x"]
    assert cell.errors == []


def test_a_group_whose_body_is_paused_is_cancelled_all_the_same(helpers):
    helpers.ok("%%agroup held\nheld.create_task(asyncio.sleep(600), name='child')")
    helpers.ok("while len(asyncnb.tasks(group='held')) < 2: await asyncio.sleep(0.01)")
    helpers.ok("%tasks pause held")
    assert "requested for 2 tasks" in helpers.ok("%tasks cancel -g held").text
    helpers.ok("await asyncnb.wait(asyncnb.tasks(group='held'))")
    states = helpers.evaluate("[t.info().state for t in asyncnb.tasks(group='held')]")
    assert "cancelled" in states and "cancelling" not in states


def test_part_of_a_group_can_be_cancelled(helpers):
    helpers.ok("g = asyncnb.open_group('g')")
    helpers.ok("for n in 'abc': g.create_task(rest(n), name=n)")
    helpers.ok("%tasks cancel -g g a b")
    helpers.ok("%tasks wait a b")
    assert helpers.evaluate("[t.get_name() for t in asyncnb.tasks(group=g) if not t.done()]") == [
        "c"
    ]
    assert helpers.run("%tasks cancel -g g d").error.ename == "UsageError"


def test_running_a_group_cell_again_replaces_the_group(helpers):
    code = "%%agroup g\nasync with asyncio.timeout(60):\n    await rest('first')"
    helpers.ok(code.replace("await", "print('in'); await"), cell_id="same").wait_for("in")
    helpers.ok("%%agroup g\n'second'", cell_id="same")
    helpers.ok("await asyncio.wait([asyncnb.task('g')])")
    assert helpers.evaluate("log") == ["first"]
    assert helpers.evaluate("[t.info().state for t in asyncnb.tasks('g')]") == ["cancelled", "done"]


def test_a_group_cell_has_a_time_limit_for_all_of_it(helpers):
    cell = helpers.ok("%%agroup g -t 60\ng.create_task(rest(), name='child')\nprint('body')")
    cell.wait_for("body")
    helpers.ok("%tasks timeout g 0")
    assert helpers.run("%tasks wait -g g").error.ename == "TasksFailedError"
    assert cell.error.ename == "TimeoutError"
    assert helpers.evaluate("log") == ["x"]


def test_waiting_for_a_group_whose_time_is_up_says_so(helpers):
    helpers.ok("g = asyncnb.open_group('g', timeout=60); t = g.create_task(rest(), name='child')")
    helpers.ok("g.reschedule(0)")
    waiting = helpers.run("%tasks wait -g g")
    assert (waiting.error.ename, waiting.error.evalue) == (
        "TimeoutError",
        "Group 'g' timed out; its tasks were cancelled.",
    )


def test_waiting_for_a_group_is_for_what_it_adopted_and_for_what_comes_meanwhile(helpers):
    helpers.ok(
        """
        import concurrent.futures
        g = asyncnb.open_group("adopts", on_error="continue")
        future = concurrent.futures.Future()
        async def first():
            await gate.wait()
            g.create_task(second(), name="second")
        async def second():
            await asyncio.sleep(0.05)  # so that a wait for the first one only would be over
            log.append("second")
        async def plain():
            await asyncio.sleep(0.1)
            log.append("plain")
            future.set_result(None)
        t = g.create_task(first(), name="first")
        async def adopt():
            g.add(asyncio.create_task(plain(), name="plain"), future)
            gate.set()
        asyncnb.run(adopt())
        """
    )
    helpers.ok("%tasks wait -g adopts")
    assert helpers.evaluate("log") == ["second", "plain"]
    assert helpers.evaluate("g.closed") is False, "to wait for it is not to close it"


def test_a_group_that_an_adopted_task_has_ended_is_said_to_have_failed(helpers):
    helpers.ok(
        """
        g = asyncnb.open_group("g")
        t = g.create_task(rest(), name="child")
        async def plain():
            raise LookupError("adopted")
        async def adopt():
            g.add(asyncio.create_task(plain(), name="plain"))
        asyncnb.run(adopt())
        """
    )
    waiting = helpers.run("%tasks wait -g g")
    assert (waiting.error.ename, waiting.error.evalue) == (
        "TasksFailedError",
        "Group 'g' failed: plain: LookupError: adopted.",
    )


def test_waiting_for_what_runs_on_the_waiting_cells_own_loop_is_refused(helpers):
    helpers.ok("%asyncnb autoawait off")
    helpers.ok("g = asyncnb.open_group('own')\nstop = asyncio.Event()")
    helpers.ok("own = asyncio.create_task(stop.wait(), name='own')\ng.add(own)")
    waiting = helpers.run("%tasks wait -g own")
    assert waiting.error.ename == "UsageError"
    refusal = "'own' of group 'own' runs on the loop that it would block. Write `await own`"
    assert refusal in waiting.text
    helpers.ok("stop.set()\nawait own\ng.cancel()\nimport asyncio")
    helpers.ok("%asyncnb autoawait on")


def test_a_failing_body_cancels_its_tasks_and_shows_the_users_frames_only(helpers):
    cell = helpers.ok("%%agroup g\ng.create_task(rest(), name='child')\nraise KeyError('body')")
    cell.wait_for("KeyError: 'body'")
    assert "asyncnb" not in cell.errors[0].traceback
    assert len(cell.errors) == 1


def test_the_table_shows_a_group_alone(helpers):
    helpers.ok("%%atask inside -g g\nawait rest()")
    helpers.ok("%%atask outside\nawait rest()")
    shown = helpers.ok("%tasks -g g").result
    assert "inside" in shown
    assert "outside" not in shown
    near = helpers.run("%tasks -g gg")
    assert "'g'" in near.error.evalue


@pytest.mark.parametrize(
    "launched", ["asyncnb.launch(rest(), name='job')", "%%atask job\nawait rest()"]
)
def test_a_time_limit_can_be_set_moved_and_taken_away(helpers, launched):
    helpers.ok(launched)
    assert "30 s left" in helpers.ok("%tasks timeout job 30").stdout
    assert 25 < helpers.evaluate("asyncnb.task('job').info().timeout") <= 30
    helpers.ok("%tasks timeout job +100")
    assert 125 < helpers.evaluate("asyncnb.task('job').info().timeout") <= 130
    assert "s left" in helpers.ok("%tasks").result
    assert "no time limit" in helpers.ok("%tasks timeout job none").stdout
    assert helpers.evaluate("asyncnb.task('job').info().timeout") is None
    helpers.ok("%tasks timeout job 0")
    assert helpers.run("%tasks wait job").error.ename == "TasksFailedError"
    assert helpers.evaluate("log") == ["x"]
    assert "TimeoutError" in helpers.evaluate("asyncnb.task('job').info().error")
    late = helpers.run("%tasks timeout job 5")
    assert "has ended" in late.error.evalue
