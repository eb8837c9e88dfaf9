"""Cancelling: loop bodies, thread bodies, and no other task."""

from __future__ import annotations

import pytest

# Each body waits or spins until it is cancelled, after setting `started`.
ENDLESS = {
    "a loop body": "await asyncio.sleep(60)",
    "a thread body that computes": "while True: pass",
    "a thread body that swallows exceptions": (
        "while True:\n    try:\n        for i in range(1000): i * i\n"
        "    except Exception: swallowed.append(1)"
    ),
    "a thread body of short sleeps": "while True: time.sleep(0.001)",
}


@pytest.fixture(params=ENDLESS.values(), ids=list(ENDLESS))
def endless(request, kernel):
    """A running task named `job`, its cell, and the log of its cleanup."""
    body = request.param.replace("\n", "\n            ")
    kernel.ok("started = threading.Event(); log = []; swallowed = []")
    cell = kernel.ok(
        f"""
        %%atask job
        try:
            started.set()
            {body}
        finally:
            log.append("cleaned up")
        """
    )
    kernel.ok("assert started.wait(10)")
    return kernel, cell


CANCEL = {
    "tasks cancel": "%tasks cancel job",
    "tasks cancel by glob": "%tasks cancel j*",
    "tasks cancel --all": "%tasks cancel --all",
    "method in a sync cell": "job.cancel()",
    "method in an await cell": "await asyncio.sleep(0); job.cancel()",
    "method in a thread": "x = threading.Thread(target=job.cancel); x.start(); x.join()",
    "function": "asyncnb.cancel('j*');",
}


@pytest.mark.parametrize("code", CANCEL.values(), ids=CANCEL)
def test_cancelling_ends_the_task_and_runs_its_cleanup(endless, code):
    kernel, cell = endless
    kernel.ok(code, 10)
    kernel.ok("await asyncio.wait([job], timeout=10);", 15)
    assert kernel.evaluate("(job.cancelled(), log, swallowed)") == (True, ["cleaned up"], [])
    assert kernel.evaluate("job.info().state") == "cancelled"
    assert cell.errors == []


def test_a_cancelled_task_raises_cancelled_error_in_who_waits_for_it(endless):
    kernel, _ = endless
    kernel.ok("job.cancel()")
    for code in ("await job", "job.join(10)", "await job"):
        assert kernel.run(code, 15).error.ename == "CancelledError", code
    assert kernel.ok("1 + 1").result == "2"


def test_who_waits_for_a_cancelled_task_gets_the_message(kernel):
    kernel.ok("t = asyncnb.launch(asyncio.sleep(60)); t.cancel('enough')")
    assert kernel.run("t.join(10)").error.evalue == "enough"


def test_a_loop_body_sees_the_message(kernel):
    kernel.ok("started = threading.Event(); seen = []")
    kernel.ok(
        """
        %%atask job
        try:
            started.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError as e:
            seen.append(e.args)
            raise
        """
    )
    kernel.ok("assert started.wait(10)")
    kernel.ok("%tasks cancel job -m 'no longer needed'")
    kernel.ok("await asyncio.wait([job], timeout=10);")
    assert kernel.evaluate("seen") == [("no longer needed",)]


@pytest.mark.parametrize(
    "body",
    ["await asyncio.to_thread(release.wait, 30)", "release.wait(30)"],
    ids=["loop", "thread"],
)
def test_the_state_is_cancelling_until_the_cleanup_ended(kernel, body):
    kernel.ok("started, cleaning, release = (threading.Event() for _ in range(3))")
    waiting = "await asyncio.sleep(60)" if "await" in body else "while True: pass"
    kernel.ok(
        f"""
        %%atask job
        try:
            started.set()
            {waiting}
        finally:
            cleaning.set()
            {body}
        """
    )
    kernel.ok("assert started.wait(10)")
    kernel.ok("%tasks cancel job", 5)
    kernel.ok("assert cleaning.wait(10)")
    assert kernel.evaluate("(job.info().state, job.done())") == ("cancelling", False)
    assert "cancelling" in kernel.ok("%tasks").text
    kernel.ok("release.set(); await asyncio.wait([job], timeout=10);", 15)
    assert kernel.evaluate("job.info().state") == "cancelled"


