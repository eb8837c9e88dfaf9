"""Tasks that fail, in every way there is."""

from __future__ import annotations

import pytest

from tests.faults.conftest import begin, check

RAISES = {
    "SystemExit": "raise SystemExit(3)",
    "sys.exit": "import sys; sys.exit(4)",
    "quit": "quit()",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "StopIteration": "next(iter(()))",
    "StopAsyncIteration": "raise StopAsyncIteration",
    "CancelledError": "raise asyncio.CancelledError",
    "BaseExceptionGroup": "raise BaseExceptionGroup('both', [KeyboardInterrupt(), ValueError(1)])",
    "recursion": "f = lambda: f()\nf()",
    "MemoryError": "bytearray(1 << 62)",
    "unpicklable": "class E(Exception):\n    def __reduce__(self): 1 / 0\nraise E(lambda: 0)",
    "broken str": (
        "class E(Exception):\n    def __str__(self): raise RuntimeError('no str')\n"
        "    __repr__ = __str__\nraise E"
    ),
    "broken str of BaseException": (
        "class E(Exception):\n    def __str__(self): raise SystemExit('no str')\n"
        "    __repr__ = __str__\nraise E"
    ),
    "no string": "class E(Exception):\n    def __str__(self): return 42\nraise E",
    "half a surrogate": "raise ValueError('\\ud800')",
    "huge message": "raise ValueError('x' * 10_000_000)",
    "a name that lies": "class E(Exception): pass\nE.__name__ = '<script>'\nraise E('<b>')",
    "a cause that is itself": "e = ValueError('loop')\ne.__cause__ = e\nraise e",
    "a broken hash": "class E(Exception):\n    __hash__ = None\nraise E('unhashable')",
    "a broken traceback": (
        "class E(Exception):\n    def _render_traceback_(self): raise RuntimeError\nraise E('x')"
    ),
}
WHERE = {"loop": "await asyncio.sleep(0)\n", "thread": ""}


@pytest.mark.promise(
    "a body may raise anything: its task ends, is shown, and nothing else is affected"
)
@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE)
@pytest.mark.parametrize("body", RAISES.values(), ids=RAISES)
def test_body_raises(victim, body, where):
    cell = victim.ok(f"%%atask job\n{where}{body}")
    victim.ok("while not job.done(): time.sleep(0.005)\njob._record.wait_shown(10)")
    victim.drain()
    state = victim.evaluate("job.info().state")
    if "CancelledError" in body:
        assert state == "cancelled"
        return
    assert state == "failed"
    assert victim.evaluate("isinstance(job.info().error, str)")
    assert "failed" in victim.ok("%tasks").result
    assert cell.errors or cell.text, "nothing was shown"


@pytest.mark.promise(
    "an endless recursion is shown with its first and last frames, not with all of them"
)
def test_recursion_is_shown_short(victim):
    cell = victim.ok("%%atask job\nf = lambda: f()\nf()").wait_for("RecursionError")
    assert "frames are omitted here" in cell.error.traceback
    assert cell.error.traceback.count("in <lambda>()") == 19


RESULTS = {
    "broken repr": "class R:\n    def __repr__(self): raise RuntimeError('no repr')\nR()",
    "SystemExit in repr": "class R:\n    def __repr__(self): raise SystemExit\nR()",
    "a repr that is not a string": "class R:\n    def __repr__(self): return 42\nR()",
    "broken html": "class R:\n    def _repr_html_(self): 1 / 0\nR()",
    "half a surrogate": "class R:\n    def __repr__(self): return '\\ud800'\nR()",
    "the task itself": "asyncnb.task('job')",
    "a coroutine": "async def c(): pass\nk = c(); k.close(); k",
    "a giant": "'x' * 20_000_000",
}


@pytest.mark.promise("a result that cannot be shown is still a result")
@pytest.mark.parametrize("body", RESULTS.values(), ids=RESULTS)
def test_result_cannot_be_shown(victim, body):
    victim.ok(f"%%atask job\nawait asyncio.sleep(0)\n{body}")
    victim.ok("while not job.done(): time.sleep(0.005)\njob._record.wait_shown(10)")
    assert victim.evaluate("job.info().state") == "done"
    victim.ok("value = job.result(); del value")


@pytest.mark.promise("a callback that raises is reported once, and the other callbacks run")
def test_callback_raises(victim):
    victim.ok("job_done = threading.Event()")
    cell = victim.ok(
        """
        %%atask job
        def boom(task): raise ValueError("from the callback")
        me = asyncio.current_task()
        me.add_done_callback(boom)
        me.add_done_callback(lambda _: job_done.set())
        await asyncio.sleep(0)
        """
    )
    victim.ok("assert job_done.wait(10)")
    cell.wait_for("from the callback")
    assert victim.evaluate("job.info().state") == "done"


@pytest.mark.promise("an observer that raises is logged once and removed")
def test_observer_raises(victim):
    cell = victim.ok(
        """
        from asyncnb._core.launched.record import observers
        seen = []
        def bad(record):
            seen.append(record.task.get_name())
            raise ValueError("from the observer")
        observers.add(bad)
        for n in range(3):
            asyncnb.launch(asyncio.sleep(0), name=f"o{n}").join()
        assert seen == ["o0"], seen
        assert bad not in observers.each
        """
    )
    assert cell.status == "ok"


