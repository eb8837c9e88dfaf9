"""`%tasks stack` and call graphs: cells by their number, nothing of ours, at any time."""

from __future__ import annotations


def test_a_stack_names_cell_line_and_source_down_to_the_primitive(kernel):
    cell = kernel.ok(
        """
        %%atask waiter
        async def inner(queue):
            print("there")
            return await queue.get()
        await inner(asyncio.Queue(10))
        """
    )
    cell.wait_for("there")
    text = kernel.ok("%tasks stack waiter").stdout
    assert f"In[{cell.count}], line 5\n      await inner(asyncio.Queue(10))" in text
    assert f"In[{cell.count}], line 4, in inner()\n      return await queue.get()" in text
    assert "asyncio/queues.py, line" in text
    assert "waits for: Queue.get (0 of 10)" in text
    assert "ipykernel_" not in text and "asyncnb/" not in text


def test_a_stack_says_who_waits_for_the_task(kernel):
    kernel.ok("gate = asyncio.Event(); here = threading.Event()")
    kernel.ok("%%atask awaited\nawait gate.wait()")
    kernel.ok("%%atask who-waits\nhere.set()\nawait awaited")
    kernel.ok("assert here.wait(10); await asyncio.sleep(0)")
    assert "awaited by: 'who-waits'" in kernel.ok("%tasks stack awaited").stdout
    assert "waits for: task 'awaited'" in kernel.ok("%tasks stack who-waits").stdout


def test_a_stack_of_a_thread_shows_what_it_is_doing(kernel):
    kernel.ok("here, go = threading.Event(), threading.Event()")
    cell = kernel.ok("%%atask blocks\ndef work():\n    here.set()\n    go.wait()\nwork()")
    kernel.ok("assert here.wait(10)")
    text = kernel.ok("%tasks stack blocks").stdout
    assert f"In[{cell.count}], line 4, in work()\n      go.wait()" in text
    assert "asyncnb/" not in text and "_bootstrap" not in text
    kernel.ok("go.set(); blocks.join(10)")
    assert kernel.evaluate("asyncnb.task('blocks').info().cpu > 0")


def test_a_stack_comes_while_a_task_blocks_the_loop(kernel):
    kernel.ok("here, go = threading.Event(), threading.Event()")
    kernel.ok("%%atask other\nawait asyncio.sleep(1000)")
    kernel.ok("%%atask blocks --on loop\nhere.set()\ngo.wait()")
    kernel.ok("assert here.wait(10)")
    text = kernel.ok("%tasks stack blocks").stdout
    assert "blocks: running" in text and "go.wait()" in text
    assert "sleep, " in kernel.ok("%tasks stack other").stdout
    kernel.ok("go.set(); blocks.join(10)")


def test_a_stack_can_be_had_while_the_main_thread_is_blocked(kernel):
    kernel.ok("%%atask other\nawait asyncio.sleep(1000)")
    kernel.ok(
        """
        looked = threading.Event()
        def look():
            global text
            text = get_ipython().run_line_magic("tasks", "stack other")
            looked.set()
        """
    )
    cell = kernel.ok("threading.Thread(target=look).start(); assert looked.wait(10)")
    cell.wait_for("await asyncio.sleep(1000)")


def test_a_stack_of_a_failed_task_is_its_traceback(kernel):
    failed = kernel.ok("%%atask fails\nawait asyncio.sleep(0)\n1 / 0")
    failed.wait_for(lambda c: c.errors)
    text = kernel.ok("%tasks stack fails").stdout
    assert "fails: failed (ZeroDivisionError: division by zero)" in text
    assert f"In[{failed.count}], line 3\n      1 / 0" in text


def test_a_stack_of_nobody_is_refused_with_near_names(kernel):
    kernel.ok("asyncnb.launch(asyncio.sleep(1000), name='sleeper')")
    cell = kernel.run("%tasks stack sleper")
    assert cell.error.ename == "UsageError" and "Did you mean 'sleeper'?" in cell.error.evalue
    assert "%tasks stack NAME" in kernel.run("%tasks stack").error.evalue


def test_a_call_graph_of_a_cell_names_the_cell_and_leaves_us_out(kernel):
    cell = kernel.ok(
        """
        %%atask graph
        async def here():
            return asyncnb.format_call_graph()
        print(await here())
        """
    )
    cell.wait_for("Call stack")
    kernel.drain()
    assert f"In[{cell.count}], line 3, in async here()" in cell.text
    assert f"In[{cell.count}], line 4\n" in cell.text
    assert cell.text.count("  |   ") == 2 and "ipykernel_" not in cell.text
    cell = kernel.ok("await asyncio.sleep(0); asyncnb.print_call_graph()")
    assert cell.text.count("  |   ") == 1 and f"In[{cell.count}], line 1\n" in cell.text
