"""Cells with `await` run whole on the embedded loop, and are ordinary cells otherwise."""

from __future__ import annotations

import pytest

ON_LOOP = "asyncio.get_running_loop() is asyncnb.embedded_loop()"


@pytest.mark.parametrize(
    "code",
    [
        f"await asyncio.sleep(0); {ON_LOOP}",
        f"async with asyncio.Lock(): pass\n{ON_LOOP}",
        f"async def g(): yield\nasync for _x in g(): pass\n{ON_LOOP}",
        f"xs = [x async for x in g()]\n{ON_LOOP}",
        f"for i in range(1):\n    await asyncio.sleep(0)\n{ON_LOOP}",
        f"{ON_LOOP} and await asyncio.sleep(0, True)",
    ],
    ids=["await", "async with", "async for", "comprehension", "nested", "one expression"],
)
def test_a_cell_with_await_runs_on_the_embedded_loop(kernel, code):
    kernel.ok("async def g(): yield 1")
    assert kernel.ok(code).result == "True"


def test_a_cell_with_await_runs_whole_on_the_embedded_loop(kernel):
    kernel.ok(
        """
        before = threading.current_thread()
        await asyncio.sleep(0)
        after = threading.current_thread()
        """
    )
    assert kernel.evaluate("before is after and 'asyncnb' in before.name")


def test_a_cell_without_await_runs_on_the_main_thread(kernel):
    assert kernel.ok("threading.current_thread() is threading.main_thread()").result == "True"


def test_primitives_are_shared_by_cells_and_tasks(kernel):
    kernel.ok("lock = asyncio.Lock(); queue = asyncio.Queue(); event = asyncio.Event()")
    kernel.ok("await lock.acquire()")  # binds the lock to a loop once a task waits for it
    kernel.ok(
        """
        %%atask consumer
        async with lock:
            item = await queue.get()
        await event.wait()
        item
        """
    )
    kernel.ok("lock.release(); await queue.put('through the queue')")
    kernel.ok("event.set(); await asyncio.sleep(0)")
    assert kernel.ok("await asyncio.wait_for(consumer, 10)").result == "'through the queue'"


def test_an_open_connection_is_shared_by_cells(kernel):
    kernel.ok(
        """
        async def echo(reader, writer):
            while line := await reader.readline():
                writer.write(line.upper()); await writer.drain()
            writer.close()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        """
    )
    kernel.ok("writer.write(b'shared\\n'); await writer.drain()")
    assert kernel.ok("await asyncio.wait_for(reader.readline(), 10)").result == "b'SHARED\\n'"
    kernel.ok("writer.close(); server.close(); await server.wait_closed()")


def test_a_plain_task_made_in_one_cell_is_awaited_in_the_next(kernel):
    kernel.ok(
        """
        go_on = asyncio.Event()
        async def made():
            await go_on.wait()
            return "made in a cell"
        t = asyncio.create_task(made())
        await asyncio.sleep(0)
        """
    )
    assert kernel.ok("go_on.set()\nawait t").result == "'made in a cell'"


def test_underscore_out_and_in_are_those_of_the_cell(kernel):
    cell = kernel.ok("await asyncio.sleep(0, 41)")
    n = cell.count
    assert cell.result == "41"
    assert cell.of_type("execute_result")[0]["execution_count"] == n
    assert kernel.ok("_ + 1").result == "42"
    assert kernel.evaluate(f"(Out[{n}], _{n}, In[{n}])") == (41, 41, "await asyncio.sleep(0, 41)")
    after = kernel.ok("await asyncio.sleep(0, _ + 1)")
    assert (after.result, after.count) == ("43", n + 2)
    assert kernel.evaluate("[_, __, ___]") == [43, 42, 41]


def test_the_history_has_the_cells_once_each_in_order(kernel):
    first = kernel.ok("await asyncio.sleep(0)")
    kernel.ok("2")
    kernel.ok("await asyncio.sleep(0, 3)")
    assert kernel.evaluate(f"In[{first.count}:]") == [
        "await asyncio.sleep(0)",
        "2",
        "await asyncio.sleep(0, 3)",
    ]
    stored = f"[c for _, n, c in get_ipython().history_manager.get_range() if n >= {first.count}]"
    assert kernel.evaluate(stored) == ["await asyncio.sleep(0)", "2", "await asyncio.sleep(0, 3)"]


def test_a_semicolon_hides_the_result_of_an_await_cell(kernel):
    assert kernel.ok("await asyncio.sleep(0, 41);").result is None


def test_every_expression_is_shown_if_the_user_asked_for_it(kernel):
    kernel.ok("get_ipython().ast_node_interactivity = 'all'")
    try:
        cell = kernel.ok("1\nawait asyncio.sleep(0, 2)\n3")
        assert [c["data"]["text/plain"] for c in cell.of_type("execute_result")] == ["1", "2", "3"]
    finally:
        kernel.ok("get_ipython().ast_node_interactivity = 'last_expr'")


def test_output_of_an_await_cell_comes_before_its_end(kernel):
    cell = kernel.ok("print('said'); display('shown'); await asyncio.sleep(0)")
    kernel.drain()
    assert cell.stdout == "said\n"
    assert cell.shown == ["'shown'"]


def test_cell_hooks_run_once_around_an_await_cell(kernel):
    kernel.ok(
        """
        seen = []
        hooks = {n: (lambda *a, n=n: seen.append(n)) for n in ("pre_run_cell", "post_run_cell")}
        for n, f in hooks.items(): get_ipython().events.register(n, f)
        """
    )
    kernel.ok("seen.clear()")
    kernel.ok("await asyncio.sleep(0); seen.append('body')")
    kernel.ok("for n, f in hooks.items(): get_ipython().events.unregister(n, f)")
    # The clearing cell's post hook comes first, this cell's pre hook last.
    assert kernel.evaluate("seen") == [
        "post_run_cell",
        "pre_run_cell",
        "body",
        "post_run_cell",
        "pre_run_cell",
    ]


