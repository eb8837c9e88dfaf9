"""Recording: what a traced task did, when, and what it costs those that are not traced."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref

import pytest

import asyncnb
from asyncnb._core.primitives import tasks as _tasks
from asyncnb._core.tracing import recording as _trace
from asyncnb._core.tracing import traced_loops as _traced_loops
from asyncnb._core.tracing.traced_coroutine import TracedCoroutine
from asyncnb.testing import clear_ended, run_virtual


def recorded(main, **options):
    """The recording of a program under virtual time, and its tasks' traces by name."""
    with asyncnb.record(**options) as recording:
        run_virtual(main)
    return recording, {trace.name: trace for trace in recording.traces.values()}


async def work(seconds, busy=0.0):
    await asyncio.sleep(seconds)
    asyncio.get_running_loop().advance(busy)
    await asyncio.sleep(seconds)


def test_steps_record_when_a_task_ran_and_where_it_waited():
    async def main():
        await asyncnb.create_task(work(1.0, busy=0.5), name="worker")

    recording, traces = recorded(main())
    steps = recording.steps_of()[traces["worker"].id]
    assert [(s.start, s.end) for s in steps] == [(0, 0), (1.0, 1.5), (2.5, 2.5)]
    assert [s.code and s.code.co_qualname for s in steps] == ["sleep", "sleep", None]
    assert (traces["worker"].steps, traces["worker"].seconds) == (3, 0.5)
    assert (traces["worker"].started, traces["worker"].ended) == (0, 2.5)


CHILDREN = {
    "asyncnb.create_task": "await asyncnb.create_task(work(1), name='child')",
    "asyncio.create_task": "await asyncio.create_task(work(1), name='child')",
    "asyncnb.TaskGroup": """
async with asyncnb.TaskGroup() as g: g.create_task(work(1), name='child')""",
    "asyncio.TaskGroup": """
async with asyncio.TaskGroup() as g: g.create_task(work(1), name='child')""",
    "asyncnb.gather": "await asyncnb.gather(asyncnb.create_task(work(1), name='child'))",
    "gather, keeping failures": """
await asyncnb.gather(asyncnb.create_task(work(1), name='child'), return_exceptions=True)""",
    "asyncio.gather": "await asyncio.gather(asyncio.create_task(work(1), name='child'))",
    "wait": "await asyncnb.wait([asyncnb.create_task(work(1), name='child')])",
    "shield": "await asyncnb.shield(asyncnb.create_task(work(1), name='child'))",
    "wait_for": "await asyncnb.wait_for(asyncnb.create_task(work(1), name='child'), 9)",
    "as_completed": """
async for done in asyncnb.as_completed([asyncnb.create_task(work(1), name='child')]): await done""",
    "eagerly": "await asyncnb.create_task(work(1), name='child', eager_start=True)",
    "with a timeout": "await asyncnb.create_task(work(1), name='child', timeout=9)",
}


@pytest.mark.parametrize("way", CHILDREN)
def test_children_are_recorded_with_their_parent_and_who_awaited_them(way):
    code = "async def main():\n" + "\n".join(f"    {x}" for x in CHILDREN[way].splitlines())
    names: dict = {"asyncnb": asyncnb, "asyncio": asyncio, "work": work}
    exec(code, names)
    _, traces = recorded(names["main"]())
    child, parent = traces["child"], traces["Task-1" if "Task-1" in traces else min(traces)]
    assert child.parent == parent.id
    assert child.awaited_by == [(2, parent.id)]
    assert child.state == "done"


def test_a_wait_for_a_task_names_it():
    async def main():
        await asyncnb.create_task(work(1), name="awaited")

    recording, traces = recorded(main())
    first = recording.steps[0]
    assert first.on == traces["awaited"].id


def test_cancellations_and_timeouts_are_recorded_when_they_are_delivered():
    async def patient():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(2)

    async def limited():
        try:
            async with asyncnb.timeout(3):
                await asyncio.sleep(60)
        except TimeoutError:
            await asyncio.sleep(1)

    async def main():
        task = asyncnb.create_task(patient(), name="patient")
        other = asyncnb.create_task(limited(), name="limited")
        await asyncio.sleep(1)
        task.cancel("no more")
        await asyncnb.wait([task, other])

    _, traces = recorded(main())
    assert traces["patient"].events == [(1, "cancel", "no more")]
    assert (traces["patient"].state, traces["patient"].ended) == ("cancelled", 3)
    assert traces["limited"].events == [(3, "timeout", ""), (3, "on", "")]
    assert (traces["limited"].state, traces["limited"].ended) == ("done", 4)


