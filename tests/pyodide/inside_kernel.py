"""asyncnb in the kernel of JupyterLite, in Pyodide: run by ``run.mjs``.

The kernel's Python half is the one that JupyterLite loads. ``Page`` does what its JavaScript half
does: sets the parent of a cell, has the cell run, and reads the parent with every message.
"""

import asyncio
import json
import traceback

import js
import pyodide_kernel
from pyodide.ffi import can_run_sync


class Page:
    """The cells that were run, and which of them got what."""

    def __init__(self):
        self.kernel = kernel = pyodide_kernel.kernel_instance
        self.said = []
        streams = (pyodide_kernel.stdout_stream, pyodide_kernel.stderr_stream)
        for stream in streams:
            stream.publish_stream_callback = self._say
        publisher = kernel.interpreter.display_pub
        publisher.display_data_callback = lambda data, *_: self._say("display", data["text/plain"])
        publisher.update_display_data_callback = lambda data, *_: self._say("update", dict(data))
        hook = kernel.interpreter.displayhook
        hook.publish_execution_result = lambda _, data, __: self._say("result", data["text/plain"])
        self.number = 0

    def _say(self, kind, value):
        self.said.append((self.kernel._parent_header["header"]["msg_id"], kind, value))

    async def cell(self, code):
        """Run a cell and return its name; raise AssertionError if it fails."""
        name, reply = await self._run(code)
        assert reply["status"] == "ok", "\n".join(reply["traceback"])
        return name

    async def error(self, code):
        """Run a cell that fails and return what its reply says."""
        _, reply = await self._run(code)
        assert reply["status"] == "error", self.said
        return f"{reply['ename']}: {reply['evalue']}"

    async def refused(self, code):
        """Run a cell whose magic refuses; return the sentence."""
        return self.of(await self.cell(code), "stderr")

    async def _run(self, code):
        self.number += 1
        name = f"cell{self.number}"
        metadata = {"cellId": f"id{self.number}"}
        self.kernel._parent_header = {
            "header": {"msg_id": name},
            "metadata": metadata,
            "content": {},
        }
        return name, await self.kernel.run(code)

    async def until(self, cell, words):
        """Wait until a cell has printed ``words``."""
        while words not in self.of(cell):
            await asyncio.sleep(0.001)

    def of(self, cell, *kinds):
        """Return what a cell said, of these kinds or of all."""
        return "".join(v for c, k, v in self.said if c == cell and (not kinds or k in kinds))


async def test_loading_makes_the_running_loop_the_embedded_one(page):
    await page.cell("%load_ext asyncnb")
    await page.cell("import asyncio, asyncnb, time")
    await page.cell("assert asyncnb.embedded_loop() is asyncio.get_running_loop()")
    await page.cell("assert isinstance(asyncnb.embedded_loop(), asyncio.AbstractEventLoop)")
    status = page.of(await page.cell("%asyncnb"))
    assert "embedded loop  pyodide, up" in status, status


async def test_late_output_goes_to_its_own_cell(page):
    await page.cell("gate = asyncio.Event()")
    task = await page.cell("%%atask late\nprint('begun')\nawait gate.wait()\nprint('more')\n6 * 7")
    other = await page.cell("gate.set()\nprint('other')\nawait asyncnb.task('late')")
    await page.until(task, "42")
    assert page.of(task) == "begun\nmore\n42", page.of(task)
    assert page.of(other) == "other\n42", page.of(other)
    again = await page.cell("%tasks output late")
    assert page.of(again).startswith("begun\nmore\n"), page.of(again)


async def test_a_failure_stands_in_its_own_cell_once(page):
    task = await page.cell("%%atask broken\nawait asyncio.sleep(0)\n1 / 0")
    await page.until(task, "division by zero")
    await page.cell("await asyncio.sleep(0)")
    assert page.of(task).count("division by zero") == 1, page.of(task)
    assert "_background.py" not in page.of(task)


async def test_launch_find_cancel(page):
    await page.cell("job = asyncnb.launch(asyncio.sleep(60), name='job', timeout=50)")
    await page.cell("assert asyncnb.task('job') is job and job in asyncnb.tasks('j*')")
    await page.cell("await asyncio.sleep(0); assert job.info().state == 'waiting'")
    await page.cell("assert asyncnb.cancel('job') == [job]")
    await page.cell("await asyncio.wait([job]); assert job.cancelled()")
    assert "TaskNotFoundError" in await page.error("asyncnb.cancel('jib')")


async def test_time_runs_out(page):
    task = await page.cell("%%atask slow -t 0.05\nawait asyncio.sleep(60)")
    await page.until(task, "Task 'slow' did not finish within 0.05 s.")


async def test_groups_across_cells(page):
    await page.cell("g = asyncnb.open_group('g')")
    await page.cell("a = g.create_task(asyncio.sleep(0.01, 'a'))")
    await page.cell("await g\nassert a.result() == 'a'")
    await page.cell("%%agroup h\nb = h.create_task(asyncio.sleep(0.01, 'b'))")
    await page.cell("await asyncnb.task('h'); assert b.result() == 'b'")