def test_an_exception_in_an_await_cell_has_the_traceback_it_always_had(kernel):
    kernel.ok("def inner():\n    return 1/0")
    cell = kernel.run("await asyncio.sleep(0)\ninner()")
    assert cell.status == "error"
    assert cell.error.ename == "ZeroDivisionError"
    assert len(cell.errors) == 1
    shown = cell.errors[0].traceback
    assert f"Cell In[{cell.count}], line 2" in shown
    assert "----> 2 inner()" in shown
    assert "inner()" in shown
    assert "asyncnb" not in shown
    assert "asyncio" not in shown.replace("await asyncio.sleep(0)", "")
    assert kernel.ok("await asyncio.sleep(0, 1)").result == "1"


def test_a_cancelled_error_raised_in_an_await_cell_ends_the_cell_only(kernel):
    cell = kernel.run("await asyncio.sleep(0)\nraise asyncio.CancelledError('by hand')", 10)
    assert cell.error.ename == "CancelledError"
    assert kernel.ok("1 + 1").result == "2"
    assert kernel.ok("await asyncio.sleep(0, 2)").result == "2"


def test_a_syntax_error_in_an_await_cell_is_a_syntax_error(kernel):
    cell = kernel.run("await asyncio.sleep(0)\nx = = 1")
    assert cell.error.ename == "SyntaxError"


def test_system_exit_in_an_await_cell_leaves_loop_and_tasks_alive(kernel):
    kernel.ok(
        """
        go_on = asyncio.Event()
        async def live_on():
            await go_on.wait()
            return "alive"
        t = asyncnb.launch(live_on())
        """
    )
    kernel.run("await asyncio.sleep(0)\nraise SystemExit(3)", 10)
    assert kernel.ok("go_on.set()\nawait t", 10).result == "'alive'"


def test_await_cells_run_one_after_the_other(kernel):
    cells = [kernel.submit(f"order = {i}; await asyncio.sleep(0.01); order") for i in range(5)]
    assert [c.wait().result for c in cells] == [str(i) for i in range(5)]


def test_stop_on_error_aborts_the_cells_sent_after_a_failing_await_cell(kernel):
    failing = kernel.submit(
        "import os\nwhile not os.path.exists('all sent'): await asyncio.sleep(0.01)\n1/0"
    )
    queued = kernel.submit("'never runs'")
    (kernel.scratch / "all sent").touch()
    assert failing.wait().status == "error"
    assert queued.wait().status == "aborted"
    assert kernel.ok("1 + 1").result == "2"


def test_a_user_expression_and_completion_work_after_an_await_cell(kernel):
    kernel.ok("long_variable_name = await asyncio.sleep(0, 5)")
    assert kernel.evaluate("long_variable_name") == 5
    assert kernel.complete("long_vari") == ["long_variable_name"]


def test_background_tasks_go_on_while_a_cell_blocks_the_main_thread(kernel):
    kernel.ok("ticks = 0")
    kernel.ok(
        """
        %%atask ticker
        while True:
            ticks += 1
            await asyncio.sleep(0.01)
        """
    )
    # On the kernel's own loop there would be none.
    kernel.ok("before = ticks\nwhile ticks < before + 10: time.sleep(0.001)")


def test_the_kernels_own_loop_stays_free_while_a_cell_awaits(kernel):
    kernel.ok("gate = asyncio.Event(); main = get_ipython().kernel.io_loop")
    cell = kernel.submit(
        """
        loop = asyncio.get_running_loop()
        main.add_callback(lambda: loop.call_soon_threadsafe(gate.set))
        await gate.wait(); "opened from the kernel's loop"
        """
    )
    assert "opened" in cell.wait(10).result


def test_autoawait_off_gives_back_the_loop_of_ipython_and_on_takes_it_again(kernel):
    main = "threading.current_thread() is threading.main_thread()"
    on_main = f"await asyncio.sleep(0); ({main}, {ON_LOOP})"
    kernel.ok("%asyncnb autoawait off")
    try:
        assert kernel.ok(on_main).result == "(True, False)"
    finally:
        kernel.ok("%asyncnb autoawait on")
    assert kernel.ok(on_main).result == "(False, True)"


def test_tasks_run_on_with_autoawait_off(kernel):
    kernel.ok("%asyncnb autoawait off")
    try:
        kernel.ok("%%atask job\nawait asyncio.sleep(0.01, 'ran')")
        assert kernel.evaluate("job.join(10)") == "ran"
        # The kernel's loop, and the task of the other one: asyncnb's tasks are awaited anywhere.
        kernel.ok(
            """
            go_on = asyncio.Event()
            async def cross():
                await go_on.wait()
                return "across"
            t = asyncnb.launch(cross())
            """
        )
        release = "asyncnb.embedded_loop().call_soon_threadsafe(go_on.set)"
        assert kernel.ok(f"{release}; await t", 10).result == "'across'"
    finally:
        kernel.ok("%asyncnb autoawait on")


def test_a_cell_whose_loop_crashes_ends_with_the_reason(fresh_kernel):
    cell = fresh_kernel.run(
        """
        def crash(): raise OSError("the selector is gone")
        loop = asyncnb.embedded_loop()
        loop.run_forever = crash  # what its thread calls again after a stop()
        loop.stop()
        await asyncio.sleep(600)
        """
    )
    assert cell.error.ename == "EmbeddedLoopError"
    assert "the selector is gone" in cell.error.evalue
    assert fresh_kernel.ok("await asyncio.sleep(0, 'again')").result == "'again'"