@pytest.mark.parametrize("by", ["timeout", "timeout_at", "wait_for"])
def test_asyncios_own_timeouts_are_distinguished_from_cancellations(by):
    if by == "wait_for" and sys.version_info < (3, 12):
        pytest.skip("it cancels what it waits for, not the task that waits")

    async def limited():
        try:
            if by == "wait_for":
                await asyncio.wait_for(asyncio.Event().wait(), 3)
            elif by == "timeout":
                async with asyncio.timeout(3):
                    await nested()
            else:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + 3):
                    await nested()
        except TimeoutError:
            pass

    async def nested():
        async with asyncio.timeout(60):
            await asyncio.sleep(60)

    async def main():
        task = asyncnb.create_task(limited(), name="limited")
        other = asyncnb.create_task(limited(), name="cancelled")
        await asyncio.sleep(1)
        other.cancel()
        await asyncnb.wait([task, other])

    _, traces = recorded(main())
    assert traces["limited"].events[0] == (3, "timeout", "")
    assert traces["cancelled"].events[0] == (1, "cancel", "")


def test_a_failure_is_raised_unchanged_and_recorded():
    class Sly(Exception):
        def __str__(self):
            raise RuntimeError

    async def fail(exc):
        await asyncio.sleep(1)
        raise exc

    async def main():
        one = asyncnb.create_task(fail(ValueError("no")), name="one")
        two = asyncnb.create_task(fail(Sly()), name="two")
        with pytest.raises(ValueError, match="no"):
            await one
        with pytest.raises(Sly):
            await two

    _, traces = recorded(main())
    assert traces["one"].error == "ValueError: no"
    assert traces["two"].error == "Sly: <its __str__ raised RuntimeError>"


def test_a_task_cancelled_before_its_first_step_ends_cancelled():
    async def never():
        raise AssertionError

    async def main():
        task = asyncnb.create_task(never(), name="never")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    _, traces = recorded(main())
    assert traces["never"].state == "cancelled"


def test_the_ring_keeps_the_newest_steps_and_counts_the_dropped():
    async def main():
        for _ in range(100):
            await asyncio.sleep(1)

    recording, _ = recorded(main(), most_steps=10)
    assert len(recording.steps) == 10
    assert recording.steps[-1].end == 100
    data = asyncnb.timeline(recording).data
    assert data["dropped"] == 91
    assert "91 older steps" in asyncnb.timeline(recording).text()


def test_a_recording_drops_the_oldest_ended_tasks():
    recording = asyncnb.record()
    recording.most_tasks = 5

    async def main():
        for number in range(20):
            await asyncnb.create_task(asyncio.sleep(1), name=f"task {number}")

    with recording:
        run_virtual(main())
    assert len(recording.traces) == 5
    assert recording.tasks_dropped == 16


def test_a_recording_keeps_no_task_alive():
    class Result:
        pass

    refs = []

    async def main():
        async def make():
            await asyncio.sleep(1)
            result = Result()
            refs.append(weakref.ref(result))
            return result

        await asyncnb.create_task(make())

    recording, _ = recorded(main())
    gc.collect()
    assert refs[0]() is None
    assert recording.steps


def test_a_recording_keeps_no_launched_task_alive_but_its_facts():
    class Result:
        pass

    async def make():
        await asyncio.sleep(0)
        return Result()

    task = asyncnb.launch(make(), name="maker", trace=True)
    ref = weakref.ref(task.join(10))
    asyncnb.run(asyncio.sleep(0))
    del task
    clear_ended()
    gc.collect()
    assert ref() is None
    rows = {row["name"]: row["state"] for row in asyncnb.timeline().data["rows"]}
    assert rows["maker"] == "done"
    _trace.recorder.clear()


