"""%%amap: a cell as a function of each item, as one task."""

from __future__ import annotations

import pytest


def test_a_cell_runs_for_each_item_within_the_limit_and_its_variables_are_its_own(kernel):
    kernel.ok("running = most = 0\nfactor = 10")
    cell = kernel.ok(
        """
        %%amap tens n in range(12) --limit 3 -o out
        global running, most
        running += 1
        most = max(most, running)
        mine = n
        await asyncio.sleep(0.001)
        running -= 1
        print("item", mine)
        mine * factor
        """
    )
    assert kernel.evaluate("tens.join(10)") == [10 * n for n in range(12)]
    cell.wait_for("12/12 done")
    assert kernel.evaluate("(out[3], most, 'mine' in globals(), 'n' in globals())") == (
        30, 3, False, False,
    )  # fmt: skip
    assert all(kernel.where(f"item {n}\n") == [cell] for n in (0, 11))
    assert kernel.evaluate("[t.get_name() for t in asyncnb.tasks()]") == ["tens"]
    assert kernel.evaluate("(type(tens).__name__, tens.task is asyncnb.task('tens'))") == (
        "MapRun",
        True,
    )


def test_a_cell_without_await_runs_in_threads_and_names_several_parts_of_an_item(kernel):
    kernel.ok(
        """
        %%amap sums (a, *more) in [(1, 2, 3), (4,)] -o out --quiet
        if not more:
            return threading.current_thread() is threading.main_thread()
        import math
        !echo {a}
        sum(more)
        """
    )
    kernel.ok("%tasks wait sums")
    assert kernel.evaluate("(out, 'math' in globals())") == ([5, False], False)


def test_failures_are_shown_once_as_a_short_group_and_the_rest_of_the_results_is_kept(kernel):
    cell = kernel.ok(
        """
        %%amap odd n in range(1000) -o out
        await asyncio.sleep(0)
        assert n % 50, f"no {n}"
        n
        """
    )
    kernel.run("%tasks wait odd")
    kernel.drain()
    assert "1000/1000, 20 failed" in cell.text
    assert cell.text.count("Traceback") + cell.text.count("ItemsFailedError") == 1
    assert "20 of 1000 items failed in 'odd'" in cell.text
    assert '----> 3 assert n % 50, f"no {n}"' in cell.text
    assert "no 450" in cell.text
    assert "no 500" not in cell.text
    table = kernel.ok("%tasks").result
    assert "AssertionError: no 0 (20 of 1000 items failed)" in table
    assert kernel.evaluate("(out[1], repr(out[50]), len(odd.failed))") == (
        1,
        "AssertionError('no 50')",
        20,
    )


def test_failed_items_run_again_by_their_name(kernel):
    kernel.ok("works = False")
    kernel.ok("%%amap fragile n in 'abc' --quiet\nassert works or n != 'b'\nn * 2")
    kernel.run("%tasks wait fragile")
    assert kernel.evaluate("fragile.counts().failed") == 1
    kernel.ok("works = True")
    assert "fragile: running 1 failed item again" in kernel.ok("%tasks retry fragile").stdout
    assert kernel.evaluate("fragile.join(10)") == ["aa", "bb", "cc"]
    assert (
        "were run again, and none failed"
        in kernel.run(
            "from asyncnb._core.launched import commands\n"
            "from asyncnb._core.launched.registry import registry\n"
            "commands.retry(registry.records()[0])"
        ).error.evalue
    )
    assert "No item of 'fragile' has failed" in kernel.run("%tasks retry fragile").error.evalue


def test_a_cell_that_is_run_again_replaces_its_run_or_not(kernel):
    kernel.ok("gate = asyncio.Event()\nbegun = []")
    code = "%%amap slow n in range(3) --quiet {}\nbegun.append(n)\nawait gate.wait()\nn"
    kernel.ok(code.format(""))
    kernel.ok("first = slow\nwhile len(begun) < 3: await asyncio.sleep(0)")
    assert "nothing was started" in kernel.ok(code.format("--again skip")).stdout
    assert kernel.evaluate("slow is first")
    assert "still running" in kernel.run(code.format("--again error")).error.evalue
    kernel.ok(code.format(""))
    kernel.ok("while len(begun) < 6: await asyncio.sleep(0)\ngate.set()")
    assert kernel.evaluate("(slow.join(10), slow is first, first.task.cancelled())") == (
        [0, 1, 2],
        False,
        True,
    )


