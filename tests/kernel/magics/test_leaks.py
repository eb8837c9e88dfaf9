"""`%tasks leaks`: each kind is found with the line that made it, and right code is not."""

from __future__ import annotations

import re

import pytest

from tests.kernel.driver import Kernel
from tests.kernel.test_terminal import ipython

NOTHING = "No leaks found. Looked for coroutines that were never awaited, "

WORK = """
async def work(n=0):
    return n
async def ticks():
    yield 1
    yield 2
async def never():
    await asyncio.get_running_loop().create_future()
async def hello(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    await reader.read()
"""
SERVER = """
await asyncio.sleep(0)
server = await asyncio.start_server(hello, "127.0.0.1", 0)
port = server.sockets[0].getsockname()[1]
"""
RAW = """
class Keeps(asyncio.Protocol):
    pass
made = await asyncio.get_running_loop().create_connection(Keeps, "127.0.0.1", port)
"""
CONNECTION = """
reader, writer = await asyncio.open_connection("127.0.0.1", port)
writer.write(b"hi\\n")
assert await reader.readline() == b"hi\\n"
"""
WEB = """
from aiohttp import web
async def index(request):
    return web.Response(text="hi")
app = web.Application()
app.router.add_get("/", index)
runner = web.AppRunner(app)
await runner.setup()
await web.TCPSite(runner, "127.0.0.1", 0).start()
port = runner.addresses[0][1]
url = f"http://127.0.0.1:{port}/"
"""
HTTPX = """
import httpx
client = httpx.AsyncClient(trust_env=False)
assert (await client.get(url)).text == "hi"
"""


@pytest.fixture
def notebook(fresh_kernel: Kernel) -> Kernel:
    fresh_kernel.ok(WORK)
    return fresh_kernel


def leaks(kernel: Kernel) -> str:
    cell = kernel.ok("%tasks leaks")
    assert cell.stderr == ""
    return cell.stdout


def test_a_new_notebook_has_none(notebook):
    assert leaks(notebook).startswith(NOTHING)


def test_a_coroutine_that_was_never_awaited_is_found_with_its_variable_and_line(notebook):
    notebook.ok("y = 1\nx = work()")
    many = notebook.ok("many = [work(n) for n in range(1000)]").count
    out = notebook.ok("work(3)").count
    shown = leaks(notebook)
    assert shown.startswith("1002 leaks\n\nCoroutines that were never awaited\n")
    assert f"  work(), In[{many - 1}], line 2, held by x\n    await it, or `.close()`" in shown
    assert f"  1,000 × work(), In[{many}], line 1, held by many\n" in shown
    assert f"  work(), In[{out}], line 1, held by Out[{out}]\n" in shown
    assert notebook.ok("await x").status == "ok"
    assert "held by x" not in leaks(notebook)


def test_coroutines_that_a_task_will_await_are_not(notebook):
    notebook.ok("gate = asyncio.Event()")
    notebook.ok(
        "async def one_by_one(coros):\n    await gate.wait()\n    for c in coros: await c\n"
        "t = asyncnb.launch(one_by_one([work() for _ in range(5)]))\n"
        "g = asyncnb.launch(asyncnb.gather(*(never() for _ in range(5)), limit=1))"
    )
    assert leaks(notebook).startswith(NOTHING)
    notebook.ok("gate.set(); t.join(5); g.cancel()")


def test_an_async_generator_left_open_is_found_and_one_that_is_iterated_is_not(notebook):
    notebook.ok("g = ticks()\nawait anext(g)")
    shown = leaks(notebook)
    assert re.search(r"  ticks\(\), In\[\d+\], line 1, held by g\n    `await g.aclose\(\)`", shown)
    notebook.ok("await g.aclose()")
    notebook.ok(
        "async def iterate(g):\n    async for _ in g:\n        await gate.wait()\n"
        "gate = asyncio.Event(); h = ticks(); t = asyncnb.launch(iterate(h)); u = ticks()"
    )
    assert leaks(notebook).startswith(NOTHING)
    notebook.ok("gate.set(); t.join(5)")


def test_a_task_without_a_reference_is_found_and_others_are_not(notebook):
    notebook.ok("import gc; gc.disable()")
    notebook.ok("held = set()")
    notebook.ok("held.add(asyncio.create_task(never(), name='in a set')); None")
    notebook.ok("asyncio.create_task(asyncio.sleep(600), name='the timer has it'); None")
    notebook.ok("t = asyncnb.launch(never(), name='launched'); del t")
    notebook.ok(
        "event = asyncio.Event(); asyncio.create_task(event.wait(), name='the event has it'); None"
    )
    assert leaks(notebook).startswith(NOTHING)
    lonely = notebook.ok("x = 1\nasyncio.create_task(never(), name='lonely'); None").count
    shown = leaks(notebook)
    assert shown.startswith(
        f"1 leak\n\nTasks without a reference\n  task 'lonely', In[{lonely}], line 2\n    keep it"
    )
    cell = notebook.ok("gc.enable(); gc.collect(); None")
    cell.wait_for("lonely")  # asyncio says that it was destroyed: the finding was true
    assert leaks(notebook).startswith(NOTHING)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_server_and_a_connection_of_a_cell_that_ran_again_are_found(start_kernel, loop):
    notebook = start_kernel(env={"ASYNCNB_LOOP": loop})
    notebook.ok(WORK)
    first = notebook.ok(SERVER).count
    notebook.ok(CONNECTION)
    assert leaks(notebook).startswith(NOTHING)
    notebook.ok(SERVER)
    shown = leaks(notebook)
    assert re.match(
        rf"1 leak\n\nServers left open\n  server on 127.0.0.1:\d+, In\[{first}\], line 2, "
        rf"the cell ran again as In\[{first + 3}\]\n    close it before",
        shown,
    )
    made = notebook.ok(RAW).count
    notebook.ok(RAW)
    shown = leaks(notebook)
    assert re.search(
        rf"  connection to 127.0.0.1:\d+, In\[{made}\], line 3, the cell ran again", shown
    )
    assert shown.startswith("2 leaks")