def test_introspection_of_a_traced_task_shows_its_own_coroutine():
    async def inner():
        await asyncio.sleep(1)

    async def outer():
        await inner()

    async def main():
        coro = outer()
        task = asyncnb.create_task(coro, name="seen")
        await asyncio.sleep(0.5)
        assert task.get_coro() is coro
        assert [f.f_code.co_name for f in task.get_stack()] == ["outer", "inner", "sleep"]
        assert "inner" in asyncnb.format_call_graph(task)
        assert "outer" in repr(task)
        await task

    recorded(main())


def test_uncancel_works_in_a_traced_task():
    async def main():
        task = asyncnb.current_task()
        task.cancel()
        task.uncancel()
        await asyncio.sleep(1)
        return "went on"

    with asyncnb.record():
        assert run_virtual(_outer(main())) == "went on"


async def _outer(coro):
    return await asyncnb.create_task(coro)


def test_tasks_outside_the_block_are_created_as_usual():
    seen = []
    gc.collect()

    async def main():
        task = asyncnb.create_task(asyncio.sleep(0))
        seen.append(type(task._coro))
        await task

    recorded(main())
    run_virtual(main())
    assert seen[0] is TracedCoroutine
    assert seen[1] is not TracedCoroutine
    assert _tasks._wrap_coroutine is None, "creating tasks still costs more than before"


def test_launched_tasks_are_recorded_on_request_with_plain_asyncio_tasks_they_create():
    async def child():
        await asyncio.sleep(0)

    async def main():
        await asyncio.create_task(child(), name="plain child")

    loop = asyncnb.embedded_loop()
    untraced = asyncnb.launch(main())
    untraced.join(10)
    assert untraced._record.trace is None
    task = asyncnb.launch(main(), name="traced root", trace=True)
    task.join(10)
    asyncnb.run(asyncio.sleep(0))
    assert "create_task" not in vars(loop), "the hook stays when it is no longer needed"
    traces = {trace.current_name(): trace for trace in _trace.recorder.traces.values()}
    assert traces["plain child"].parent == task._record.id == traces["traced root"].id
    assert task._record.trace.steps >= 2
    _trace.recorder.clear()
    assert not _trace.recorder.steps


def test_a_program_that_never_records_has_no_overhead():
    # In a fresh interpreter the hook that children are made through is not even there.
    import subprocess
    import sys

    code = (
        "import asyncnb; from asyncnb._core.primitives import tasks; print(tasks._wrap_coroutine)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "None\n", done.stderr
    assert not hasattr(asyncnb.Task, "send")


@pytest.mark.parametrize("most", [0, -1])
def test_a_recording_of_no_steps_is_refused(most):
    with pytest.raises(ValueError, match="most_steps must be 1 or more"):
        asyncnb.record(most)


def launch_traced():
    child = []

    async def parent():
        child.append(asyncio.create_task(asyncio.sleep(0), name="child"))
        await child[0]

    with asyncnb.record() as recording:
        task = asyncnb.launch(parent())
    task.join(10)
    return [trace.name for trace in recording.traces.values() if trace.name == "child"]


@pytest.fixture
def own_create_task():
    """The loop, and a create_task that other code sets on it and that counts."""
    loop, made = asyncnb.embedded_loop(), []

    def over(before):
        def create_task(coro, **kwargs):
            made.append(1)
            return before(coro, **kwargs)

        return create_task

    yield loop, made, over
    vars(loop).pop("create_task", None)
    assert not _traced_loops._watched


def test_a_create_task_that_other_code_has_set_stays_and_is_called(own_create_task):
    loop, made, over = own_create_task
    theirs = loop.create_task = over(loop.create_task)
    assert launch_traced() == ["child"]
    assert vars(loop)["create_task"] is theirs
    assert len(made) == 1


def test_a_create_task_that_wraps_the_hook_stays_and_passes_on(own_create_task):
    loop, made, over = own_create_task
    with asyncnb.record():
        going = asyncnb.launch(asyncio.sleep(60))
    theirs = loop.create_task = over(loop.create_task)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        going.join(10)
    assert vars(loop)["create_task"] is theirs
    assert launch_traced() == ["child"]  # as often as there is a recording
    assert launch_traced() == ["child"]
    assert vars(loop)["create_task"] is theirs
    assert len(made) == 2


def test_the_hook_is_gone_with_the_last_traced_task(own_create_task):
    loop, _, _ = own_create_task
    assert launch_traced() == ["child"]
    assert "create_task" not in vars(loop)
