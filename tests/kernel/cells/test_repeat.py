"""--every and --retry."""

from __future__ import annotations

BODIES = {"loop": "await asyncio.sleep(0)", "thread": "time.sleep(0)"}


def until(kernel, condition):
    kernel.ok(
        f"_end = time.monotonic() + 20\nwhile not ({condition}) and time.monotonic() < _end:"
        f" time.sleep(0.005)\nassert {condition}"
    )


def test_a_cell_runs_again_and_again_and_a_failing_round_is_shown_once(kernel):
    for kind, waits in BODIES.items():
        kernel.ok("rounds = 0")
        cell = kernel.ok(
            f"""
            %%atask poll --every 0.02 -o latest
            rounds += 1
            {waits}
            if rounds in (2, 3, 4):
                raise ValueError("no luck")
            rounds
            """
        )
        until(kernel, "rounds >= 7")
        info = kernel.evaluate("(poll.info().kind, poll.info().failures, poll.info().error)")
        assert info == (kind, 3, "ValueError: no luck")
        assert kernel.evaluate("latest >= 5 and poll.info().rounds >= 6")
        table = kernel.ok("%tasks poll").result
        assert "3 failed" in table
        assert "ValueError: no luck" in table
        kernel.ok("%tasks cancel poll")
        kernel.ok("%tasks wait poll")
        kernel.ok("before = rounds; time.sleep(0.05); assert rounds == before")
        assert len(cell.errors) == 1
        assert "line 5" in cell.errors[0].traceback
        assert "asyncnb" not in cell.errors[0].traceback
        kernel.ok("%tasks clear")


def test_different_failures_are_shown_each(kernel):
    kernel.ok("rounds = 0")
    cell = kernel.ok(
        "%%atask poll --every 0.01\nrounds += 1\nawait asyncio.sleep(0)\n"
        "if rounds < 3: raise ValueError(f'round {rounds}')"
    )
    until(kernel, "rounds >= 4")
    assert [e.evalue for e in cell.errors] == ["round 1", "round 2"]


def test_a_repeated_cell_is_replaced_paused_and_limited(kernel):
    kernel.ok("rounds = []")
    cell = "%%atask poll --every 0.01 {}\nrounds.append({!r})\ntime.sleep(0)"
    kernel.ok(cell.format("", "old"), cell_id="same")
    until(kernel, "len(rounds) > 2")
    kernel.ok(cell.format("-t 60", "new"), cell_id="same")
    until(kernel, "rounds[-1] == 'new'")
    assert kernel.ok("%tasks pause poll").stdout == "poll is paused\n"
    kernel.ok("time.sleep(0.05); before = len(rounds); time.sleep(0.05)")  # a round may be running
    assert kernel.evaluate("len(rounds) == before")
    kernel.ok("%tasks resume poll")
    until(kernel, "len(rounds) > before")
    kernel.ok("%tasks timeout poll 0")
    assert kernel.run("%tasks wait poll").error.ename == "TasksFailedError"
    assert "old" not in kernel.evaluate("rounds[before:]")


def test_an_expression_is_evaluated_anew_for_each_round(kernel):
    kernel.ok("calls = []\nasync def poll(): calls.append(1)")
    kernel.ok("t = %atask --every 0.01 poll()")
    until(kernel, "len(calls) > 2")
    assert kernel.evaluate("t.info().failures") == 0


def test_a_failing_cell_is_tried_again(kernel):
    kernel.ok("tries = 0")
    cell = kernel.ok(
        """
        %%atask job --retry 2
        tries += 1
        await asyncio.sleep(0)
        if tries < 2:
            raise ConnectionError("no answer")
        "there"
        """
    )
    assert kernel.ok("await job").result == "'there'"
    cell.wait_for("'there'")
    assert cell.stderr == "ConnectionError: no answer. Retrying in 0.5 s.\n"
    assert cell.errors == []
    assert kernel.evaluate("(tries, job.info().failures)") == (2, 1)


def test_a_cell_that_goes_on_failing_fails_with_the_last_failure(kernel):
    cell = kernel.ok("%%atask job --retry 1\nraise ConnectionError('no answer')\nawait sleep()")
    assert kernel.run("await job").error.evalue == "no answer"
    cell.wait_for(lambda c: c.errors)
    assert "2 failed attempts" in kernel.ok("%tasks job").result


def test_a_failing_round_is_shown_while_the_default_executor_is_full(fresh_kernel):
    fresh_kernel.ok(
        """
        import concurrent.futures
        gate = threading.Event()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        await asyncio.sleep(0)
        asyncio.get_running_loop().set_default_executor(pool)
        filled = asyncio.get_running_loop().run_in_executor(None, gate.wait, 60)
        """
    )
    cell = fresh_kernel.ok(
        "%%atask rounds --every 0.05\nawait asyncio.sleep(0)\nraise ValueError('of a round')"
    )
    cell.wait_for("of a round")
    assert not fresh_kernel.evaluate("gate.is_set()")
    fresh_kernel.ok("gate.set()\n%tasks cancel rounds")
