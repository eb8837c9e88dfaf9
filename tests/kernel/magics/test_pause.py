"""%tasks pause and resume."""

from __future__ import annotations


def test_a_paused_cell_takes_no_step_until_it_is_resumed(kernel):
    kernel.ok("ticks = 0")
    kernel.ok(
        """
        %%atask ticker
        while True:
            ticks += 1
            await asyncio.sleep(0.001)
        """
    )
    kernel.ok("while not ticks: time.sleep(0.001)")
    assert "ticker is paused" in kernel.ok("%tasks pause ticker").stdout
    before = kernel.evaluate("ticks")
    assert "paused" in kernel.ok("%tasks").result
    assert kernel.evaluate("[t.get_name() for t in asyncnb.tasks(state='paused')]") == ["ticker"]
    kernel.ok("for _ in range(20): await asyncio.sleep(0.001)")  # as long as so many ticks take
    assert kernel.evaluate("ticks") == before
    assert "ticker resumed" in kernel.ok("%tasks resume tick*").stdout
    kernel.ok(f"while ticks <= {before} + 1: time.sleep(0.001)")


def test_a_paused_cell_can_be_cancelled_and_cleans_up(kernel):
    cell = kernel.ok(
        """
        %%atask job
        try:
            print("on")
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            print("cleaned up")
        """
    )
    cell.wait_for("on")
    kernel.ok("%tasks pause job")
    kernel.ok("%tasks cancel job")
    kernel.ok("%tasks wait job")
    cell.wait_for("cleaned up")
    assert kernel.evaluate("job.info().state") == "cancelled"


def test_a_stopped_clock_shows_what_is_left_and_takes_a_new_limit(kernel):
    kernel.ok("%%atask job -t 60\nawait asyncio.sleep(100)")
    kernel.ok("%tasks pause job --pause-timeouts")
    left = kernel.evaluate("job.info().timeout")
    assert 0 < left <= 60
    assert kernel.evaluate("job.info().timeout") == left
    kernel.ok("%tasks timeout job +10")
    assert kernel.evaluate("job.info().timeout") == left + 10
    kernel.ok("%tasks timeout job 50")
    assert kernel.evaluate("job.info().timeout") == 50
    kernel.ok("%tasks resume job")
    assert kernel.evaluate("job.info().timeout < 50")


def test_stop_clock_is_another_name_of_the_option(kernel):
    kernel.ok("%%atask job -t 60\nawait asyncio.sleep(100)")
    kernel.ok("%tasks pause job --stop-clock")
    left = kernel.evaluate("job.info().timeout")
    assert 0 < left <= 60
    assert kernel.evaluate("job.info().timeout") == left


def test_a_cell_in_a_thread_is_refused_with_a_sentence(kernel):
    kernel.ok("gate = threading.Event()")
    kernel.ok("%%atask busy\ngate.wait(60)")
    cell = kernel.run("%tasks pause busy")
    kernel.ok("gate.set()")
    assert cell.error.ename == "UsageError"
    assert "%tasks cancel busy" in cell.error.evalue


def test_a_failure_in_a_group_reaches_a_paused_task(kernel):
    kernel.ok("%%atask held -g g\nawait asyncio.sleep(60)")
    kernel.ok("%tasks pause held")
    kernel.ok("%%atask bad -g g\nawait asyncio.sleep(0)\n1/0")
    assert kernel.run("%tasks wait -g g").error.ename == "TasksFailedError"
    assert kernel.evaluate("held.cancelled()")