@pytest.mark.promise("a task ends and can be joined even if its front end cannot show it")
def test_front_end_raises(victim):
    cell = victim.ok(
        """
        from asyncnb._core import frontend
        class Broken(frontend.PlainFrontEnd):
            def task_ended(self, record):
                raise ValueError("from the front end")
        detach = frontend.attach(Broken())
        try:
            task = asyncnb.launch(asyncio.sleep(0, 5), name="shown by no one")
            assert task.join() == 5
            task._record.wait_shown(10)
            assert task._record._shown
        finally:
            detach()
        """
    )
    assert cell.status == "ok"


@pytest.mark.promise("a repr that raises SystemExit is shown, and so is the output of other tasks")
def test_repr_that_exits(victim):
    victim.ok("class Exits:\n    def __repr__(self): raise SystemExit('from the repr')")
    bad = victim.ok("%%atask exits\nawait asyncio.sleep(0)\nExits()")
    victim.ok("%%atask good\nawait asyncio.sleep(0)\n6 * 7").wait_for("42")
    bad.wait_for("from the repr")


@pytest.mark.promise("a progress label that cannot be sent or read breaks no other bar")
def test_bad_label(victim):
    victim.ok(
        "class Label(str):\n    def __str__(self): raise ValueError('no label')\n"
        "for label in ('bad \\ud800', Label('x')):\n"
        "    for _ in asyncnb.track(range(3), name=label): pass"
    )
    assert "3/3 done" in victim.ok("for _ in asyncnb.track(range(3), name='good'): pass").text


OVERLAPPING = """
from concurrent.futures import Executor, ThreadPoolExecutor
class Here(Executor):  # asyncnb takes it for one whose workers are elsewhere
    pool = ThreadPoolExecutor(2)
    def submit(self, *work, **options): return self.pool.submit(*work, **options)
def work(n):
    import asyncnb, sys
    for _ in asyncnb.track(range(2), name=f"job {n}"):
        sys.begun[n].set()
        sys.gates[n].wait(30)
sys.begun, sys.gates = [[threading.Event() for _ in range(2)] for _ in range(2)]
here = Here()
jobs = [asyncnb.offload(work, n, on=here) for n in range(2)]
assert all(each.wait(20) for each in sys.begun)
for gate, job in zip(sys.gates, jobs):
    gate.set()
    job.join(20)
del sys.begun, sys.gates
"""


@pytest.mark.promise("jobs that overlap in the kernel's own process break no bar of the notebook")
def test_bars_beside_overlapping_jobs(victim):
    victim.ok(OVERLAPPING, 60)
    assert "3/3 done" in victim.ok("for _ in asyncnb.track(range(3), name='good'): pass").text


@pytest.mark.promise("tasks raise one and the same exception object: each of them is shown")
def test_one_exception_of_two_tasks(victim):
    victim.ok("err = ValueError('shared')\nasync def fails(): raise err")
    cell = victim.ok("for name in ('first', 'second'): asyncnb.launch(fails(), name=name)")
    cell.wait_for("second failed with the same exception as first")
    assert len(cell.errors) == 1
    victim.ok("asyncnb.launch(fails(), name='third')").wait_for(lambda cell: cell.errors)


@pytest.mark.promise("a task launched before %load_ext fails after it: shown, and kept")
def test_task_of_before_loading(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok("import asyncio, asyncnb, sys, threading, time\ngate = threading.Event()")
    kernel.ok(
        "def fails():\n    gate.wait(20); raise ValueError('must be seen')\n"
        "early = asyncnb.launch(asyncio.to_thread(fails), name='early')"
    )
    kernel.ok("%load_ext asyncnb")
    begin(kernel)
    kernel.run("gate.set()\n%tasks wait early -t 10")
    kernel.drain()
    assert kernel.where("must be seen")
    assert "ValueError: must be seen" in kernel.ok("%tasks output early").text
    check(kernel)


@pytest.mark.promise("what ended tasks refer to is freed, except the newest results and frames")
def test_ended_tasks_keep_little(victim):
    victim.ok(
        """
        import gc, weakref
        class Large: pass
        results, frames = [], []
        async def load():
            results.append(weakref.ref(large := Large()))
            return large
        async def fail():
            frames.append(weakref.ref(large := Large()))
            raise ValueError("no luck")
        def alive(made):
            gc.collect()
            return sum(each() is not None for each in made)
        """
    )
    victim.ok("df = asyncnb.launch(load()).join(10)")
    assert victim.evaluate("alive(results)") == 1
    cell = victim.ok("for _ in range(5): asyncnb.launch(fail())")
    victim.ok("for _ in range(300): asyncnb.launch(load())\nawait asyncio.sleep(0)")
    cell.wait_for(lambda cell: len(cell.errors) == 5)
    victim.ok("while any(not t.done() for t in asyncnb.tasks(state='pending')): pass")
    victim.drain()
    assert victim.evaluate("alive(frames)") == 1  # for `%tasks debug`
    assert victim.evaluate("alive(results[1:])") <= 100
    victim.ok("del df")
    assert victim.evaluate("alive(results[:1])") == 0
