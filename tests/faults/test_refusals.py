"""Work that will not stop, files that cannot be written, loops of other code."""

from __future__ import annotations

import sys

import pytest

from tests.faults.conftest import begin, check

posix = pytest.mark.skipif(sys.platform == "win32", reason="these files and limits are POSIX's")

RECORDED = """
%%atask job --trace
for _ in range(200): await asyncio.sleep(0)
"""


@pytest.mark.promise(
    "a coroutine refused for its timeout or a keyword is closed; the error says why"
)
@pytest.mark.parametrize(
    "call",
    [
        *(f"asyncnb.{f}(c, timeout={t})" for f in ("run", "launch") for t in ("-1", "True", "'5'")),
        "asyncnb.open_group('g').create_task(c, context=5)",
        "asyncnb.open_group('g').create_task(c, unknown=5)",
        "asyncnb.run_coroutine_threadsafe(c, 5)",
    ],
)
def test_refused_coroutine_is_closed(victim, call):
    victim.ok("import warnings, gc; warnings.simplefilter('always')\nc = asyncio.sleep(0)")
    refused = victim.run(call)
    assert refused.error.ename in ("TypeError", "ValueError") and len(refused.error.evalue) > 20
    cell = victim.ok(
        "sys.last_value = sys.last_traceback = sys.last_exc = None; del c; gc.collect();"
    )
    victim.drain()
    assert not victim.where("never awaited") and cell.errors == []
    victim.ok("asyncnb.open_group('g').join()")


@pytest.mark.promise(
    "a wait for work that this very thread must run is refused, even with a timeout"
)
@pytest.mark.parametrize("timeout", ["", ", timeout=60"])
@pytest.mark.parametrize("debug", ["", ", debug=True"], ids=["", "a new loop"])
def test_run_of_a_task_of_the_own_loop(victim, timeout, debug):
    victim.ok(
        f"""
        async def main():
            task = asyncio.create_task(asyncio.sleep(0, 7))
            try: asyncnb.run(task{timeout}{debug})
            except asyncnb.WrongThreadError as exc: assert "await task" in str(exc)
            else: raise AssertionError("not refused")
            return await task
        assert await asyncio.to_thread(asyncio.run, main()) == 7
        """
    )


@pytest.mark.promise("an async function for an executor is refused, not lost")
@pytest.mark.parametrize("what", ["work", "work()", "functools.partial(work)"])
def test_async_function_for_an_executor(victim, what):
    victim.ok("import functools\nasync def work(): return 7")
    refused = victim.run(f"await asyncio.get_running_loop().run_in_executor(None, {what})")
    assert refused.error.ename == "TypeError"
    assert "takes a plain function" in refused.error.evalue


@pytest.mark.promise("an option that is fixed at import is refused, whichever way it is set")
@pytest.mark.parametrize("way", ["%config AsyncNB.loop = {!r}", "%asyncnb option loop {}"])
def test_fixed_option(victim, way):
    read = "asyncnb._extension._loaded.settings['loop']"
    before = victim.evaluate(read)
    cell = victim.run(way.format("asyncio" if before == "uvloop" else "uvloop"))
    said = cell.text + cell.stderr + (cell.error.evalue if cell.error else "")
    assert "ASYNCNB_LOOP in the kernel's environment" in " ".join(said.split())
    assert victim.evaluate(read) == before


@pytest.mark.promise(
    "code that ends the loop is refused on that loop; the error says where to run it"
)
@pytest.mark.parametrize("order", ["%unload_ext asyncnb", "%asyncnb restart"])
def test_end_of_the_loop_asked_on_it(victim, order):
    cell = victim.run(f"await asyncio.sleep(0)\n{order}")
    assert cell.status == "error"
    assert f"Run {order} in a separate cell" in cell.error.evalue + cell.stderr


@pytest.mark.promise("a task that does not end when it is replaced: its next run says so and ends")
def test_rerun_of_a_task_that_does_not_end(victim):
    victim.ok(
        """
        from asyncnb._kernel.cells import replaced as _replaced
        before = _replaced.REPLACE_REPORT_SECONDS, _replaced.REPLACE_SECONDS
        _replaced.REPLACE_REPORT_SECONDS, _replaced.REPLACE_SECONDS = 0.1, 0.3
        started, release = threading.Event(), threading.Event()
        """
    )
    code = "%%atask job\nstarted.set()\nrelease.wait(60)"
    victim.ok(code, cell_id="a")
    victim.ok("assert started.wait(10); first = job")
    victim.ok(code, cell_id="b").wait_for("so this one did not start")
    victim.ok("release.set(); await asyncio.wait([first], timeout=10);", 15)
    assert victim.evaluate("first.info().state, job.info().state") == ("cancelled", "failed")
    victim.ok("_replaced.REPLACE_REPORT_SECONDS, _replaced.REPLACE_SECONDS = before")


