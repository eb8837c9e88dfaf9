"""`%tasks` and `%asyncnb`."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def three(kernel):
    """One task waits, one is done, one failed."""
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask waiter\nprint('heard from waiter')\nawait gate.wait()\n'opened'")
    kernel.ok("%%atask finisher\nprint('heard from finisher')\nawait asyncio.sleep(0, 1);")
    failing = kernel.ok("%%atask failer\nawait asyncio.sleep(0)\nraise ValueError('broken')")
    failing.wait_for(lambda c: c.errors)
    kernel.ok("finisher.join(10);")
    return kernel


def row(text: str, name: str) -> str:
    """The line of a table that has a task's name."""
    (line,) = [line for line in text.splitlines() if re.search(rf"\b{name}\b", line)]
    return line


def test_tasks_lists_names_and_states(three):
    text = three.ok("%tasks").text
    assert re.search(r"running|waiting", row(text, "waiter"))
    assert "done" in row(text, "finisher")
    assert "failed" in row(text, "failer")


def test_tasks_says_why_a_task_failed_and_where_it_was_launched(three):
    text = row(three.ok("%tasks").text, "failer")
    assert "ValueError" in text or "broken" in text


def test_tasks_with_a_pattern_lists_what_matches(three):
    text = three.ok("%tasks f*").text
    assert "finisher" in text and "failer" in text and "waiter" not in text


def test_tasks_failed_lists_the_failed(three):
    text = three.ok("%tasks --failed").text
    assert "failer" in text and "finisher" not in text and "waiter" not in text


def test_tasks_all_lists_tasks_nobody_launched_as_well(three):
    three.ok("inner = asyncio.create_task(gate.wait(), name='inner-one'); await asyncio.sleep(0)")
    assert "inner-one" not in three.ok("%tasks").text
    text = three.ok("%tasks --all").text
    assert "inner-one" in text and "waiter" in text
    three.ok("gate.set(); await inner")


def test_tasks_without_any_says_so(kernel):
    cell = kernel.ok("%tasks")
    assert cell.text.strip()
    assert cell.errors == []


def test_tasks_does_not_run_what_a_name_contains(kernel):
    kernel.ok("asyncnb.launch(asyncio.sleep(60), name='<img src=x onerror=alert(1)>')")
    cell = kernel.ok("%tasks")
    html = "".join(
        c["data"].get("text/html", "") for c in cell.of_type("display_data", "execute_result")
    )
    assert "<img" not in html
    assert "onerror" in cell.text


def test_tasks_works_while_the_loop_is_blocked(kernel):
    kernel.ok("blocked = threading.Event()")
    kernel.ok("%%atask blocker --on loop\nblocked.set()\ntime.sleep(2)")
    kernel.ok("assert blocked.wait(10)")
    assert "blocker" in kernel.ok("%tasks", 10).text
    kernel.ok("blocker.join(10)")


def test_tasks_output_shows_what_a_task_printed_here(three):
    cell = three.ok("%tasks output finisher")
    assert "heard from finisher" in cell.text
    assert "heard from waiter" not in cell.text


def test_tasks_rename_renames(three):
    three.ok("%tasks rename waiter renamed")
    assert three.evaluate("[t.get_name() for t in asyncnb.tasks() if not t.done()]") == ["renamed"]
    assert three.evaluate("asyncnb.task('renamed') is waiter")
    text = three.ok("%tasks").text
    assert "renamed" in text and "waiter" not in text


def test_tasks_clear_forgets_the_finished_ones(three):
    three.ok("%tasks clear")
    assert three.evaluate("[t.get_name() for t in asyncnb.tasks()]") == ["waiter"]
    assert three.evaluate("finisher.result()") == 1


def test_tasks_wait_waits_for_the_named(three):
    three.ok("await asyncio.sleep(0); asyncio.get_running_loop().call_later(0.05, gate.set);")
    three.ok("%tasks wait waiter", 10)
    assert three.evaluate("waiter.result()") == "opened"


def test_tasks_wait_waits_for_a_glob_and_for_all(three):
    three.ok("a = asyncnb.launch(asyncio.sleep(0.05, 'a'), name='slow-a')")
    three.ok("b = asyncnb.launch(asyncio.sleep(0.05, 'b'), name='slow-b')")
    three.ok("%tasks wait slow-*", 10)
    assert three.evaluate("(a.done(), b.done(), waiter.done())") == (True, True, False)
    three.ok("c = asyncnb.launch(asyncio.sleep(0.05, 'c'))")
    three.ok("%tasks clear")  # of the failed one, which would fail the wait
    three.ok("await asyncio.sleep(0); gate.set()")
    three.ok("%tasks wait", 10)
    assert three.evaluate("(c.done(), waiter.done())") == (True, True)