def test_what_a_background_cell_left_behind_has_its_line(notebook):
    code = "%%atask serve --quiet\n\nx = await asyncio.start_server(hello, '127.0.0.1', 0)"
    first = notebook.ok(code).count
    notebook.ok("%tasks wait serve")
    assert leaks(notebook).startswith(NOTHING)
    again = notebook.ok(code).count
    notebook.ok("%tasks wait serve")
    assert re.search(
        rf"server on 127.0.0.1:\d+, In\[{first}\], line 3, the cell ran again as In\[{again}\]\n",
        leaks(notebook),
    )


def test_servers_and_connections_that_are_closed_or_in_use_are_not(notebook):
    for _ in range(2):
        notebook.ok(
            "if 'server' in globals(): server.close()\n"
            'server = await asyncio.start_server(hello, "127.0.0.1", 0)\n'
            "port = server.sockets[0].getsockname()[1]"
        )
        notebook.ok(
            f"async def talk():\n{CONNECTION.replace(chr(10), chr(10) + '    ')}\n"
            "    await never()\nt = asyncnb.launch(talk())"
        )
        notebook.ok(CONNECTION + "writer.close()")
        notebook.ok(
            "async def serve():\n    async with await asyncio.start_server(\n"
            "        hello, '127.0.0.1', 0\n    ) as own:\n        await never()\n"
            "u = asyncnb.launch(serve())"
        )
    assert leaks(notebook).startswith(NOTHING)


def test_clients_and_servers_of_aiohttp_and_httpx_are_found(notebook):
    web = notebook.ok(WEB).count
    notebook.ok("import gc; gc.disable()")
    made = notebook.ok(HTTPX).count
    assert leaks(notebook).startswith(NOTHING)
    notebook.ok(HTTPX)
    again = rf"In\[{made}\], line 2, the cell ran again as In\[\d+\]\n"
    shown = leaks(notebook)
    assert re.search(rf"  httpx.AsyncClient, {again}", shown)
    assert re.search(rf"  connection to 127.0.0.1:\d+, {again}", shown)
    notebook.ok("gc.enable(); gc.collect(); None")
    assert leaks(notebook).startswith(NOTHING)
    session = notebook.ok("import aiohttp\naiohttp.ClientSession()").count
    notebook.ok("import aiohttp\naiohttp.ClientSession()")
    notebook.ok(WEB)
    shown = leaks(notebook)
    assert f"  aiohttp.ClientSession, In[{session}], line 2, held by Out[{session}], " in shown
    assert re.search(rf"server on 127.0.0.1:\d+, In\[{web}\], line 8, the cell ran again", shown)


def test_clients_and_servers_that_are_closed_are_not(notebook):
    for _ in range(2):
        notebook.ok("if 'runner' in globals(): await runner.cleanup()\n" + WEB.strip())
        notebook.ok(
            "import aiohttp, httpx\n"
            "async with httpx.AsyncClient(trust_env=False) as client:\n"
            "    assert (await client.get(url)).text == 'hi'\n"
            "async with aiohttp.ClientSession() as session, session.get(url) as response:\n"
            "    assert await response.text() == 'hi'"
        )
    assert leaks(notebook).startswith(NOTHING)


def test_threads_of_cancelled_tasks_are_found_until_they_end(notebook):
    notebook.ok("gate = threading.Event(); also = threading.Event()")
    stuck = notebook.ok(
        "%%atask stuck\nstarted = True\ntry:\n    gate.wait()\nfinally:\n    gate.wait()"
    ).count
    call = notebook.ok(
        "async def away():\n    await asyncio.to_thread(also.wait)\n"
        "t = asyncio.create_task(away())\n"
        "await asyncio.sleep(0.1)\nt.cancel()\nawait asyncio.wait([t])"
    ).count
    notebook.ok("asyncnb.cancel('stuck')")
    shown = leaks(notebook)
    assert re.search(rf"  thread of 'stuck', In\[{stuck}\], line [46]\n    it ends when", shown)
    assert f"  thread that runs Event.wait(), In[{call}], line 2\n    it ends when" in shown
    notebook.ok("also.set(); gate.set()")
    notebook.ok("%tasks wait stuck")
    notebook.ok("import concurrent.futures; asyncnb.run(asyncio.to_thread(int))")
    assert leaks(notebook).startswith(NOTHING)