async def test_primitives_on_the_page_s_own_loop(page):
    await page.cell(
        "async with asyncnb.TaskGroup() as group:\n"
        "    one = group.create_task(asyncnb.sleep(0.01, 1))\n"
        "async def give(value):\n    await asyncio.sleep(0)\n    return value\n"
        "assert await asyncnb.gather(*map(give, range(9)), limit=2) == list(range(9))\n"
        "found = [await each async for each in asyncnb.as_completed([give(1), give(2)])]\n"
        "assert sorted(found) == [1, 2]\n"
        "assert await asyncnb.wait_for(give(3), 1) == 3\n"
        "try:\n    async with asyncnb.timeout(0.01): await asyncio.sleep(60)\n"
        "except TimeoutError: pass\nelse: assert False\n"
        "assert one.result() == 1"
    )


async def test_a_virtual_clock_while_the_page_s_own_loop_stands_still(page):
    await page.cell("from asyncnb.testing import run_virtual")
    await page.cell(
        "async def main():\n    await asyncio.sleep(3600)\n    return asyncio.get_running_loop()\n"
        "here = asyncio.get_running_loop()\n"
        "assert run_virtual(main()).time() == 3600\n"
        "await asyncio.sleep(0)\nassert asyncio.get_running_loop() is here"
    )


async def test_pause_and_resume(page):
    await page.cell("count = 0")
    await page.cell("%%atask held\nwhile True:\n    count += 1\n    await asyncio.sleep(0.001)")
    await page.cell("while count < 2: await asyncio.sleep(0)")
    await page.cell("%tasks pause held")
    await page.cell("while not held._pause.is_suspended: await asyncio.sleep(0)")
    await page.cell("was = count; await asyncio.sleep(0.02)")
    await page.cell("assert count == was; held.resume()")
    await page.cell("while count == was: await asyncio.sleep(0)")
    await page.cell("%tasks cancel held")


async def test_a_cell_without_await_is_refused_unless_it_says_where(page):
    said = await page.refused("%%atask blocking\n6 * 7")
    assert "a cell without await needs a thread" in said and "--on loop" in said, said
    for place in ("thread", "process"):
        said = await page.refused(f"%%atask --on {place}\n6 * 7")
        assert f"--on {place} needs a thread or a process" in said, said
    task = await page.cell("%%atask blocking --on loop\n6 * 7")
    await page.until(task, "42")


async def test_what_would_block_says_what_to_write(page):
    assert not can_run_sync(), "this Node switches stacks: asyncnb.run() should be tried here"
    said = await page.error("asyncnb.run(asyncio.sleep(0))")
    assert "WrongThreadError" in said and "use `await ...`" in said, said
    await page.cell("job = asyncnb.launch(asyncio.sleep(60), name='job')")
    said = await page.error("job.join()")
    assert "WrongThreadError" in said and "use `await task`" in said, said
    said = await page.refused("%tasks wait job")
    assert "await asyncnb.task('job')" in said, said
    said = await page.refused("%%atask --wait\nawait asyncio.sleep(60)")
    assert "await asyncnb.task(" in said, said
    await page.cell("%tasks cancel --all")


async def test_threads_and_dashboards_say_that_there_are_none(page):
    said = await page.error("await asyncnb.to_thread(time.sleep, 1)")
    assert "to_thread() needs a thread" in said and "call sleep(...) directly" in said, said
    said = await page.error("asyncnb.dashboard()")
    assert "The dashboard needs a thread" in said and "`%tasks`" in said, said
    said = await page.error("await asyncnb.offload(print, on='process')")
    assert "process" in said, said


async def test_tables_tasks_and_timelines_are_shown(page):
    await page.cell("%%atask traced --trace\nawait asyncio.sleep(0.01)")
    await page.cell("await asyncnb.task('traced')")
    assert "traced  done" in page.of(await page.cell("%tasks traced"))
    assert "traced" in page.of(await page.cell("asyncnb.task('traced')"))
    assert "traced" in page.of(await page.cell("asyncnb.timeline()"))


async def test_restart_and_unload_leave_the_loop_as_it_was(page):
    await page.cell("job = asyncnb.launch(asyncio.sleep(60)); await asyncio.sleep(0)")
    await page.cell("%asyncnb restart")
    await page.cell("await asyncio.wait([job]); assert job.cancelled()")
    await page.cell("await asyncnb.launch(asyncio.sleep(0))")
    await page.cell("%unload_ext asyncnb")
    assert type(asyncio.get_running_loop()).__name__ == "WebLoop"
    assert type(page.kernel).__module__ == "pyodide_kernel.kernel"
    plain = await page.cell("print('plain')")
    assert page.of(plain) == "plain\n"


async def run_all():
    page, results = Page(), {}
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            try:
                await test(page)
            except BaseException:
                results[name] = traceback.format_exc() + f"\nsaid last: {page.said[-5:]}"
            else:
                results[name] = "ok"
    js.console.log(json.dumps(results))  # sys.stdout is the kernel's now
    return int(any(result != "ok" for result in results.values()))


await run_all()  # noqa: F704, PLE1142
