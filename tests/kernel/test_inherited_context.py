"""`-X thread_inherit_context=1`, of 3.14: a new thread begins in the context of its starter.

Free-threaded Python does so by default. Output follows the context, so it follows into threads; and
the threads that asyncnb starts for the whole notebook must not keep the cell that started them.
"""

from __future__ import annotations

import pytest


@pytest.fixture
def inheriting(start_kernel):
    kernel = start_kernel(env={"PYTHON_THREAD_INHERIT_CONTEXT": "1"})
    if not kernel.evaluate("getattr(sys.flags, 'thread_inherit_context', 0)"):
        pytest.skip("threads inherit no context in this Python")
    return kernel


def test_a_thread_that_a_task_starts_prints_in_the_cell_of_the_task(inheriting):
    if not inheriting.has_subshells:
        pytest.skip("ipykernel 6 routes a thread's output by the thread, not by its context")
    inheriting.ok("gate = asyncio.Event()")
    cell = inheriting.ok(
        """
        %%atask job
        await gate.wait()
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        await asyncio.to_thread(thread.join)
        """
    )
    inheriting.ok("gate.set(); await job")
    inheriting.drain()
    assert inheriting.where("from a thread") == [cell]


def test_the_threads_that_a_library_starts_in_a_task_speak_in_the_cell_of_the_task(inheriting):
    if not inheriting.has_subshells:
        pytest.skip("ipykernel 6 routes a thread's output by the thread, not by its context")
    inheriting.ok("gate = asyncio.Event()")
    cell = inheriting.ok(
        """
        %%atask job
        from concurrent.futures import ThreadPoolExecutor
        from tqdm import tqdm
        await gate.wait()
        def work(name):
            for _ in tqdm(range(3), desc=name): pass
            sys.stdout.write(name + " printed\\n")  # in one piece, unlike print()
        with ThreadPoolExecutor(2) as pool:
            await asyncio.to_thread(list, pool.map(work, ["first", "second"]))
        """
    )
    inheriting.ok("gate.set(); await job")
    inheriting.drain()
    for text in "first printed", "second printed", "first:", "second:":
        assert inheriting.where(text) == [cell]


def test_the_threads_of_the_notebook_keep_no_cell(inheriting):
    """The first cell starts them: the loop's, that of the reports, a worker, the executor's."""
    first = inheriting.ok(
        """
        async def work(name):
            await asyncio.get_running_loop().run_in_executor(None, int)
            await asyncio.to_thread(print, name, "in a worker")
            asyncio.get_running_loop().call_soon(print, name, "in a callback")
            await asyncio.sleep(0.01)
            print(name, "in the loop")
            display(name + " displayed")
            raise ValueError(name + " failed")
        asyncnb.launch(work("first"), name="first");
        """
    )
    first.wait_for(lambda cell: cell.errors)
    second = inheriting.ok("asyncnb.launch(work('second'), name='second');")
    second.wait_for(lambda cell: cell.errors)
    plain = inheriting.ok("task = asyncio.create_task(work('plain')); del task")
    plain.wait_for(lambda cell: cell.errors)
    inheriting.drain()
    for name, cell in ("first", first), ("second", second), ("plain", plain):
        for what in "in a worker", "in a callback", "in the loop", "displayed":
            assert inheriting.where(f"{name} {what}") == [cell]
        assert [error.evalue for error in cell.errors] == [f"{name} failed"]