def test_a_thread_body_in_a_blocking_call_shows_cancelling_until_the_call_returns(kernel):
    kernel.ok("started = threading.Event(); release = threading.Event(); after = []")
    kernel.ok("%%atask job\nstarted.set()\nrelease.wait(30)\nafter.append(1)")
    kernel.ok("assert started.wait(10); job.cancel()")
    assert kernel.ok("await asyncio.sleep(0.05, job.info().state)", 10).result == "'cancelling'"
    kernel.ok("release.set(); await asyncio.wait([job], timeout=10);", 15)
    assert kernel.evaluate("(job.cancelled(), after)") == (True, [])


def test_a_cancelled_thread_that_does_not_end_is_reported_and_its_next_run_gives_up(kernel):
    kernel.ok("from asyncnb._kernel.cells import replaced as _replaced")
    kernel.ok("before = _replaced.REPLACE_REPORT_SECONDS, _replaced.REPLACE_SECONDS")
    kernel.ok("_replaced.REPLACE_REPORT_SECONDS, _replaced.REPLACE_SECONDS = 0.1, 0.3")
    kernel.ok("started = threading.Event(); release = threading.Event()")
    code = "%%atask job\nstarted.set()\nrelease.wait(30)"
    first = kernel.ok(code, cell_id="a")
    kernel.ok("assert started.wait(10); first = job")
    again = kernel.ok(code, cell_id="b")
    again.wait_for("This run waits for it")
    again.wait_for("so this one did not start")
    assert "line 3: release.wait(30)" in again.text
    first.wait_for("'job' was cancelled 2 s ago and is still running")
    kernel.ok("release.set(); await asyncio.wait([first], timeout=10)", 15)
    assert kernel.evaluate("(first.cancelled(), job.info().state)") == (True, "failed")
    kernel.ok("_replaced.REPLACE_REPORT_SECONDS, _replaced.REPLACE_SECONDS = before")


def test_cancelling_a_thread_body_never_hits_the_next_task_of_that_thread(kernel):
    kernel.ok(
        """
        def once(i):
            started = threading.Event()
            get_ipython().user_ns["started"] = started
            get_ipython().run_cell_magic("atask", f"spin-{i}", "started.set()\\nwhile True: pass")
            assert started.wait(10)
            asyncnb.task(f"spin-{i}").cancel()
            get_ipython().run_cell_magic("atask", f"next-{i}", "sum(range(20_000));")
            assert asyncnb.task(f"next-{i}").join(20) == sum(range(20_000))
            try: asyncnb.task(f"spin-{i}").join(10)
            except asyncio.CancelledError: return True
        """
    )
    assert kernel.ok("sum(once(i) for i in range(50))", 90).result == "50"


def test_cancelling_a_thread_body_at_its_very_end_never_hits_the_next_task(kernel):
    kernel.ok(
        """
        def once(i):
            gate = threading.Event()
            get_ipython().user_ns["gate"] = gate
            get_ipython().run_cell_magic("atask", f"ends-{i}", "gate.wait(10);")
            task = asyncnb.task(f"ends-{i}")
            gate.set()
            if i % 2: time.sleep(i * 1e-5)  # the race at another moment each time
            task.cancel()
            names = [f"next-{i}-{j}" for j in range(3)]
            for name in names:
                get_ipython().run_cell_magic("atask", name, "sum(range(20_000));")
            results = [asyncnb.task(name).join(20) for name in names]
            try: task.join(10)
            except asyncio.CancelledError: pass
            return results == [sum(range(20_000))] * 3
        """
    )
    assert kernel.ok("sum(once(i) for i in range(50))", 90).result == "50"


def test_a_task_cancelled_before_it_starts_never_runs(kernel):
    kernel.ok("ran = []\nasync def f(): ran.append(1)")
    kernel.ok("await asyncio.sleep(0); t = asyncnb.launch(f()); t.cancel()")
    kernel.ok("await asyncio.wait([t], timeout=10);")
    assert kernel.evaluate("(t.cancelled(), ran)") == (True, [])


def test_a_cell_cancelled_before_it_starts_while_the_loop_is_blocked_says_nothing(kernel):
    kernel.ok("free = threading.Event()")
    kernel.ok("%%atask hog\nawait asyncio.sleep(0)\nfree.wait(20)")
    cells = [kernel.ok("%%atask\ntime.sleep(1)"), kernel.ok("%%atask\nawait asyncio.sleep(1)")]
    kernel.ok("asyncnb.cancel('cell*'); free.set()")
    kernel.ok("import gc; hog.join(10); await asyncio.sleep(0); gc.collect()")
    assert [cell.text for cell in cells] == ["", ""]