def test_tasks_wait_with_a_time_gives_up_and_says_so(three):
    cell = three.run("%tasks wait waiter -t 0.05", 10)
    assert cell.status == "error"
    assert cell.error.ename in ("TimeoutError", "UsageError")
    assert "waiter" in cell.error.evalue + cell.text
    assert three.evaluate("waiter.done() or waiter.cancelling() > 0") is False


def test_tasks_wait_on_the_loop_thread_refuses_instead_of_deadlocking(three):
    cell = three.run("await asyncio.sleep(0)\n%tasks wait waiter", 10)
    assert cell.status == "error"
    assert "await" in cell.error.evalue
    assert three.ok("await asyncio.sleep(0, 1)", 10).result == "1"


def test_tasks_cancel_says_what_it_cancelled(three):
    cell = three.ok("%tasks cancel waiter")
    three.ok("await asyncio.wait([waiter], timeout=10);")
    assert "waiter" in cell.text or "1 task" in cell.text
    assert three.evaluate("waiter.cancelled()")


def test_tasks_cancel_takes_several_patterns(kernel):
    kernel.ok("for n in 'abc': asyncnb.launch(asyncio.sleep(60), name=n)")
    kernel.ok("%tasks cancel a c")
    kernel.ok("await asyncio.wait([asyncnb.task('a'), asyncnb.task('c')], timeout=10);")
    assert kernel.evaluate("[asyncnb.task(n).cancelled() for n in 'abc']") == [True, False, True]


def test_python_variables_are_expanded_as_in_every_line_magic(three):
    three.ok("which = 'waiter'")
    three.ok("%tasks cancel {which}")
    three.ok("await asyncio.wait([waiter], timeout=10);")
    assert three.evaluate("waiter.cancelled()")


def test_status_tells_the_versions(kernel):
    text = kernel.ok("%asyncnb").text
    versions = kernel.evaluate(
        "[__import__('sys').version.split()[0], __import__('IPython').__version__,"
        " __import__('ipykernel').__version__]"
    )
    for version in versions:
        assert version in text


@pytest.mark.parametrize(("kind", "other"), [("uvloop", "asyncio"), ("asyncio", "uvloop")])
def test_status_tells_the_kind_of_loop_that_was_asked_for(start_kernel, kind, other):
    kernel = start_kernel(env={"ASYNCNB_LOOP": kind})
    if not kernel.evaluate(f"__import__('importlib').util.find_spec({kind!r}) is not None"):
        pytest.skip(f"no {kind} in this kernel's Python")
    line = next(n for n in kernel.ok("%asyncnb").text.splitlines() if "loop" in n)
    assert kind in line
    assert other not in line


def test_restart_cancels_the_tasks_with_their_cleanup_and_gives_a_working_loop(fresh_kernel):
    kernel = fresh_kernel
    kernel.ok("started = threading.Event(); log = []")
    kernel.ok(
        """
        %%atask job
        try:
            started.set(); await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05); log.append("cleaned up")
        """
    )
    kernel.ok("assert started.wait(10); job = asyncnb.task('job')")
    kernel.ok("%asyncnb restart", 10)
    assert kernel.evaluate("(job.cancelled(), log)") == (True, ["cleaned up"])
    cell = kernel.ok("%%atask after\nprint('spoke')\nawait asyncio.sleep(0, 42)")
    cell.wait_for("42")
    assert (
        kernel.ok(
            "await asyncio.sleep(0); asyncio.get_running_loop() is asyncnb.embedded_loop()"
        ).result
        == "True"
    )


def test_the_magics_explain_themselves(kernel):
    for magic in ("%%atask", "%atask", "%%agroup", "%tasks", "%asyncnb"):
        cell = kernel.ok(f"{magic}?")
        payload = cell.reply["payload"]
        text = payload[0]["data"]["text/plain"] if payload else cell.text
        assert "Docstring" in text and len(text) > 200, magic
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        # Lines to copy are indented deeper than the others.
        used = [line for line in text.splitlines() if line.startswith("    ") and line.strip()]
        assert len(used) >= 3 and any(line.strip().startswith(magic) for line in used), magic