def test_the_dashboard_the_chips_and_a_second_look_are_none(notebook):
    notebook.ok("board = asyncnb.dashboard(); board")
    notebook.ok("gate = asyncio.Event(); t = asyncnb.launch(gate.wait(), name='chip'); t")
    notebook.ok("%tasks live")
    notebook.ok(
        "%%atask bars --show\nfor n in asyncnb.track(range(3)):\n    await asyncio.sleep(0)"
    )
    notebook.ok("%tasks wait bars")
    assert leaks(notebook).startswith(NOTHING)
    assert leaks(notebook).startswith(NOTHING)
    notebook.ok("t.cancel()")


def test_an_interrupt_ends_the_look(notebook):
    notebook.ok("kept = [{'a': [n]} for n in range(100_000)]; x = [work() for _ in range(2)]")
    looking = notebook.submit("print('begins', flush=True)\nwhile True:\n    %tasks leaks")
    looking.wait_for("2 leaks")
    notebook.interrupt()
    assert looking.wait().error.ename == "KeyboardInterrupt"
    assert leaks(notebook).startswith("2 leaks")


def test_a_terminal_has_it_too(python, tmp_path):
    shown = ipython(
        python,
        tmp_path,
        "%load_ext asyncnb",
        "async def work(): pass\n",
        "x = work()",
        "%tasks leaks",
        "%asyncnb option leaks on",
        "y = work()",
    )
    assert "  work(), In[3], line 1, held by x\n" in shown
    assert "asyncnb: 1 leak:\n  work(), In[6], line 1, held by y\n" in shown


def test_on_the_loop_it_is_refused(notebook):
    refused = notebook.run("await asyncio.sleep(0)\n%tasks leaks").error
    assert refused.ename == "UsageError"
    assert "runs on the loop's thread" in refused.evalue
    assert "leaks" in notebook.complete("%tasks l")


ON = "%asyncnb option leaks on"
OFF = "%asyncnb option leaks off"


def test_the_option_notes_each_leak_once_below_the_cell_that_made_it(notebook):
    quiet = notebook.ok("before = work()\nsys.get_coroutine_origin_tracking_depth()")
    assert (quiet.result, quiet.stderr) == ("0", "")
    assert notebook.ok(ON).stderr == ""
    made = notebook.ok("def helper():\n    return work()\nlater = [helper()]\nnow = work()")
    n = made.count
    assert made.stderr == (
        "asyncnb: 2 leaks:\n"
        f"  work(), In[{n}], line 2, held by later\n"
        "    await it, or `.close()` it if it is not needed\n"
        f"  work(), In[{n}], line 4, held by now\n"
        "    await it, or `.close()` it if it is not needed\n"
    )
    assert notebook.ok("1 + 1").stderr == ""
    assert notebook.ok("await later[0], await now, await before; c = None").stderr == ""
    assert notebook.ok("d = await work(5)").stderr == ""
    in_task = notebook.ok("async def make():\n    return [work()]\nw = await make()")
    assert f"work(), In[{in_task.count}], line 2, held by w\n" in in_task.stderr
    notebook.ok("await w[0]")
    notebook.ok(OFF)
    assert notebook.ok("x = work()").stderr == ""
    notebook.ok("await x")


def test_the_option_notes_a_server_of_the_earlier_run_and_not_a_closed_one(notebook):
    notebook.ok(ON)
    first = notebook.ok(SERVER)
    assert first.stderr == ""
    again = notebook.ok(SERVER)
    assert re.search(
        rf"asyncnb: 1 leak:\n  server on 127.0.0.1:\d+, In\[{first.count}\], line 2, "
        rf"the cell ran again as In\[{again.count}\]\n",
        again.stderr,
    )
    assert notebook.ok("server.close()").stderr == ""
    closed = "async with await asyncio.start_server(hello, '127.0.0.1', 0):\n    pass"
    assert notebook.ok(closed).stderr == notebook.ok(closed).stderr == ""


DEPTHS = """
async def depth():
    return sys.get_coroutine_origin_tracking_depth()
(sys.get_coroutine_origin_tracking_depth(), asyncnb.run(depth()))
"""


def test_the_depth_of_origins_is_put_back_on_both_threads(notebook):
    assert notebook.ok(DEPTHS).result == "(0, 0)"
    notebook.ok(ON)
    assert notebook.ok(DEPTHS).result == "(4, 4)"
    notebook.ok("%asyncnb restart")
    assert notebook.ok(DEPTHS).result == "(4, 4)"
    notebook.ok(OFF)
    assert notebook.ok(DEPTHS).result == "(0, 0)"
    notebook.ok(f"sys.set_coroutine_origin_tracking_depth(3)\n{ON}")
    notebook.ok("%unload_ext asyncnb")
    assert notebook.ok("sys.get_coroutine_origin_tracking_depth()").result == "3"
    assert notebook.ok("get_ipython().events.callbacks['post_run_cell']").result.count("leak") == 0
