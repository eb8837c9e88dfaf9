"""What users write in notebooks, as cells: each pattern works, or is refused, on a plain kernel.

`test_one_loop_patterns.py` runs every one with and without asyncnb and compares. A pattern is in
the percent format: `# %%` begins a cell. `# %% to NAME` is no cell but a message from the browser
to the widget of that name; `# %% until EXPRESSION` waits, with no cell running, until that is true.
Each is modelled on a page of its library's documentation.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import NamedTuple


class Step(NamedTuple):
    """A cell; or what comes between two cells: a message to a widget, or a wait."""

    kind: str  # "cell", "to", "until"
    argument: str
    text: str


class Pattern(NamedTuple):
    """Cells, and how the last one ends on a plain kernel."""

    name: str
    library: str
    page: str
    source: str
    #: Modules without which it is skipped.
    imports: tuple[str, ...] = ()
    #: How the last cell ends: "ok", or the name of the exception that refuses it.
    plain: str = "ok"
    #: The same with asyncnb, where that differs on purpose; `why` is the reason, for the page.
    asyncnb: str | None = None
    why: str = ""
    #: What the text of the last cell may have or lack, as regular expressions.
    masks: tuple[str, ...] = ()
    #: It changes the process for good (patches asyncio), so it gets a kernel that nothing shares.
    own_kernel: bool = False
    #: It needs a browser: the kernel finds its path in $ASYNCNB_CHROMIUM.
    browser: bool = False

    @property
    def steps(self) -> Iterator[Step]:
        """Its cells, and what comes between them."""
        for part in textwrap.dedent(self.source).split("# %%")[1:]:
            head, _, text = part.partition("\n")
            kind, _, argument = head.strip().partition(" ")
            yield Step(kind or "cell", argument, text.strip("\n"))


_PYTHON = "https://docs.python.org/3/library/"
_TASKS = _PYTHON + "asyncio-task.html"
_LOOP = _PYTHON + "asyncio-eventloop.html"
_SYNC = _PYTHON + "asyncio-sync.html"
_QUEUE = _PYTHON + "asyncio-queue.html"
_STREAM = _PYTHON + "asyncio-stream.html"
_PROCESS = _PYTHON + "asyncio-subprocess.html"
_PROTOCOL = _PYTHON + "asyncio-protocol.html"
_FUTURE = _PYTHON + "asyncio-future.html"
_MAGICS = "https://ipython.readthedocs.io/en/stable/interactive/magics.html"
_AIOHTTP = "https://docs.aiohttp.org/en/stable/"
_WIDGETS = "https://ipywidgets.readthedocs.io/en/stable/examples/"

_SEVEN = """
        async def seven():
            await asyncio.sleep(0.05)
            return 7