@posix
@pytest.mark.promise("no room for a trace: an OSError says so, and the old file is unchanged")
@pytest.mark.parametrize("where", ["full device", "full disk", "no such folder", "a folder"])
def test_trace_file_cannot_be_written(victim, where):
    victim.ok(RECORDED)
    victim.ok("%tasks wait job")
    path = {"full device": "/dev/full", "no such folder": "no/such/place.json", "a folder": "."}
    victim.ok("import os, resource; open('trace.json', 'w').write('the old one')")
    victim.ok(f"before = os.listdir(); path = {path.get(where, 'trace.json')!r}")
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, ({}, old[1]))"
    if where == "full disk":
        victim.ok(f"old = resource.getrlimit(resource.RLIMIT_FSIZE)\n{limit.format(4096)}")
    try:
        failed = victim.run("asyncnb.export_trace(path)", stop_on_error=False)
    finally:
        if where == "full disk":
            victim.ok(limit.format("old[0]"))
    assert "The trace could not be written: " in failed.error.evalue, failed.error
    assert victim.evaluate("isinstance(sys.last_value, OSError)")
    assert victim.evaluate("open('trace.json').read()") == "the old one"
    assert victim.evaluate("os.listdir() == before") is True
    assert victim.ok("asyncnb.export_trace('trace.json') > 0").result == "True"
    victim.ok("import json; json.load(open('trace.json'))['traceEvents']")


@pytest.mark.promise("uvloop set as the policy before loading: all of it works")
def test_uvloop_policy(start_kernel):
    kernel = start_kernel(extension=False)
    if not kernel.evaluate("__import__('importlib.util').util.find_spec('uvloop') is not None"):
        pytest.skip("uvloop is not installed beside this kernel")
    kernel.ok(
        "import warnings; warnings.simplefilter('ignore')\n"
        "import asyncio, uvloop; asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())"
    )
    kernel.ok("%load_ext asyncnb\nimport asyncio, asyncnb, sys, threading, time")
    begin(kernel)
    assert kernel.ok("asyncnb.run(asyncio.sleep(0, 'ran'))").result == "'ran'"
    stopped = kernel.submit("print('busy'); await asyncio.sleep(600)").wait_for("busy")
    kernel.interrupt()
    assert stopped.wait().error.ename == "KeyboardInterrupt"
    check(kernel)


ENDS = ["KeyboardInterrupt", "SystemExit(3)", "GeneratorExit", "BaseException('own')"]
BROKEN = """class E(Exception):
    def __str__(self): raise RuntimeError('no str')
    __repr__ = __str__
"""


@pytest.mark.promise("a BaseException ends repeated work at once: failed, shown, not tried again")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("option", ["--every 0.01", "--retry 5"])
def test_repeated_work_raises_a_base_exception(victim, option, end):
    victim.ok("rounds = 0")
    cell = victim.ok(f"%%atask job {option}\nawait asyncio.sleep(0)\nrounds += 1\nraise {end}")
    cell.wait_for(end.partition("(")[0])
    victim.ok("await asyncnb.wait([asyncnb.task('job')])")
    assert victim.evaluate("asyncnb.task('job').info().state") == "failed"
    assert victim.evaluate("rounds") == 1
    victim.drain()
    assert len(cell.errors) == 1


@pytest.mark.promise(
    "an error whose message cannot be read counts as a failure: the rounds continue"
)
def test_repeated_work_fails_with_a_broken_message(victim):
    victim.ok("rounds = 0")
    cell = victim.ok(
        f"%%atask job --every 0.01\n{BROKEN}await asyncio.sleep(0)\nrounds += 1\nraise E"
    )
    victim.ok("while rounds < 5: await asyncio.sleep(0.01)")
    assert "<its __str__ raised" in victim.ok("%tasks").result
    victim.ok("%tasks cancel job")
    cell.wait_for("raise E")
    tried = victim.ok(f"%%atask again --retry 1\n{BROKEN}await asyncio.sleep(0)\nraise E")
    tried.wait_for("Retrying in")
    victim.ok("%tasks cancel again")


@pytest.mark.promise(
    "a group whose tasks refuse shows as cancelling, can be cancelled again, blocks no other"
)
@pytest.mark.parametrize("kind", ["magic", "open_group", "TaskGroup"])
def test_group_whose_children_refuse(victim, kind):
    victim.ok(
        """
        begun, refused, give_in = 0, 0, False
        async def child():
            global begun, refused
            begun += 1
            while not give_in:
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    refused += 1
                    if give_in: raise
        """
    )
    match kind:
        case "magic":
            victim.ok("%%agroup crowd\nfor n in range(3): crowd.create_task(child(), name=f'c{n}')")
        case "open_group":
            victim.ok(
                "crowd = asyncnb.open_group('crowd')\n"
                "for n in range(3): crowd.create_task(child(), name=f'c{n}')"
            )
        case "TaskGroup":
            victim.ok(
                "%%atask crowd\nasync with asyncnb.TaskGroup() as g:\n"
                "    for n in range(3): g.create_task(child(), name=f'c{n}')"
            )
    victim.ok("while begun < 3: await asyncio.sleep(0.01)")
    ask = "%tasks cancel crowd" if kind == "TaskGroup" else "%tasks cancel -g crowd"
    victim.ok(ask)
    victim.ok("while refused < 3: await asyncio.sleep(0.01)")
    assert "cancelling" in victim.ok("%tasks").result
    victim.ok("give_in = True")
    if kind == "TaskGroup":  # as asyncio's, it asks its children once
        victim.ok("for t in asyncnb.tasks('c?', all=True): t.cancel()")
    else:
        victim.ok("%tasks cancel c0 c1 c2")
    victim.ok(
        "while any(not t.done() for t in asyncnb.tasks() if t.get_name() != 'witness'):\n"
        "    await asyncio.sleep(0.01)",
        15,
    )
    assert victim.evaluate("refused") >= 6