def test_wait_keeps_the_cell_busy_and_raises_the_failure_there(kernel):
    cell = kernel.run("%%amap bad n in range(3) --wait --quiet\nassert n\nn")
    assert cell.error.ename == "ItemsFailedError"
    assert kernel.ok("%%amap good n in range(3) --wait --quiet -o out\nn\n")
    assert kernel.evaluate("out") == [0, 1, 2]


def test_the_first_failure_ends_the_run_with_on_error_cancel(kernel):
    kernel.ok(
        "%%amap strict n in range(9) --on-error cancel --limit 1 --quiet\nassert n < 2\nawait "
        "asyncio.sleep(0)\nn"
    )
    kernel.run("%tasks wait strict")
    assert kernel.evaluate("strict.counts().started") <= 3
    assert kernel.evaluate("type(strict.task.exception()).__name__") == "AssertionError"


REFUSED = {
    "n in 5\nn": "write range(5)",
    "n in range(3) --on kernel\nn": "Omit --on",
    "n in range(3) --on thread\nawait asyncio.sleep(0)": "this cell awaits",
    "n in range(3) --on nowhere\nn": "there is no variable 'nowhere'",
    "n in range(3) --retry nothing\nn": "there is no variable 'nothing'",
    "n in range(3)\ntotal += n": "'total' is changed, but each item has its own variables",
    "n in range(3)\nyield n": "would be a generator",
    "n in range(3)\n# n": "no code to run",
    "n in nothing\nn": "name 'nothing' is not defined",
    "n in range(3)\nn +": "invalid syntax",
    "'a*' n in range(3)\nn": "glob",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_cell_that_cannot_run_is_refused_before_anything_starts(kernel, text):
    kernel.ok("total = 0")
    error = kernel.run(f"%%amap {text}").error
    assert REFUSED[text] in error.evalue
    assert kernel.evaluate("[t.get_name() for t in asyncnb.tasks()]") == []


def test_the_same_cell_continues_in_the_next_kernel_whatever_its_options(fresh_kernel, tmp_path):
    code = f"%%amap n in range(6) --save '{tmp_path / 'run.db'}' -o out {{}}\n" + (
        "calls.append(n)\nif n > 2: await gate.wait()\nn * 2"
    )
    fresh_kernel.ok("calls, gate = [], asyncio.Event()")
    fresh_kernel.submit(code.format("--limit 6")).wait_for("3/6")
    fresh_kernel.restart()
    fresh_kernel.ok("calls, gate = [], asyncio.Event()\ngate.set()")
    cell = fresh_kernel.ok(code.format("--limit 2 --wait"))
    assert fresh_kernel.evaluate("(out, sorted(calls))") == ([0, 2, 4, 6, 8, 10], [3, 4, 5])
    assert "3 done already" in cell.text
    assert "changed" not in cell.text
    cell = fresh_kernel.ok(code.format("--wait").replace("n * 2", "n * 3"))
    assert "has changed since 6 of these were saved" in cell.text


def test_a_file_that_cannot_be_used_is_refused_in_the_cell(kernel, tmp_path):
    file = tmp_path / "run.db"
    code = "%%amap {} n in range(3) --save '{}' --quiet {}\nawait gate.wait()\nn"
    kernel.ok("gate = asyncio.Event()")
    kernel.ok(code.format("a", file, ""))
    refused = kernel.run(code.format("a", file, "--again keep"))
    assert "in use by the run 'a' of this process" in refused.error.evalue
    assert f"--save {tmp_path}" in kernel.run(code.format("b", tmp_path, "")).error.evalue
    other = kernel.run(code.format("b", file, "--after a")).error.evalue
    assert "holds outcomes of __main__.a" in other
    assert "--save takes a variable that holds one" in other
    assert "nothing was started" in kernel.ok(code.format("a", file, "--again skip")).stdout
    assert kernel.evaluate("len(asyncnb.tasks())") == 1
    kernel.ok(code.format("a", file, ""))  # replaces the run that has the file
    kernel.ok(f"gate.set()\nknown = asyncnb.Save({str(file)!r}, function='__main__.a')")
    assert kernel.evaluate("a.join(10)") == [0, 1, 2]
    cell = kernel.ok(code.format("b", "known", "--wait"))
    assert "3 done already" in cell.text
    kernel.ok("import gc; gc.collect()")
    assert kernel.where("RuntimeWarning") == []


def test_a_run_that_is_cancelled_before_its_first_step_leaves_its_file_free(kernel, tmp_path):
    line = f"a n in range(3) --save '{tmp_path / 'run.db'}' --quiet"
    kernel.ok(
        f"""
        await asyncio.sleep(0)  # in a task of the loop: no other one runs before the cancel
        get_ipython().run_cell_magic("amap", {line!r}, "n")
        a.cancel()
        await asyncio.sleep(0)
        """
    )
    kernel.run("%tasks wait a")
    kernel.ok(f"%%amap {line} --wait\nn")


def test_items_that_are_run_again_bind_the_results_again_and_the_cell_replaces_that_run(kernel):
    code = (
        "%%amap odd n in range(3) -o out --quiet\nif slow: await gate.wait()\n"
        "assert works or n - 1\nn"
    )
    kernel.ok("gate, slow, works = asyncio.Event(), False, False")
    kernel.ok(code)
    kernel.run("%tasks wait odd")
    assert kernel.evaluate("repr(out)") == "[0, AssertionError(), 2]"
    kernel.ok("works = True")
    kernel.ok("%tasks retry odd\nodd.join(10)")
    assert kernel.evaluate("out") == [0, 1, 2]

    kernel.ok("works = False")
    kernel.ok(code)
    kernel.run("%tasks wait odd")
    kernel.ok("slow = True\n%tasks retry odd\nagain = odd.task")
    kernel.ok(code)
    kernel.ok("gate.set()")
    kernel.run("%tasks wait odd")
    assert kernel.evaluate("(again.cancelled(), odd.task is again)") == (True, False)


def test_a_cell_that_starts_after_others_evaluates_its_items_then_and_follows_them(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask load\nawait gate.wait()\nfound = [1, 2, 4]")
    cell = kernel.ok("%%amap half n in found --after load --follow -o out\n8 // n")
    table = kernel.ok("%tasks").result
    assert "after load" in table
    assert "follows load" in table
    kernel.ok("first = half")
    assert kernel.evaluate("(half.counts().total, half.done())") == (None, False)
    assert "at most 2 calls" in kernel.ok("%tasks limit half 2").stdout
    kernel.ok("gate.set()")
    assert kernel.evaluate("(half.join(10), out, half.counts().total)") == (
        [8, 4, 2],
        [8, 4, 2],
        3,
    )
    kernel.ok("%%atask load\nfound = [1]")
    kernel.ok("%tasks wait half")
    assert kernel.evaluate("(half is first, half.join(10), out)") == (False, [8], [8])
    assert first_and_last(cell) == ("3/3", "1/1")
    kernel.ok("%%atask load\nfound = 5")
    kernel.run("%tasks wait half")
    cell.wait_for("write range(5)")
    assert "raised for the expression after `in`: found" in cell.text
    assert kernel.evaluate("out") == [8]


def first_and_last(cell):
    """The counts of the first and of the last bar that is full below a cell."""
    full = [part for part in cell.text.split() if part in ("3/3", "1/1")]
    return full[0], full[-1]


def test_a_cell_whose_prerequisite_fails_does_not_run(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask load\nawait gate.wait()\n1 / 0")
    cell = kernel.ok("%%amap half n in never_bound --after load\nn")
    kernel.ok("gate.set()")
    kernel.run("%tasks wait half")
    cell.wait_for("half did not run: load failed: ZeroDivisionError")
    assert "run its cell again" in kernel.run("half.retry()").error.evalue
    after = kernel.ok("%%amap any n in [1, 2] --after load --even-if-failed --wait -o out\nn")
    assert after.status == "ok"
    assert kernel.evaluate("out") == [1, 2]


@pytest.mark.parametrize("kind", ["map", "amap"])
def test_a_run_of_many_items_is_something_to_start_after(kernel, kind):
    kernel.ok("gate = asyncio.Event()\nasync def call(n): await gate.wait(); return n")
    if kind == "map":
        kernel.ok("calls = asyncnb.map(call, range(3), name='calls').start()")
    else:
        kernel.ok("%%amap calls n in range(3) --quiet\nawait call(n)")
    kernel.ok("%%atask total --after calls -o out\nsum(await calls)")
    assert kernel.evaluate("asyncnb.task('total').info().state") == "pending"
    kernel.ok("gate.set()")
    kernel.ok("%tasks wait total")
    assert kernel.evaluate("out") == 3


def test_an_interrupt_of_a_cell_that_waits_leaves_the_run_alone(kernel):
    kernel.ok("gate = asyncio.Event()")
    cell = kernel.submit(
        "%%amap n in range(3) --wait -o out --quiet\nprint(n)\nawait gate.wait()\nn"
    )
    cell.wait_for("2\n")
    kernel.interrupt()
    assert cell.wait().error.ename == "KeyboardInterrupt"
    kernel.ok("gate.set()\nasyncnb.tasks()[0].join(10)")
    assert kernel.evaluate("out") == [0, 1, 2]