def test_a_task_given_to_cancel_is_refused_with_the_call_that_works(kernel):
    kernel.ok("%%atask job\nawait asyncio.sleep(60)")
    error = kernel.run("asyncnb.cancel('j*', job)").error
    assert error.ename == "TypeError" and "call task.cancel()" in error.evalue
    assert kernel.evaluate("job.cancelling()") == 0, "nothing was cancelled"


def test_cancelling_by_glob_hits_the_matching_tasks_only(kernel):
    kernel.ok("for n in ('web-1', 'web-2', 'db'): asyncnb.launch(asyncio.sleep(60), name=n)")
    kernel.ok("%tasks cancel web-*")
    kernel.ok("await asyncio.wait(asyncnb.tasks('web-*'), timeout=10);")
    assert kernel.evaluate("{t.get_name(): t.cancelled() for t in asyncnb.tasks()}") == {
        "web-1": True,
        "web-2": True,
        "db": False,
    }
    assert kernel.evaluate("asyncnb.task('db').cancelling()") == 0


def test_all_does_not_cancel_what_is_not_the_users(kernel):
    kernel.ok("asyncnb.launch(asyncio.sleep(60), name='mine')")
    kernel.ok("%tasks cancel --all")
    kernel.ok("await asyncio.wait(asyncnb.tasks('mine'), timeout=10);")
    assert kernel.ok("await asyncio.sleep(0, 'the kernel lives')").status == "ok"
    assert kernel.ok("%%atask job\nawait asyncio.sleep(0)").status == "ok"


def test_cancelling_a_done_task_changes_nothing(kernel):
    kernel.ok("%%atask job\nawait asyncio.sleep(0, 'done')")
    kernel.ok("job.join(10);")
    assert kernel.ok("job.cancel()").result == "False"
    assert kernel.evaluate("(job.result(), job.info().state)") == ("done", "done")


def test_a_loop_body_that_refuses_to_be_cancelled_goes_on(kernel):
    kernel.ok("started = threading.Event(); refused = threading.Event(); gate = asyncio.Event()")
    kernel.ok(
        """
        %%atask stubborn
        try:
            started.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            refused.set()
            await gate.wait()
        "finished all the same"
        """
    )
    kernel.ok("assert started.wait(10); stubborn.cancel(); assert refused.wait(10)")
    assert kernel.evaluate("stubborn.done()") is False
    kernel.ok("gate.set(); await stubborn;", 10)
    assert kernel.evaluate("stubborn.result()") == "finished all the same"


def test_children_of_a_task_group_are_cancelled_with_the_task(kernel):
    kernel.ok("started = threading.Semaphore(0); log = []")
    kernel.ok(
        """
        %%atask job
        async def child(i):
            try:
                started.release(); await asyncio.sleep(60)
            finally: log.append(i)
        async with asyncio.TaskGroup() as group:
            for i in range(3): group.create_task(child(i))
        """
    )
    kernel.ok("for _ in range(3): assert started.acquire(timeout=10)")
    kernel.ok("%tasks cancel job")
    kernel.ok("await asyncio.wait([job], timeout=10);")
    assert kernel.evaluate("(job.cancelled(), sorted(log))") == (True, [0, 1, 2])


def test_a_server_launched_as_the_tutorial_says_is_closed_by_a_cancel_and_runs_again(kernel):
    kernel.ok(
        """
        import socket, uvicorn
        async def app(scope, receive, send): pass
        async def serve(server):
            try:
                await server.serve()
            finally:
                await server.shutdown()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]
        """
    )
    for _ in range(2):
        kernel.ok(
            """
            config = uvicorn.Config(app, port=port, log_level="warning", lifespan="off")
            server = uvicorn.Server(config)
            task = asyncnb.launch(serve(server), name="server")
            while not server.started: await asyncio.sleep(0.01)
            """
        )
        kernel.ok("%tasks cancel server")
        kernel.ok("await asyncio.wait([task], timeout=10);", 15)
        assert kernel.evaluate("task.info().state") == "cancelled"
        assert kernel.evaluate("socket.socket().connect_ex(('127.0.0.1', port)) != 0")