"""

# A server for the patterns of HTTP clients.
_SERVER = """
        # %%
        from aiohttp import web
        async def hello(request):
            return web.Response(text="hello")
        async def stream(request):
            response = web.StreamResponse()
            await response.prepare(request)
            for n in range(5):
                await response.write(b"line %d\\n" % n)
            return response
        async def echo(request):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str("you said " + message.data)
            return socket
        app = web.Application()
        app.add_routes([web.get("/", hello), web.get("/stream", stream), web.get("/ws", echo)])
        runner = web.AppRunner(app)
        # %%
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = "http://127.0.0.1:%d" % runner.addresses[0][1]
"""

_ASYNCIO = [
    Pattern(
        "a task, awaited in the next cell",
        "asyncio",
        _TASKS + "#creating-tasks",
        f"""
        # %%{_SEVEN}
        # %%
        task = asyncio.create_task(seven())
        # %%
        print(await task)
        """,
    ),
    Pattern(
        "ensure_future",
        "asyncio",
        _FUTURE + "#asyncio.ensure_future",
        f"""
        # %%{_SEVEN}
        # %%
        future = asyncio.ensure_future(seven())
        # %%
        print(await future)
        """,
    ),
    Pattern(
        "gather in one cell, its results in the next",
        "asyncio",
        _TASKS + "#running-tasks-concurrently",
        f"""
        # %%{_SEVEN}
        # %%
        both = asyncio.gather(seven(), seven())
        # %%
        print(await both)
        """,
    ),
    Pattern(
        "a future and a timer that sets it",
        "asyncio",
        _FUTURE,
        """
        # %%
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(0.1, future.set_result, 5)
        # %%
        print(await future)
        """,
    ),
    Pattern(
        "get_event_loop().create_task",
        "asyncio",
        _LOOP + "#creating-futures-and-tasks",
        f"""
        # %%{_SEVEN}
        # %%
        task = asyncio.get_event_loop().create_task(seven())
        # %%
        print(await task)
        """,
    ),
    Pattern(
        "run_in_executor",
        "asyncio",
        _LOOP + "#executing-code-in-thread-or-process-pools",
        """
        # %%
        import time
        def slow():
            time.sleep(0.05)
            return 3
        future = asyncio.get_running_loop().run_in_executor(None, slow)
        # %%
        print(await future)
        """,
    ),
    Pattern(
        "a task that takes from a queue of another cell",
        "asyncio",
        _QUEUE,
        """
        # %%
        queue, taken = asyncio.Queue(), []
        await queue.put(1)
        # %%
        async def take():
            while True:
                taken.append(await queue.get())
                queue.task_done()
        task = asyncio.create_task(take())
        # %%
        for n in range(3):
            await queue.put(n)
        await queue.join()
        print(taken, task.cancel())
        """,
    ),
    Pattern(
        "Queue.put_nowait in cells without await",
        "asyncio",
        _QUEUE + "#asyncio.Queue.put_nowait",
        """
        # %%
        queue, taken = asyncio.PriorityQueue(), []
        async def take():
            while (item := await queue.get()) < 9:
                taken.append(item)
            return taken
        task = asyncio.create_task(take())
        # %%
        for n in 3, 1, 2:
            queue.put_nowait(n)
        # %%
        queue.put_nowait(9)
        # %%
        print(await asyncio.wait_for(task, 5))
        """,
    ),
    Pattern(
        "Event.set in a cell without await",
        "asyncio",
        _SYNC + "#event",
        """
        # %%
        event = asyncio.Event()
        async def waits():
            await event.wait()
            return "set"
        # %%
        tasks = [asyncio.create_task(waits()) for _ in range(3)]
        # %%
        event.set()
        # %%
        print(await asyncio.wait_for(asyncio.gather(*tasks), 5))
        """,
    ),
    Pattern(
        "an event that a task of an earlier cell sets",
        "asyncio",
        _SYNC + "#event",
        """
        # %%
        event = asyncio.Event()
        async def sets():
            await asyncio.sleep(0.1)
            event.set()
        # %%
        task = asyncio.create_task(sets())
        # %%
        print(await asyncio.wait_for(event.wait(), 5))
        """,
    ),
    Pattern(
        "asyncio.wait on tasks of an earlier cell",
        "asyncio",
        _TASKS + "#waiting-primitives",
        f"""
        # %%{_SEVEN}
        # %%
        tasks = [asyncio.create_task(seven()) for _ in range(3)]
        # %%
        done, pending = await asyncio.wait(tasks)
        print([task.result() for task in done], pending)
        """,
    ),
    Pattern(
        "as_completed on tasks of an earlier cell",
        "asyncio",
        _TASKS + "#asyncio.as_completed",
        f"""
        # %%{_SEVEN}
        # %%
        tasks = [asyncio.create_task(seven()) for _ in range(3)]
        # %%
        for each in asyncio.as_completed(tasks):
            print(await each)
        """,
    ),
    Pattern(
        "a server that a task runs, stopped in a later cell",
        "asyncio",
        _STREAM + "#asyncio.start_server",
        """
        # %%
        async def serve():
            server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
            async with server:
                await server.serve_forever()
        task = asyncio.create_task(serve())
        # %%
        await asyncio.sleep(0.1)
        print(task.done())
        # %%
        task.cancel()
        # %%
        try:
            await task
        except asyncio.CancelledError:
            print("stopped")
        """,
    ),
    Pattern(
        "what a cell schedules starts when the cell has ended, in the same order",
        "asyncio",
        _LOOP + "#scheduling-callbacks",
        """
        # %%
        order = []
        async def first():
            order.append(f"task saw {defined_later}")
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(first())
        loop.call_soon(order.append, "call_soon")
        loop.call_later(0, order.append, "call_later")
        order.append("cell")
        defined_later = "the name"
        # %%
        await asyncio.sleep(0.05)
        print(order)
        """,
    ),
    Pattern(
        "a cell that fails after creating a task",
        "asyncio",
        _TASKS + "#creating-tasks",
        f"""
        # %%{_SEVEN}
        # %%
        get_ipython().run_cell("task = asyncio.create_task(seven())", silent=True) and None
        # %%
        result = get_ipython().run_cell("other = asyncio.create_task(seven()); raise SystemError")
        # %%
        print(await task, await other, type(result.error_in_exec).__name__)
        """,
    ),
    Pattern(
        "the error of a task, raised where it is awaited",
        "asyncio",
        _TASKS + "#asyncio.Task.exception",
        """
        # %%
        async def fails():
            raise LookupError("nothing there")
        task = asyncio.create_task(fails())
        # %%
        await task
        """,
        plain="LookupError",
    ),
    Pattern(
        "Task.cancel in a cell without await",
        "asyncio",
        _TASKS + "#task-cancellation",
        """
        # %%
        cleaned = []
        async def waits():
            try:
                await asyncio.sleep(3600)
            finally:
                cleaned.append("cleaned up")
        task = asyncio.create_task(waits())
        # %%
        print(task.cancel("enough"))
        # %%
        print(await asyncio.wait([task]) and task.cancelled(), cleaned)
        """,
    ),
    Pattern(
        "a task created and cancelled in one cell never starts",
        "asyncio",
        _TASKS + "#asyncio.Task.cancel",
        """
        # %%
        started = []
        async def starts():
            started.append(1)
        task = asyncio.create_task(starts())
        print(task.cancel())
        # %%
        await asyncio.wait([task])
        print(task.cancelled(), started)
        """,
    ),
    Pattern(
        "add_done_callback in a cell without await",
        "asyncio",
        _TASKS + "#asyncio.Task.add_done_callback",
        f"""
        # %%{_SEVEN}
        # %%
        task, results = asyncio.create_task(seven()), []
        # %%
        task.add_done_callback(lambda task: results.append(task.result()))
        # %%
        await task
        await asyncio.sleep(0)
        print(results)
        # %%
        task.add_done_callback(lambda task: results.append("done already"))
        # %%
        await asyncio.sleep(0.05)
        print(results)
        """,
    ),
    Pattern(
        "a timer cancelled in a later cell",
        "asyncio",
        _LOOP + "#callback-handles",
        """
        # %%
        rang = []
        loop = asyncio.get_running_loop()
        early = loop.call_later(0.9, rang.append, "early")
        late = loop.call_at(loop.time() + 1, rang.append, "late")
        # %%
        early.cancel()
        # %%
        while not rang:
            await asyncio.sleep(0.01)
        print(rang, early.cancelled(), late.cancelled())
        """,
    ),
    Pattern(
        "add_reader and remove_reader in cells without await",
        "asyncio",
        _LOOP + "#watching-file-descriptors",
        """
        # %%
        import socket
        ours, theirs = socket.socketpair()
        arrived = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, lambda: arrived.put_nowait(ours.recv(100)))
        # %%
        theirs.send(b"one")
        # %%
        print(await asyncio.wait_for(arrived.get(), 5))
        # %%
        loop.remove_reader(ours)
        # %%
        theirs.send(b"two")
        # %%
        await asyncio.sleep(0.1)
        print(arrived.empty(), ours.recv(100))
        ours.close(), theirs.close();
        """,
    ),
    Pattern(
        "a signal handler",
        "asyncio",
        _LOOP + "#unix-signals",
        """
        # %%
        import os, signal
        heard = []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, heard.append, "SIGUSR1")
        # %%
        os.kill(os.getpid(), signal.SIGUSR1)
        # %%
        await asyncio.sleep(0.1)
        print(heard, loop.remove_signal_handler(signal.SIGUSR1))
        """,
    ),
    Pattern(
        "streams across cells",
        "asyncio",
        _STREAM + "#tcp-echo-server-using-streams",
        """
        # %%
        async def echo(reader, writer):
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
        starting = asyncio.create_task(asyncio.start_server(echo, "127.0.0.1", 0))
        # %%
        server = await starting
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        # %%
        reading = asyncio.create_task(reader.readline())
        writer.write(b"hello\\n")
        # %%
        print(await asyncio.wait_for(reading, 5))
        # %%
        writer.close()
        server.close()
        # %%
        await writer.wait_closed()
        print(await reader.read(), server.is_serving())
        """,
    ),
    Pattern(
        "a datagram sent in a cell without await",
        "asyncio",
        _PROTOCOL + "#udp-echo-server",
        """
        # %%
        arrived = asyncio.Queue()
        class Listener(asyncio.DatagramProtocol):
            def datagram_received(self, data, address):
                arrived.put_nowait(data)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Listener, ("127.0.0.1", 0))
        # %%
        transport.sendto(b"to myself", transport.get_extra_info("sockname"))
        # %%
        print(await asyncio.wait_for(arrived.get(), 5))
        # %%
        transport.close()
        # %%
        await asyncio.sleep(0)
        print(transport.is_closing())
        """,
    ),
    Pattern(
        "a subprocess across cells",
        "asyncio",
        _PROCESS + "#examples",
        """
        # %%
        import sys
        pipe = asyncio.subprocess.PIPE
        code = "print(input()[::-1], flush=True); input()"
        command = sys.executable, "-c", code
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        # %%
        process.stdin.write(b"abc\\n")
        reading = asyncio.create_task(process.stdout.readline())
        # %%
        print(await asyncio.wait_for(reading, 20))
        # %%
        process.terminate()
        # %%
        print(await asyncio.wait_for(process.wait(), 20))
        """,
    ),
    Pattern(
        "a subprocess started by a task",
        "asyncio",
        _PROCESS + "#asyncio.create_subprocess_shell",
        """
        # %%
        pipe = asyncio.subprocess.PIPE
        coroutine = asyncio.create_subprocess_shell("echo $((6*7))", stdout=pipe)
        starting = asyncio.create_task(coroutine)
        # %%
        process = await starting
        out, _ = await process.communicate()
        print(out, process.returncode)
        """,
    ),
    Pattern(
        "a lock held by one cell and released by another",
        "asyncio",
        _SYNC + "#lock",
        """
        # %%
        lock = asyncio.Lock()
        await lock.acquire()
        # %%
        async def waits():
            async with lock:
                return "had it"
        tasks = [asyncio.create_task(waits()) for _ in range(2)]
        # %%
        print([task.done() for task in tasks], lock.locked())
        lock.release()
        # %%
        print(await asyncio.wait_for(asyncio.gather(*tasks), 5), lock.locked())
        """,
    ),
    Pattern(
        "a condition across cells",
        "asyncio",
        _SYNC + "#condition",
        """
        # %%
        condition, ready = asyncio.Condition(), False
        async def waits():
            async with condition:
                await condition.wait_for(lambda: ready)
                return "ready"
        tasks = [asyncio.create_task(waits()) for _ in range(2)]
        # %%
        ready = True
        async with condition:
            condition.notify_all()
        # %%
        print(await asyncio.wait_for(asyncio.gather(*tasks), 5))
        """,
    ),
    Pattern(
        "a semaphore across cells",
        "asyncio",
        _SYNC + "#semaphore",
        """
        # %%
        semaphore = asyncio.BoundedSemaphore(1)
        await semaphore.acquire()
        async def waits(n):
            async with semaphore:
                await asyncio.sleep(0)
                return n
        # %%
        tasks = [asyncio.create_task(waits(n)) for n in range(3)]
        # %%
        semaphore.release()
        # %%
        print(await asyncio.wait_for(asyncio.gather(*tasks), 5), semaphore.locked())
        """,
    ),
    Pattern(
        "a barrier across cells",
        "asyncio",
        _SYNC + "#barrier",
        """
        # %%
        barrier = asyncio.Barrier(3)
        tasks = [asyncio.create_task(barrier.wait())]
        # %%
        tasks.append(asyncio.create_task(barrier.wait()))
        # %%
        await asyncio.wait_for(barrier.wait(), 5)
        print(sorted(await asyncio.gather(*tasks) + [3])[-1], barrier.n_waiting)
        """,
    ),
    Pattern(
        "a timeout made in one cell and entered in the next",
        "asyncio",
        _TASKS + "#timeouts",
        """
        # %%
        limit = asyncio.timeout(0.05)
        # %%
        try:
            async with limit:
                await asyncio.sleep(3600)
        except TimeoutError:
            print("too late", limit.expired())
        """,
    ),
    Pattern(
        "a timeout moved by a cell without await",
        "asyncio",
        _TASKS + "#asyncio.Timeout.reschedule",
        """
        # %%
        limit = asyncio.timeout(None)
        async def waits():
            try:
                async with limit:
                    await asyncio.sleep(3600)
            except TimeoutError:
                return "too late"
        task = asyncio.create_task(waits())
        # %%
        await asyncio.sleep(0)
        # %%
        limit.reschedule(asyncio.get_running_loop().time() + 0.05)
        # %%
        print(await asyncio.wait_for(task, 5), limit.expired())
        """,
    ),
    Pattern(
        "a task group made in one cell and entered in the next",
        "asyncio",
        _TASKS + "#task-groups",
        f"""
        # %%{_SEVEN}
        # %%
        group = asyncio.TaskGroup()
        # %%
        async with group:
            tasks = [group.create_task(seven()) for _ in range(2)]
        print([task.result() for task in tasks])
        """,
    ),
    Pattern(
        "shield and wait_for on a task of an earlier cell",
        "asyncio",
        _TASKS + "#shielding-from-cancellation",
        """
        # %%
        event = asyncio.Event()
        task = asyncio.create_task(event.wait())
        shielded = asyncio.shield(task)
        # %%
        try:
            await asyncio.wait_for(shielded, 0.05)
        except TimeoutError:
            print("too late", task.done())
        # %%
        event.set()
        # %%
        print(await task)
        """,
    ),
    Pattern(
        "context variables of cells and tasks",
        "asyncio",
        _PYTHON + "contextvars.html#asyncio-support",
        """
        # %%
        from contextvars import ContextVar, copy_context
        var = ContextVar("var", default="nothing")
        seen = []
        async def looks():
            seen.append(var.get())
            var.set("the task's own")
        token = var.set("the first cell's")
        task = asyncio.create_task(looks())
        asyncio.get_running_loop().call_soon(lambda: seen.append(var.get()))
        context = copy_context()
        # %%
        await task
        asyncio.create_task(looks(), context=context)
        # %%
        await asyncio.sleep(0.05)
        print(seen, context[var])
        """,
    ),
    Pattern(
        "a context variable set in a cell, read in later ones",
        "asyncio",
        _PYTHON + "contextvars.html",
        """
        # %%
        from contextvars import ContextVar
        var, seen = ContextVar("var", default="nothing"), []
        var.set("without await")
        # %%
        seen.append(var.get())
        # %%
        await asyncio.sleep(0)
        seen.append(var.get())
        # %%
        await asyncio.sleep(0)
        var.set("with await")
        # %%
        seen.append(var.get())
        # %%
        await asyncio.sleep(0)
        print(seen, var.get())
        """,
    ),
    Pattern(
        "an asynchronous generator across cells",
        "asyncio",
        "https://docs.python.org/3/reference/expressions.html#asynchronous-generator-functions",
        """
        # %%
        async def count():
            try:
                for n in range(10):
                    await asyncio.sleep(0)
                    yield n
            finally:
                closed.append(True)
        numbers, closed = count(), []
        # %%
        print(await anext(numbers))
        # %%
        following = asyncio.ensure_future(numbers.__anext__())
        # %%
        print(await following)
        # %%
        async for n in numbers:
            if n == 4:
                break
        # %%
        closing = asyncio.ensure_future(numbers.aclose())
        # %%
        await closing
        print(n, closed)
        """,
    ),
    Pattern(
        "run_coroutine_threadsafe from a thread",
        "asyncio",
        _TASKS + "#scheduling-from-other-threads",
        f"""
        # %%{_SEVEN}
        # %%
        import threading
        loop, results = asyncio.get_running_loop(), []
        def in_thread():
            results.append(asyncio.run_coroutine_threadsafe(seven(), loop).result(5))
        thread = threading.Thread(target=in_thread)
        thread.start()
        # %%
        await asyncio.to_thread(thread.join)
        print(results)
        """,
    ),
    Pattern(
        "call_soon_threadsafe from a thread",
        "asyncio",
        _LOOP + "#asyncio.loop.call_soon_threadsafe",
        """
        # %%
        import threading
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,))
        # %%
        thread.start()
        thread.join()
        # %%
        print(await asyncio.wait_for(event.wait(), 5))
        """,
    ),
    Pattern(
        "wrap_future of a pool's future",
        "asyncio",
        _FUTURE + "#asyncio.wrap_future",
        """
        # %%
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        future = asyncio.wrap_future(pool.submit(pow, 2, 10))
        # %%
        print(await future)
        pool.shutdown()
        """,
    ),
    Pattern(
        "all_tasks in a cell with await",
        "asyncio",
        _TASKS + "#introspection",
        """
        # %%
        task = asyncio.create_task(asyncio.sleep(3600), name="of a plain cell")
        # %%
        await asyncio.sleep(0)
        print(task in asyncio.all_tasks(), task.get_name())
        # %%
        task.cancel()
        # %%
        print(await asyncio.wait([task]) and task in asyncio.all_tasks())
        """,
    ),
    Pattern(
        "current_task in a cell without await",
        "asyncio",
        _TASKS + "#asyncio.current_task",
        """
        # %%
        print(asyncio.current_task() is not None)
        """,
        asyncnb="ok",
        why="before Python 3.14 None, or the task that the loop runs at that moment",
    ),
    Pattern(
        "all_tasks in a cell without await",
        "asyncio",
        _TASKS + "#asyncio.all_tasks",
        """
        # %%
        task = asyncio.create_task(asyncio.sleep(3600))
        # %%
        print(task in asyncio.all_tasks(), task.cancel())
        """,
        asyncnb="ok",
        why="on Python 3.14 without tasks of other cells: use `asyncnb.all_tasks()`",
    ),
    Pattern(
        "an exception handler of the loop",
        "asyncio",
        _LOOP + "#error-handling-api",
        """
        # %%
        loop, caught = asyncio.get_running_loop(), []
        before = loop.get_exception_handler()
        loop.set_exception_handler(lambda loop, context: caught.append(context["exception"]))
        loop.call_soon(lambda: 1 / 0)
        # %%
        await asyncio.sleep(0.05)
        print(caught, loop.set_exception_handler(before))
        """,
    ),
    Pattern(
        "asyncio.run",
        "asyncio",
        _PYTHON + "asyncio-runner.html#asyncio.run",
        f"""
        # %%{_SEVEN}
        # %%
        coroutine = seven()
        # %%
        asyncio.run(coroutine)
        """,
        plain="RuntimeError",
    ),
    Pattern(
        "run_until_complete",
        "asyncio",
        _LOOP + "#running-and-stopping-the-loop",
        f"""
        # %%{_SEVEN}
        # %%
        asyncio.get_event_loop().run_until_complete(seven())
        """,
        plain="RuntimeError",
        asyncnb="ok",
        why="the loop runs in a thread, so the cell can wait",
    ),
    Pattern(
        "a loop in your own thread",
        "asyncio",
        _LOOP + "#asyncio.new_event_loop",
        f"""
        # %%{_SEVEN}
        # %%
        import threading
        own = asyncio.new_event_loop()
        thread = threading.Thread(target=own.run_forever)
        thread.start()
        future = asyncio.run_coroutine_threadsafe(seven(), own)
        # %%
        print(await asyncio.wrap_future(future), future.result())
        own.call_soon_threadsafe(own.stop)
        thread.join()
        own.close()
        """,
    ),
    Pattern(
        "asyncio.run in a thread",
        "asyncio",
        _TASKS + "#running-in-threads",
        f"""
        # %%{_SEVEN}
        # %%
        task = asyncio.create_task(asyncio.to_thread(asyncio.run, seven()))
        # %%
        print(await task)
        """,
    ),
    Pattern(
        "get_event_loop is the same in every cell",
        "asyncio",
        _LOOP + "#obtaining-the-event-loop",
        """
        # %%
        loops = [asyncio.get_running_loop(), asyncio.get_event_loop()]
        async def look():
            loops.append(asyncio.get_running_loop())
        task = asyncio.create_task(look())
        # %%
        await task
        loops += asyncio.get_running_loop(), asyncio.get_event_loop()
        # %%
        print(len(set(loops)), loops[0].is_running(), loops[0].is_closed())
        """,
    ),
    Pattern(
        "a timer that fires while no cell runs",
        "asyncio",
        _LOOP + "#scheduling-delayed-callbacks",
        """
        # %%
        rang = []
        timer = asyncio.get_running_loop().call_later(0.1, rang.append, "rang")
        # %% until rang
        # %%
        print(rang)
        """,
    ),
    Pattern(
        "a stream written to and closed in cells without await, read while no cell runs",
        "asyncio",
        _STREAM + "#streamwriter",
        """
        # %%
        lines = []
        async def serve(reader, writer):
            while line := await reader.readline():
                lines.append(len(line))
            lines.append("closed")
            writer.close()
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**24)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        # %%
        writer.write(b"short\\n")
        # %% until lines
        # %%
        writer.write(bytes(5_000_000) + b"\\n")
        # %% until len(lines) == 2
        # %%
        writer.close()
        # %% until len(lines) == 3
        # %%
        server.close()
        print(lines, server.is_serving())
        """,
    ),
    Pattern(
        "a process killed in a cell without await, seen to end while no cell runs",
        "asyncio",
        _PROCESS + "#asyncio.subprocess.Process.kill",
        """
        # %%
        process = await asyncio.create_subprocess_exec("sleep", "3600")
        waiting = asyncio.create_task(process.wait())
        # %%
        process.kill()
        # %% until waiting.done()
        # %%
        print(process.returncode)
        """,
    ),
    Pattern(
        "an asynchronous generator started without await, and dropped half-way",
        "asyncio",
        _PYTHON + "sys.html#sys.set_asyncgen_hooks",
        """
        # %%
        loops = []
        async def count():
            try:
                for n in range(10):
                    await asyncio.sleep(0)
                    yield n
            finally:
                await asyncio.sleep(0)
                loops.append(asyncio.get_running_loop())
        numbers = count()
        first = asyncio.ensure_future(numbers.__anext__())
        # %%
        print(await first)
        # %%
        del numbers, first
        # %% until loops
        # %%
        await asyncio.sleep(0)
        print(loops == [asyncio.get_running_loop()])
        """,
    ),
    Pattern(
        "the debug mode of the loop",
        "asyncio",
        _PYTHON + "asyncio-dev.html#debug-mode",
        """
        # %%
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        loop.set_debug(True)
        future = loop.create_future()
        async def waits():
            await event.wait()
            return await future
        task = asyncio.create_task(waits())
        handle = loop.call_soon(int)
        # %%
        event.set()
        # %%
        future.set_result("with all checks")
        # %%
        print(await task)
        # %%
        loop.set_debug(False)
        print(loop.get_debug())
        """,
    ),
    Pattern(
        "your own thread pool for to_thread",
        "asyncio",
        _LOOP + "#asyncio.loop.set_default_executor",
        """
        # %%
        import threading
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(2, thread_name_prefix="mine")
        asyncio.get_running_loop().set_default_executor(pool)
        # %%
        print(await asyncio.to_thread(lambda: threading.current_thread().name))
        # %%
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))
        pool.shutdown()
        # %%
        print(await asyncio.to_thread(pow, 2, 3))
        """,
    ),
    Pattern(
        "a pipe connected by a task",
        "asyncio",
        _LOOP + "#working-with-pipes",
        """
        # %%
        import os
        source, sink = os.pipe()
        reader, loop = asyncio.StreamReader(), asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(reader)
        pipe = os.fdopen(source)
        connecting = asyncio.ensure_future(loop.connect_read_pipe(lambda: protocol, pipe))
        # %%
        transport, _ = await connecting
        # %%
        os.write(sink, b"through the pipe\\n")
        # %%
        print(await reader.readline())
        # %%
        transport.close()
        os.close(sink)
        # %%
        print(await reader.read())
        """,
    ),
    Pattern(
        "a StreamReader that a cell without await feeds",
        "asyncio",
        _STREAM + "#asyncio.StreamReader.feed_eof",
        """
        # %%
        reader = asyncio.StreamReader()
        task = asyncio.create_task(reader.read())
        # %%
        reader.feed_data(b"fed")
        # %%
        reader.feed_eof()
        # %%
        print(await asyncio.wait_for(task, 5))
        """,
    ),
    Pattern(
        "an AsyncExitStack and a context manager, entered in one cell and left in another",
        "asyncio",
        _PYTHON + "contextlib.html#contextlib.AsyncExitStack",
        """
        # %%
        from contextlib import AsyncExitStack, asynccontextmanager
        log = []
        @asynccontextmanager
        async def manager():
            log.append("entered")
            yield "value"
            log.append("left")
        stack = AsyncExitStack()
        entering = asyncio.ensure_future(stack.enter_async_context(manager()))
        # %%
        print(await entering)
        # %%
        leaving = asyncio.ensure_future(stack.aclose())
        # %%
        await leaving
        print(log)
        """,
    ),
    Pattern(
        "Runner.run",
        "asyncio",
        _PYTHON + "asyncio-runner.html#asyncio.Runner",
        f"""
        # %%{_SEVEN}
        coroutine = seven()
        # %%
        with asyncio.Runner() as runner:
            runner.run(coroutine)
        """,
        plain="RuntimeError",
    ),
    Pattern(
        "checking whether a loop runs",
        "asyncio",
        _LOOP + "#asyncio.loop.is_running",
        f"""
        # %%{_SEVEN}
        def run(coroutine):
            loop = asyncio.get_event_loop()
            if loop.is_running():
                return asyncio.ensure_future(coroutine)
            return loop.run_until_complete(coroutine)
        # %%
        result = run(seven())
        # %%
        print(await result)
        """,
    ),
    Pattern(
        "an object bound to one thread, in cells with and without await",
        "sqlite3",
        _PYTHON + "sqlite3.html#sqlite3.connect",
        """
        # %%
        import sqlite3
        db = sqlite3.connect(":memory:")
        # %%
        await asyncio.sleep(0)
        print(db.execute("select 1").fetchone())
        """,
        asyncnb="ProgrammingError",
        why="a cell with `await` runs on the loop's thread; pass `check_same_thread=False`",
    ),
    Pattern(
        "signal.signal in a cell with await",
        "signal",
        _PYTHON + "signal.html#signals-and-threads",
        """
        # %%
        import signal
        # %%
        await asyncio.sleep(0)
        print(signal.signal(signal.SIGUSR2, signal.SIG_DFL))
        """,
        asyncnb="ValueError",
        why="a cell with `await` runs on the loop's thread; set it in a cell without",
    ),
    Pattern(
        "a value for each thread, in cells with and without await",
        "threading",
        _PYTHON + "threading.html#thread-local-data",
        """
        # %%
        import threading
        local = threading.local()
        local.value = "the main thread's"
        # %%
        await asyncio.sleep(0)
        print(local.value)
        """,
        asyncnb="AttributeError",
        why="a cell with `await` runs on the loop's thread; use a `ContextVar`",
    ),
]

_IPYTHON = [
    Pattern(
        "%run of a script that makes a task",
        "IPython",
        _MAGICS + "#magic-run",
        """
        # %%
        %%writefile makes_a_task.py
        import asyncio
        async def work():
            await asyncio.sleep(0.05)
            return "the script's"
        task = asyncio.get_event_loop().create_task(work())
        # %%
        %run makes_a_task.py
        # %%
        print(await task)
        """,
    ),
    Pattern(
        "%run -i, and an import, of a module that makes objects of the loop",
        "IPython",
        _MAGICS + "#magic-run",
        """
        # %%
        %%writefile of_the_loop.py
        import asyncio
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        # %%
        import sys; sys.path.insert(0, ""); import of_the_loop
        # %%
        %run -i of_the_loop.py
        # %%
        future.set_result(1); of_the_loop.future.set_result(2)
        # %%
        print(await future, await of_the_loop.future, loop is asyncio.get_running_loop())
        """,
    ),
    Pattern(
        "%%time",
        "IPython",
        _MAGICS + "#magic-time",
        f"""
        # %%{_SEVEN}
        # %%
        %%time
        task = asyncio.create_task(seven())
        # %%
        print(await task)
        """,
    ),
    Pattern(
        "%time of an expression",
        "IPython",
        _MAGICS + "#magic-time",
        f"""
        # %%{_SEVEN}
        # %%
        task = %time asyncio.create_task(seven())
        # %%
        print(await task)
        """,
    ),
    Pattern(
        "%%capture",
        "IPython",
        _MAGICS + "#cellmagic-capture",
        f"""
        # %%{_SEVEN}
        # %%
        %%capture captured
        task = asyncio.create_task(seven())
        print("captured")
        # %%
        print(await task, captured.stdout)
        """,
    ),
    Pattern(
        "%timeit",
        "IPython",
        _MAGICS + "#magic-timeit",
        """
        # %%
        futures = []
        async def work(): pass
        # %%
        %timeit -n1 -r1 -q futures.append(asyncio.create_task(work()))
        # %%
        print(await futures[0], len(futures))
        """,
    ),
    Pattern(
        "run_cell in a cell",
        "IPython",
        "https://ipython.readthedocs.io/en/stable/api/generated/IPython.core.interactiveshell.html",
        f"""
        # %%{_SEVEN}
        # %%
        result = get_ipython().run_cell("task = asyncio.create_task(seven())")
        other = asyncio.create_task(seven())
        print(result.success)
        # %%
        print(await task, await other)
        """,
    ),
    Pattern(
        "a function that a line magic calls",
        "IPython",
        "https://ipython.readthedocs.io/en/stable/config/custommagics.html",
        f"""
        # %%{_SEVEN}
        # %%
        from IPython.core.magic import register_line_magic
        @register_line_magic
        def begin(line):
            return asyncio.create_task(seven(), name=line)
        # %%
        task = %begin by magic
        # %%
        print(await task, task.get_name())
        """,
    ),
    Pattern(
        "a function that pre_run_cell and post_run_cell call",
        "IPython",
        "https://ipython.readthedocs.io/en/stable/config/callbacks.html",
        """
        # %%
        seen = []
        def look(*args):
            seen.append(asyncio.get_event_loop().is_running())
        get_ipython().events.register("post_run_cell", look)
        # %%
        get_ipython().events.unregister("post_run_cell", look)
        # %%
        print(seen[:1])
        """,
    ),
    Pattern(
        "a result with an asynchronous display",
        "IPython",
        "https://ipython.readthedocs.io/en/stable/config/integrating.html",
        """
        # %%
        class Shown:
            def __repr__(self):
                tasks.append(asyncio.ensure_future(asyncio.sleep(0, "shown")))
                return "Shown"
        tasks = []
        Shown()
        # %%
        print(await tasks[0])
        """,
    ),
]

_HTTP = [
    Pattern(
        "a session made in a cell without await",
        "aiohttp",
        _AIOHTTP + "client_quickstart.html",
        _SERVER
        + """
        # %%
        import aiohttp
        session = aiohttp.ClientSession(url)
        # %%
        async with session.get("/") as response:
            print(response.status, await response.text())
        await session.close()
        await runner.cleanup()
        """,
        imports=("aiohttp",),
    ),
    Pattern(
        "a session with a timeout, a connector and a cookie jar of earlier cells",
        "aiohttp",
        _AIOHTTP + "client_advanced.html",
        _SERVER
        + """
        # %%
        import aiohttp
        connector = aiohttp.TCPConnector(limit=2)
        jar = aiohttp.CookieJar(unsafe=True)
        # %%
        timeout = aiohttp.ClientTimeout(total=5)
        session = aiohttp.ClientSession(connector=connector, cookie_jar=jar, timeout=timeout)
        # %%
        async def fetch():
            async with session.get(url) as response:
                return await response.text()
        tasks = [asyncio.create_task(fetch()) for _ in range(5)]
        # %%
        print(set(await asyncio.gather(*tasks)))
        await session.close()
        await runner.cleanup()
        """,
        imports=("aiohttp",),
    ),
    Pattern(
        "a streamed response across cells",
        "aiohttp",
        _AIOHTTP + "client_quickstart.html#streaming-response-content",
        _SERVER
        + """
        # %%
        import aiohttp
        session = aiohttp.ClientSession()
        request = asyncio.ensure_future(session.get(url + "/stream"))
        # %%
        response = await request
        print(await response.content.readline())
        # %%
        reading = asyncio.create_task(response.content.readline())
        # %%
        print(await reading, (await response.content.read())[-7:])
        response.release()
        await session.close()
        await runner.cleanup()
        """,
        imports=("aiohttp",),
    ),
    Pattern(
        "a websocket across cells",
        "aiohttp",
        _AIOHTTP + "client_quickstart.html#websockets",
        _SERVER
        + """
        # %%
        import aiohttp
        session = aiohttp.ClientSession()
        # %%
        socket = await session.ws_connect(url + "/ws")
        # %%
        sending = asyncio.create_task(socket.send_str("hello"))
        receiving = asyncio.create_task(socket.receive_str())
        # %%
        print(await asyncio.wait_for(receiving, 5))
        await socket.close()
        await session.close()
        await runner.cleanup()
        """,
        imports=("aiohttp",),
    ),
    Pattern(
        "a server in a task, with its own background task",
        "aiohttp",
        _AIOHTTP + "web_advanced.html#background-tasks",
        """
        # %%
        import aiohttp
        from aiohttp import web
        events = []
        async def background(app):
            task = asyncio.create_task(asyncio.sleep(3600))
            events.append("begun")
            yield
            task.cancel()
            events.append("ended")
        app = web.Application()
        app.cleanup_ctx.append(background)
        listening = asyncio.Future()
        async def serve():
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            listening.set_result(runner.addresses[0][1])
            try:
                await asyncio.Event().wait()
            finally:
                await runner.cleanup()
        task = asyncio.create_task(serve())
        # %%
        port = await asyncio.wait_for(listening, 5)
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/nowhere") as response:
            print(response.status)
        # %%
        task.cancel()
        # %%
        await asyncio.wait([task])
        print(events)
        """,
        imports=("aiohttp",),
    ),
    Pattern(
        "a client made in a cell without await",
        "httpx",
        "https://www.python-httpx.org/async/",
        _SERVER
        + """
        # %%
        import httpx
        client = httpx.AsyncClient(base_url=url, trust_env=False)
        # %%
        print((await client.get("/")).text)
        # %%
        tasks = [asyncio.create_task(client.get("/")) for _ in range(3)]
        # %%
        print([(await task).text for task in tasks])
        await client.aclose()
        await runner.cleanup()
        """,
        imports=("aiohttp", "httpx"),
    ),
    Pattern(
        "a streamed response across cells",
        "httpx",
        "https://www.python-httpx.org/async/#streaming-responses",
        _SERVER
        + """
        # %%
        import httpx
        client = httpx.AsyncClient(trust_env=False)
        request = client.build_request("GET", url + "/stream")
        sending = asyncio.create_task(client.send(request, stream=True))
        # %%
        response = await sending
        lines = response.aiter_lines()
        print(await anext(lines))
        # %%
        rest = asyncio.ensure_future(lines.__anext__())
        # %%
        print(await rest, [line async for line in lines][-1])
        await response.aclose()
        await client.aclose()
        await runner.cleanup()
        """,
        imports=("aiohttp", "httpx"),
    ),
    Pattern(
        "ASGITransport",
        "httpx",
        "https://www.python-httpx.org/advanced/transports/#asgi-transport",
        """
        # %%
        import httpx
        async def app(scope, receive, send):
            await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["path"].encode()})
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app")
        # %%
        task = asyncio.create_task(client.get("/from/a/task"))
        # %%
        print((await task).text, (await client.get("/from/a/cell")).text)
        # %%
        closing = asyncio.create_task(client.aclose())
        # %%
        await closing
        print(client.is_closed)
        """,
        imports=("httpx",),
    ),
    Pattern(
        "a server and a client across cells",
        "websockets",
        "https://websockets.readthedocs.io/en/stable/reference/asyncio/server.html",
        """
        # %%
        from websockets.asyncio.client import connect
        from websockets.asyncio.server import serve
        async def echo(socket):
            async for message in socket:
                await socket.send(message[::-1])
        server = await serve(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        # %%
        connecting = connect(f"ws://127.0.0.1:{port}", proxy=None)
        # %%
        socket = await connecting
        # %%
        sending = asyncio.create_task(socket.send("hello"))
        receiving = asyncio.create_task(socket.recv())
        # %%
        print(await asyncio.wait_for(receiving, 5))
        await socket.close()
        # %%
        server.close()
        # %%
        await server.wait_closed()
        print(server.is_serving())
        """,
        imports=("websockets",),
    ),
    Pattern(
        "Server.serve as a task",
        "uvicorn",
        "https://www.uvicorn.org/#running-programmatically",
        """
        # %%
        import httpx, uvicorn, socket
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"served"})
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(app, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        # %%
        async with httpx.AsyncClient(trust_env=False) as client:
            print((await client.get(f"http://127.0.0.1:{port}/")).text)
        # %%
        server.should_exit = True
        # %%
        print(await asyncio.wait_for(serving, 10), server.started)
        """,
        imports=("uvicorn", "httpx"),
    ),
    Pattern(
        "uvicorn.run in a cell",
        "uvicorn",
        "https://www.uvicorn.org/#uvicornrun",
        """
        # %%
        import uvicorn
        async def app(scope, receive, send): pass
        # %%
        uvicorn.run(app, port=0, log_level="critical", lifespan="off")
        """,
        imports=("uvicorn",),
        plain="RuntimeError",
    ),
]

_DATA = [
    Pattern(
        "files across cells",
        "aiofiles",
        "https://github.com/Tinche/aiofiles#usage",
        """
        # %%
        import aiofiles
        opening = aiofiles.open("notes.txt", "w+")
        # %%
        file = await opening
        # %%
        writing = asyncio.create_task(file.write("first\\nsecond\\n"))
        # %%
        await writing
        await file.seek(0)
        print([line async for line in file])
        await file.close()
        """,
        imports=("aiofiles",),
    ),
    Pattern(
        "a connection across cells",
        "aiosqlite",
        "https://aiosqlite.omnilib.dev/en/stable/",
        """
        # %%
        import aiosqlite
        connecting = aiosqlite.connect(":memory:")
        # %%
        db = await connecting
        await db.execute("create table t (n integer)")
        # %%
        tasks = [asyncio.create_task(db.execute("insert into t values (?)", [n])) for n in range(3)]
        # %%
        await asyncio.gather(*tasks)
        async with db.execute("select sum(n) from t") as cursor:
            print(await cursor.fetchone())
        await db.close()
        """,
        imports=("aiosqlite",),
    ),
    Pattern(
        "an engine, and a session across cells",
        "SQLAlchemy",
        "https://docs.sqlalchemy.org/en/20/orm/extensions/asyncio.html",
        """
        # %%
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
        engine = create_async_engine("sqlite+aiosqlite:///numbers.db")
        Session = async_sessionmaker(engine)
        # %%
        async with engine.begin() as connection:
            await connection.execute(text("create table t (n integer)"))
        # %%
        session = Session()
        adding = asyncio.create_task(session.execute(text("insert into t values (5)")))
        # %%
        await adding
        await session.commit()
        print((await session.execute(text("select n from t"))).scalar())
        await session.close()
        await engine.dispose()
        """,
        imports=("sqlalchemy", "aiosqlite", "greenlet"),
    ),
    Pattern(
        "a client without a server",
        "redis",
        "https://redis.readthedocs.io/en/stable/examples/asyncio_examples.html",
        """
        # %%
        import redis.asyncio as redis, socket
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        pool = redis.ConnectionPool(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0))
        client = redis.Redis(connection_pool=pool)
        pinging = asyncio.ensure_future(client.ping())
        # %%
        try:
            await pinging
        except redis.ConnectionError as error:
            print(type(error).__name__, "refused" in str(error).lower() or "connect" in str(error))
        await client.aclose()
        """,
        imports=("redis",),
    ),
    Pattern(
        "a client and a server that speaks its protocol",
        "redis",
        "https://redis.readthedocs.io/en/stable/connections.html#async-client",
        """
        # %%
        import redis.asyncio as redis
        async def serve(reader, writer):
            async for line in reader:
                if line.strip().upper() == b"PING":
                    writer.write(b"+PONG\\r\\n")
                elif line.strip().upper() in (b"HELLO", b"SETINFO", b"MAINT_NOTIFICATIONS"):
                    writer.write(b"-ERR unknown command\\r\\n")
            writer.close()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        # %%
        client = redis.Redis(port=port, protocol=2, lib_name=None, lib_version=None)
        # %%
        print(await client.ping())
        # %%
        pings = [asyncio.ensure_future(client.ping()) for _ in range(3)]
        # %%
        print(await asyncio.gather(*pings))
        await client.aclose()
        server.close()
        """,
        imports=("redis",),
    ),
    Pattern(
        "a pool without a server",
        "asyncpg",
        "https://magicstack.github.io/asyncpg/current/usage.html#connection-pools",
        """
        # %%
        import asyncpg, socket
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        pool = asyncpg.create_pool(host="127.0.0.1", port=port, user="me", ssl=False, timeout=5)
        # %%
        opening = asyncio.ensure_future(pool)
        # %%
        try:
            await opening
        except OSError as error:
            print(type(error).__name__)
        """,
        imports=("asyncpg",),
    ),
    Pattern(
        "an asynchronous client with a cluster in the process",
        "distributed",
        "https://distributed.dask.org/en/stable/asynchronous.html",
        """
        # %%
        from distributed import Client, LocalCluster
        options = dict(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None)
        cluster = await LocalCluster(asynchronous=True, **options)
        # %%
        connecting = Client(cluster, asynchronous=True)
        # %%
        client = await connecting
        # %%
        future = client.submit(pow, 2, 5)
        gathering = asyncio.ensure_future(client.gather([future]))
        # %%
        print(await future, await gathering)
        # %%
        future.release()
        closing = asyncio.ensure_future(client.close())
        # %%
        await closing
        await cluster.close()
        print(client.status, cluster.status.name)
        """,
        imports=("distributed",),
    ),
    Pattern(
        "the blocking client, in a cell without await",
        "distributed",
        "https://distributed.dask.org/en/stable/client.html",
        """
        # %%
        from distributed import Client
        client = Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None)
        # %%
        print(client.submit(pow, 2, 5).result(timeout=20), client.gather(client.map(abs, [-1, -2])))
        # %%
        client.close()
        client.cluster.close() if client.cluster else None
        print(client.status)
        """,
        imports=("distributed",),
    ),
]

_LIBRARIES = [
    Pattern(
        "a channel and a server made in cells without await",
        "grpc.aio",
        "https://grpc.github.io/grpc/python/grpc_asyncio.html",
        """
        # %%
        import grpc
        class Echo(grpc.GenericRpcHandler):
            def service(self, details):
                async def answer(request, context):
                    await asyncio.sleep(0)
                    return request[::-1]
                async def count(request, context):
                    for n in range(3):
                        yield b"%d" % n
                if details.method == "/echo/answer":
                    return grpc.unary_unary_rpc_method_handler(answer)
                return grpc.unary_stream_rpc_method_handler(count)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([Echo()])
        port = server.add_insecure_port("127.0.0.1:0")
        # %%
        await server.start()
        # %%
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        answer, count = channel.unary_unary("/echo/answer"), channel.unary_stream("/echo/count")
        # %%
        call = answer(b"abc", timeout=10)
        # %%
        print(await call, [n async for n in count(b"", timeout=10)])
        # %%
        closing = asyncio.ensure_future(channel.close())
        # %%
        await closing
        await server.stop(None)
        print(channel.get_state(), call.done())
        """,
        imports=("grpc",),
        masks=(r"(?m)^[IWE]\d{4} .*$",),  # what its C core logs, sometimes
    ),
    Pattern(
        "AsyncHTTPClient made in a cell without await",
        "tornado",
        "https://www.tornadoweb.org/en/stable/httpclient.html",
        """
        # %%
        import tornado.web
        from tornado.httpclient import AsyncHTTPClient
        from tornado.httpserver import HTTPServer
        from tornado.netutil import bind_sockets
        class Hello(tornado.web.RequestHandler):
            async def get(self):
                await asyncio.sleep(0)
                self.write("hello")
        (listener,) = bind_sockets(0, "127.0.0.1")
        server = HTTPServer(tornado.web.Application([("/", Hello)]))
        server.add_socket(listener)
        # %%
        client = AsyncHTTPClient()
        fetching = client.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        # %%
        print((await fetching).body)
        # %%
        client.close()
        server.stop()
        # %%
        await server.close_all_connections()
        print("closed")
        """,
        imports=("tornado",),
    ),
    Pattern(
        "call_later, add_callback and remove_timeout",
        "tornado",
        "https://www.tornadoweb.org/en/stable/ioloop.html",
        """
        # %%
        from tornado.ioloop import IOLoop
        called = []
        loop = IOLoop.current()
        loop.add_callback(called.append, "add_callback")
        handle = loop.call_later(1, called.append, "call_later")
        unwanted = loop.call_later(0.9, called.append, "unwanted")
        # %%
        loop.remove_timeout(unwanted)
        loop.spawn_callback(called.append, "spawn_callback")
        # %%
        while "call_later" not in called:
            await asyncio.sleep(0.01)
        print(called, loop.asyncio_loop is asyncio.get_running_loop())
        """,
        imports=("tornado",),
    ),
    Pattern(
        "PeriodicCallback started and stopped in cells without await",
        "tornado",
        "https://www.tornadoweb.org/en/stable/ioloop.html#tornado.ioloop.PeriodicCallback",
        """
        # %%
        from tornado.ioloop import PeriodicCallback
        ticks = []
        async def tick():
            ticks.append(asyncio.get_running_loop())
        periodic = PeriodicCallback(tick, 20)
        periodic.start()
        # %%
        while len(ticks) < 3:
            await asyncio.sleep(0.01)
        # %%
        periodic.stop()
        # %%
        await asyncio.sleep(0.05)
        n = len(ticks)
        await asyncio.sleep(0.1)
        print(len(ticks) == n, set(ticks) == {asyncio.get_running_loop()})
        """,
        imports=("tornado",),
    ),
    Pattern(
        "tornado's queue, event and lock",
        "tornado",
        "https://www.tornadoweb.org/en/stable/queues.html",
        """
        # %%
        from datetime import timedelta
        from tornado import gen, locks, queues
        queue, event = queues.Queue(maxsize=2), locks.Event()
        taking = queue.get()
        waiting = event.wait(timeout=None)
        # %%
        queue.put_nowait("item")
        event.set()
        # %%
        print(await taking, await gen.with_timeout(timedelta(seconds=5), waiting))
        """,
        imports=("tornado",),
    ),
    Pattern(
        "both ends of a queue",
        "janus",
        "https://github.com/aio-libs/janus#usage-example",
        """
        # %%
        import janus
        queue = janus.Queue()
        # %%
        for n in range(3):
            queue.sync_q.put(n)
        taking = asyncio.create_task(queue.async_q.get())
        # %%
        print(await taking, await queue.async_q.get())
        # %%
        print(queue.sync_q.get())
        # %%
        await queue.aclose()
        print(queue.closed)
        """,
        imports=("janus",),
    ),
    Pattern(
        "memory streams across cells",
        "anyio",
        "https://anyio.readthedocs.io/en/stable/streams.html#memory-object-streams",
        """
        # %%
        import anyio
        send, receive = anyio.create_memory_object_stream(10)
        # %%
        receiving = asyncio.create_task(receive.receive())
        # %%
        send.send_nowait("first")
        send.send_nowait("second")
        # %%
        print(await receiving, await receive.receive(), receive.statistics().current_buffer_used)
        send.close(), receive.close();
        """,
        imports=("anyio",),
    ),
    Pattern(
        "objects of a cell without await, in a task group of one with it",
        "anyio",
        "https://anyio.readthedocs.io/en/stable/synchronization.html",
        """
        # %%
        import anyio
        event, lock, limiter = anyio.Event(), anyio.Lock(), anyio.CapacityLimiter(1)
        condition, semaphore = anyio.Condition(), anyio.Semaphore(1)
        # %%
        order = []
        async def waits():
            await event.wait()
            async with lock, semaphore, condition, limiter:
                order.append("had all")
        async with anyio.create_task_group() as group:
            group.start_soon(waits)
            group.start_soon(waits)
            await anyio.sleep(0.01)
            order.append("set")
            event.set()
        print(order)
        """,
        imports=("anyio",),
    ),
    Pattern(
        "a task group and a cancel scope made in a cell without await",
        "anyio",
        "https://anyio.readthedocs.io/en/stable/tasks.html",
        """
        # %%
        import anyio
        group, scope = anyio.create_task_group(), anyio.CancelScope()
        # %%
        async def work():
            with scope:
                await anyio.sleep(3600)
            return scope.cancelled_caught
        async with group:
            task = asyncio.create_task(work())
            group.start_soon(anyio.sleep, 0)
        # %%
        scope.cancel()
        # %%
        print(await asyncio.wait_for(task, 5))
        """,
        imports=("anyio",),
    ),
    Pattern(
        "to_thread and from_thread with a limiter of another cell",
        "anyio",
        "https://anyio.readthedocs.io/en/stable/threads.html",
        """
        # %%
        import anyio, anyio.from_thread, anyio.to_thread
        limiter = anyio.CapacityLimiter(2)
        # %%
        def work(n):
            anyio.from_thread.run(anyio.sleep, 0.01)
            return n + anyio.from_thread.run_sync(len, "abc")
        async def to_thread(n):
            return await anyio.to_thread.run_sync(work, n, limiter=limiter)
        tasks = [asyncio.create_task(to_thread(n)) for n in range(4)]
        # %%
        print(await asyncio.gather(*tasks), limiter.borrowed_tokens)
        """,
        imports=("anyio",),
    ),
    Pattern(
        "a blocking portal in a cell without await",
        "anyio",
        "https://anyio.readthedocs.io/en/stable/threads.html#calling-asynchronous-code-from-an-external-thread",
        """
        # %%
        import anyio
        from anyio.from_thread import start_blocking_portal
        async def seven():
            await anyio.sleep(0.01)
            return 7
        # %%
        with start_blocking_portal() as portal:
            print(portal.call(seven))
        """,
        imports=("anyio",),
    ),
    Pattern(
        "anyio.run in a cell",
        "anyio",
        "https://anyio.readthedocs.io/en/stable/basics.html#running-async-programs",
        """
        # %%
        import anyio
        # %%
        anyio.run(anyio.sleep, 0)
        """,
        imports=("anyio",),
        plain="RuntimeError",
    ),
    Pattern(
        "a client made in one cell and closed in another",
        "discord.py",
        "https://discordpy.readthedocs.io/en/stable/api.html#client",
        """
        # %%
        import discord
        client = discord.Client(intents=discord.Intents.default())
        @client.event
        async def on_ready(): pass
        # %%
        await client.close()
        print(client.is_closed(), client.is_ready())
        """,
        imports=("discord",),
    ),
    Pattern(
        "a loop started and stopped in cells without await",
        "discord.py",
        "https://discordpy.readthedocs.io/en/stable/ext/tasks/index.html",
        """
        # %%
        from discord.ext import tasks
        ran = asyncio.Queue()
        @tasks.loop(seconds=0.02)
        async def tick():
            ran.put_nowait(tick.current_loop)
        task = tick.start()
        # %%
        print([await asyncio.wait_for(ran.get(), 5) for _ in range(3)])
        # %%
        tick.cancel()
        # %%
        await asyncio.wait([task])
        print(tick.is_running(), task.cancelled())
        """,
        imports=("discord",),
    ),
    Pattern(
        "an application made in one cell and shut down in another",
        "python-telegram-bot",
        "https://docs.python-telegram-bot.org/en/stable/telegram.ext.application.html",
        """
        # %%
        from telegram.ext import Application, MessageHandler, filters
        application = Application.builder().token("1:none").build()
        async def handle(update, context): pass
        application.add_handler(MessageHandler(filters.TEXT, handle))
        # %%
        task = application.create_task(asyncio.sleep(0.01, "done"))
        # %%
        print(await task, application.running)
        # %%
        closing = asyncio.create_task(application.bot.shutdown())
        # %%
        await closing
        print(application.update_queue.qsize())
        """,
        imports=("telegram",),
        masks=(r"(?s)^.*PTBUserWarning.*?\n",),
    ),
    Pattern(
        "gather and as_completed with a bar",
        "tqdm.asyncio",
        "https://tqdm.github.io/docs/asyncio/",
        f"""
        # %%{_SEVEN}
        # %%
        import io
        from tqdm.asyncio import tqdm
        file = io.StringIO()
        task = asyncio.create_task(tqdm.gather(*[seven() for _ in range(3)], file=file))
        # %%
        print(await task, "3/3" in file.getvalue())
        # %%
        tasks = [asyncio.create_task(seven()) for _ in range(3)]
        bar = tqdm.as_completed(tasks, file=file)
        # %%
        print([await each for each in bar], file.getvalue().count("3/3") >= 2)
        """,
        imports=("tqdm",),
    ),
    Pattern(
        "a timeout made in one cell and entered in the next",
        "async-timeout",
        "https://github.com/aio-libs/async-timeout#usage-example",
        """
        # %%
        import async_timeout
        limit = async_timeout.timeout(0.05)
        # %%
        try:
            async with limit:
                await asyncio.sleep(3600)
        except TimeoutError:
            print("too late", limit.expired() if callable(limit.expired) else limit.expired)
        """,
        imports=("async_timeout",),
    ),
    Pattern(
        "the asynchronous API across cells",
        "playwright",
        "https://playwright.dev/python/docs/library#interactive-mode-repl",
        """
        # %%
        import os
        from playwright.async_api import async_playwright
        starting = asyncio.ensure_future(async_playwright().start())
        # %%
        playwright = await starting
        path = os.environ["ASYNCNB_CHROMIUM"]
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        # %%
        opening = asyncio.ensure_future(browser.new_page())
        # %%
        page = await opening
        said = []
        # %%
        page.on("console", lambda message: said.append(message.text))
        # %%
        await page.set_content("<h1>Title</h1>")
        await page.evaluate("console.log('hello from the page')")
        reading = page.locator("h1").inner_text()
        # %%
        print(await reading, said)
        # %%
        await browser.close()
        await playwright.stop()
        print(browser.is_connected())
        """,
        imports=("playwright",),
        browser=True,
    ),
    Pattern(
        "the blocking API in a cell",
        "playwright",
        "https://playwright.dev/python/docs/library#usage",
        """
        # %%
        from playwright.sync_api import sync_playwright
        # %%
        sync_playwright().start()
        """,
        imports=("playwright",),
        plain="Error",
    ),
    Pattern(
        "apply, then asyncio.run in a cell",
        "nest_asyncio",
        "https://github.com/erdewit/nest_asyncio#usage",
        f"""
        # %%{_SEVEN}
        # %%
        import nest_asyncio
        nest_asyncio.apply()
        # %%
        task = asyncio.create_task(seven())
        # %%
        print(asyncio.run(seven()))
        # %%
        print(asyncio.get_event_loop().run_until_complete(seven()), asyncio.run(seven()))
        # %%
        print(await task)
        """,
        imports=("nest_asyncio",),
        own_kernel=True,
    ),
    Pattern(
        "apply, then asyncio.run in a cell that also awaits",
        "nest_asyncio",
        "https://github.com/erdewit/nest_asyncio#usage",
        f"""
        # %%{_SEVEN}
        import nest_asyncio
        nest_asyncio.apply()
        # %%
        await asyncio.sleep(0)
        print(asyncio.run(seven()))
        """,
        imports=("nest_asyncio",),
        own_kernel=True,
        asyncnb="RuntimeError",
        why="a task must not run the loop it runs on; write `await`, or use a cell without `await`",
    ),
    Pattern(
        "apply, then run_until_complete on a task of another cell",
        "nest_asyncio",
        "https://github.com/erdewit/nest_asyncio#usage",
        f"""
        # %%{_SEVEN}
        import nest_asyncio
        nest_asyncio.apply()
        loop = asyncio.get_event_loop()
        task = loop.create_task(seven())
        # %%
        print(loop.run_until_complete(task))
        # %%
        print(loop.run_until_complete(asyncio.gather(seven(), seven())))
        """,
        imports=("nest_asyncio",),
        own_kernel=True,
    ),
    Pattern(
        "apply, then asyncio.run in a cell",
        "nest_asyncio2",
        "https://github.com/Chaoses-Ib/nest-asyncio2#usage",
        f"""
        # %%{_SEVEN}
        # %%
        import nest_asyncio2
        nest_asyncio2.apply()
        # %%
        task = asyncio.create_task(seven())
        # %%
        print(asyncio.run(seven()))
        # %%
        print(asyncio.get_event_loop().run_until_complete(seven()), asyncio.run(seven()))
        # %%
        print(await task)
        """,
        imports=("nest_asyncio2",),
        own_kernel=True,
    ),
    Pattern(
        "apply, then asyncio.run in a cell that also awaits",
        "nest_asyncio2",
        "https://github.com/Chaoses-Ib/nest-asyncio2#usage",
        f"""
        # %%{_SEVEN}
        import nest_asyncio2
        nest_asyncio2.apply()
        # %%
        await asyncio.sleep(0)
        print(asyncio.run(seven()))
        """,
        imports=("nest_asyncio2",),
        own_kernel=True,
        asyncnb="RuntimeError",
        why="a task must not run the loop it runs on; write `await`, or use a cell without `await`",
    ),
]

_SCREEN = [
    Pattern(
        "wait_for_change",
        "ipywidgets",
        _WIDGETS + "Widget%20Asynchronous.html#waiting-for-user-interaction",
        """
        # %%
        import ipywidgets as widgets
        slider, out = widgets.IntSlider(), []
        def wait_for_change(widget, name):
            future = asyncio.Future()
            def changed(change):
                future.set_result(change.new)
                widget.unobserve(changed, name)
            widget.observe(changed, name)
            return future
        async def f():
            for _ in range(2):
                out.append(await wait_for_change(slider, "value"))
        task = asyncio.ensure_future(f())
        # %% to slider
        {"method": "update", "state": {"value": 3}}
        # %%
        await asyncio.sleep(0.05)
        # %% to slider
        {"method": "update", "state": {"value": 4}}
        # %%
        await asyncio.wait_for(task, 5)
        print(out, slider.value)
        """,
    ),
    Pattern(
        "a click that starts a task",
        "ipywidgets",
        _WIDGETS + "Widget%20Events.html",
        """
        # %%
        import ipywidgets as widgets
        button, done = widgets.Button(), asyncio.Queue()
        async def work(n):
            await asyncio.sleep(0.05)
            done.put_nowait(n)
        button.on_click(lambda _: asyncio.create_task(work("clicked")))
        # %% to button
        {"method": "custom", "content": {"event": "click"}}
        # %%
        print(await asyncio.wait_for(done.get(), 5))
        # %%
        button.click()
        # %%
        print(await asyncio.wait_for(done.get(), 5))
        """,
    ),
    Pattern(
        "observe with Queue.put_nowait",
        "ipywidgets",
        _WIDGETS + "Widget%20Asynchronous.html",
        """
        # %%
        import ipywidgets as widgets
        slider, changes = widgets.IntSlider(), asyncio.Queue()
        slider.observe(lambda change: changes.put_nowait(change.new), "value")
        async def take():
            return [await changes.get() for _ in range(3)]
        task = asyncio.create_task(take())
        # %% to slider
        {"method": "update", "state": {"value": 1}}
        # %% to slider
        {"method": "update", "state": {"value": 2}}
        # %%
        slider.value = 3
        # %%
        print(await asyncio.wait_for(task, 5))
        """,
    ),
    Pattern(
        "a widget that a task moves",
        "ipywidgets",
        _WIDGETS + "Widget%20Asynchronous.html#updating-a-widget-in-the-background",
        """
        # %%
        import ipywidgets as widgets
        progress = widgets.FloatProgress(max=1.0)
        async def work():
            for n in range(5):
                await asyncio.sleep(0.01)
                progress.value = (n + 1) / 5
        task = asyncio.create_task(work())
        # %%
        await task
        print(progress.value)
        """,
    ),
    Pattern(
        "an Output that tasks and callbacks write to",
        "ipywidgets",
        _WIDGETS + "Output%20Widget.html",
        """
        # %%
        import ipywidgets as widgets
        out, button = widgets.Output(), widgets.Button()
        async def work():
            await asyncio.sleep(0.01)
            out.append_stdout("from a task")
        button.on_click(lambda _: out.append_stdout("from a click, "))
        # %% to button
        {"method": "custom", "content": {"event": "click"}}
        # %%
        task = asyncio.create_task(work())
        # %%
        await task
        print([output["text"] for output in out.outputs])
        """,
    ),
    Pattern(
        "interact and interactive",
        "ipywidgets",
        _WIDGETS + "Using%20Interact.html",
        """
        # %%
        import ipywidgets as widgets
        called = []
        def f(x):
            called.append((x, asyncio.get_event_loop().is_running()))
        box = widgets.interactive(f, x=3)
        (slider, *_) = box.children
        box.update()
        # %% to slider
        {"method": "update", "state": {"value": 5}}
        # %%
        print(called)
        """,
    ),
    Pattern(
        "a debounce of a timer that each change moves",
        "ipywidgets",
        _WIDGETS + "Widget%20Events.html#debouncing",
        """
        # %%
        import ipywidgets as widgets
        slider, settled = widgets.IntSlider(), asyncio.Queue()
        timer = None
        def changed(change):
            global timer
            if timer is not None:
                timer.cancel()
            loop = asyncio.get_running_loop()
            timer = loop.call_later(1, settled.put_nowait, change.new)
        slider.observe(changed, "value")
        # %% to slider
        {"method": "update", "state": {"value": 1}}
        # %% to slider
        {"method": "update", "state": {"value": 2}}
        # %%
        print(await asyncio.wait_for(settled.get(), 5))
        # %%
        await asyncio.sleep(1.1)
        print(settled.empty())
        """,
    ),
    Pattern(
        "a cell that polls the browser's messages",
        "jupyter_ui_poll",
        "https://github.com/Kirill888/jupyter-ui-poll#simple-example",
        """
        # %%
        import time
        from jupyter_ui_poll import ui_events
        # %%
        polled = 0
        with ui_events() as poll:
            for _ in range(3):
                poll(2)
                polled += 1
                time.sleep(0.01)
        print(polled)
        """,
        imports=("jupyter_ui_poll",),
    ),
    Pattern(
        "an interactive figure",
        "ipympl",
        "https://matplotlib.org/ipympl/examples/full-example.html",
        """
        # %%
        %matplotlib widget
        import matplotlib.pyplot as plt
        plt.ioff()
        # %%
        figure, axes = plt.subplots()
        axes.plot([1, 2, 3])
        figure.canvas.draw()
        # %%
        async def redraw():
            axes.set_title("drawn by a task")
            figure.canvas.draw_idle()
        task = asyncio.create_task(redraw())
        # %%
        await task
        print(axes.get_title(), type(figure.canvas).__name__)
        # %%
        plt.close("all")
        %matplotlib inline
        """,
        imports=("ipympl",),
    ),
    Pattern(
        "a figure that a task draws",
        "matplotlib",
        "https://matplotlib.org/stable/users/explain/figure/interactive.html",
        """
        # %%
        %matplotlib inline
        import matplotlib.pyplot as plt
        figure, axes = plt.subplots()
        plt.close(figure)
        async def draw():
            axes.plot([1, 2])
            figure.canvas.draw()
            return len(axes.lines)
        task = asyncio.create_task(draw())
        # %%
        print(await task)
        """,
        imports=("matplotlib",),
    ),
    Pattern(
        "a periodic callback",
        "panel",
        "https://panel.holoviz.org/how_to/callbacks/periodic.html",
        """
        # %%
        import panel as pn
        ticks = asyncio.Queue()
        async def tick():
            ticks.put_nowait("tick")
        periodic = pn.state.add_periodic_callback(tick, period=30)
        # %%
        print([await asyncio.wait_for(ticks.get(), 5) for _ in range(2)], periodic.running)
        # %%
        periodic.stop()
        # %%
        await asyncio.sleep(0.05)
        print(periodic.running)
        """,
        imports=("panel",),
    ),
    Pattern(
        "asynchronous callbacks of widgets",
        "panel",
        "https://panel.holoviz.org/how_to/callbacks/async.html",
        """
        # %%
        import panel as pn
        button, clicks = pn.widgets.Button(name="click"), asyncio.Queue()
        async def clicked(event):
            await asyncio.sleep(0.01)
            clicks.put_nowait(event.new)
        button.on_click(clicked)
        # %%
        button.clicks += 1
        # %%
        print(await asyncio.wait_for(clicks.get(), 5))
        """,
        imports=("panel",),
    ),
    Pattern(
        "a function that waits for a moment without a session, and param.depends on a coroutine",
        "panel",
        "https://panel.holoviz.org/how_to/concurrency/index.html",
        """
        # %%
        import panel as pn, param
        class Model(param.Parameterized):
            n = param.Integer(0)
            seen = asyncio.Queue()
            @param.depends("n", watch=True)
            async def look(self):
                await asyncio.sleep(0)
                self.seen.put_nowait(self.n)
        model = Model()
        pn.state.execute(lambda: model.seen.put_nowait("executed"))
        # %%
        model.n = 5
        # %%
        print([await asyncio.wait_for(model.seen.get(), 5) for _ in range(2)])
        """,
        imports=("panel",),
    ),
    Pattern(
        "a document with callbacks, without a server",
        "bokeh",
        "https://docs.bokeh.org/en/latest/docs/reference/document/document.html",
        """
        # %%
        from bokeh.io import push_notebook
        from bokeh.plotting import figure
        from bokeh.document import Document
        from bokeh.models import Slider
        document, slider, changes = Document(), Slider(start=0, end=9, value=0), asyncio.Queue()
        document.add_root(slider)
        slider.on_change("value", lambda attr, old, new: changes.put_nowait((old, new)))
        # %%
        slider.value = 4
        # %%
        print(await asyncio.wait_for(changes.get(), 5))
        """,
        imports=("bokeh",),
    ),
    Pattern(
        "a server of the notebook's loop",
        "bokeh",
        "https://docs.bokeh.org/en/latest/docs/user_guide/server/library.html",
        """
        # %%
        import httpx
        from bokeh.application import Application
        from bokeh.application.handlers.function import FunctionHandler
        from bokeh.models import Div
        from bokeh.server.server import Server
        calls = asyncio.Queue()
        def modify(document):
            document.add_root(Div(text="hello"))
            document.add_next_tick_callback(lambda: calls.put_nowait("next tick"))
        server = Server({"/": Application(FunctionHandler(modify))}, port=0)
        server.start()
        # %%
        async with httpx.AsyncClient(trust_env=False) as client:
            print((await client.get(f"http://localhost:{server.port}/")).status_code)
        # %%
        print(await asyncio.wait_for(calls.get(), 5))
        server.stop()
        """,
        imports=("bokeh", "httpx"),
    ),
]

PATTERNS = _ASYNCIO + _IPYTHON + _HTTP + _DATA + _LIBRARIES + _SCREEN
