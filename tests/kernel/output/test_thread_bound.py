"""Objects and calls of one thread, used in the other kind of cell: the error says what to write."""

from __future__ import annotations

import pytest

MAIN, LOOP = "in the main thread", "on the embedded loop's thread"


def advice(cell):
    notes = [line for line in cell.error.traceback.splitlines() if line.startswith("asyncnb: ")]
    assert len(notes) == 1, cell.error.traceback
    return notes[0]


def test_a_connection_of_sqlite_says_which_thread_made_it_and_what_to_write(kernel):
    kernel.ok("import sqlite3\ndb = sqlite3.connect(':memory:')")
    said = advice(kernel.run("await asyncio.sleep(0)\ndb.execute('select 1')"))
    assert f"created {MAIN} and used {LOOP}" in said and "check_same_thread=False" in said
    kernel.ok("await asyncio.sleep(0)\ndb = sqlite3.connect(':memory:')")
    said = advice(kernel.run("db.execute('select 1')"))
    assert f"created {LOOP} and used {MAIN}" in said
    task = kernel.ok("%%atask job\ndb.execute('select 1')").wait_for("asyncnb: ")
    assert f"created {LOOP} and used in another thread (each background" in advice(task)
    kernel.ok("db = sqlite3.connect(':memory:', check_same_thread=False)")
    assert kernel.ok("await asyncio.sleep(0)\ndb.execute('select 1').fetchone()").result == "(1,)"


def test_other_errors_of_sqlite_stay_as_they_are(kernel):
    kernel.ok("import sqlite3\ndb = sqlite3.connect(':memory:')")
    for code in ("db.execute('select * from nothing')", "db.close(); db.execute('select 1')"):
        error = kernel.run(code).error
        assert error.ename in ("OperationalError", "ProgrammingError")
        assert "asyncnb: " not in error.traceback


@pytest.mark.parametrize("kind", ["threading.local", "type('Mine', (threading.local,), {})"])
def test_an_attribute_that_another_thread_has_is_explained(kernel, kind):
    kernel.ok(f"local = {kind}()\nlocal.value = 5")
    said = advice(kernel.run("await asyncio.sleep(0)\nlocal.value"))
    assert "in each thread" in said and "plain variable" in said
    assert "asyncnb: " not in kernel.run("threading.value").error.traceback


@pytest.mark.parametrize(
    "call",
    [
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)",
        "signal.set_wakeup_fd(-1)",
    ],
)
def test_a_signal_handler_that_is_refused_says_where_it_can_be_set(kernel, call):
    kernel.ok("import signal")
    said = advice(kernel.run(f"await asyncio.sleep(0)\n{call}"))
    assert "a cell without `await`" in said and "add_signal_handler" in said
    kernel.ok(call)
    kernel.ok(f"async def sets():\n    await asyncio.sleep(0)\n    {call}\n    print('set')")
    kernel.ok("%%atask --on kernel\nawait sets()").wait_for("set")


def test_a_server_that_sets_signal_handlers_in_a_background_cell_says_how_not_to(kernel):
    kernel.ok("from aiohttp import web\nnothing = {'port': 0, 'print': None}")
    cell = kernel.ok("%%atask job\nweb.run_app(web.Application(), **nothing)").wait_for("asyncnb: ")
    assert "handle_signals=False" in advice(cell)
    kernel.ok(
        """
        %%atask job
        app = web.Application()
        app.on_startup.append(lambda app: asyncio.sleep(0, print("serves")))
        web.run_app(app, handle_signals=False, **nothing)
        """
    ).wait_for("serves")
    kernel.ok("%tasks cancel job")
    kernel.ok("await asyncio.wait([job], timeout=10);", 15)
    assert kernel.evaluate("job.info().state") == "cancelled"


def test_an_engine_of_sqlalchemy_in_memory_is_explained(kernel):
    if not kernel.evaluate("__import__('importlib.util').util.find_spec('sqlalchemy') is not None"):
        pytest.skip("SQLAlchemy is not installed beside this kernel")
    kernel.ok(
        """
        from sqlalchemy import create_engine, text, StaticPool
        def fill(engine):
            with engine.begin() as c: c.execute(text("create table tag (t)"))
            return engine
        async def count(engine):
            await asyncio.sleep(0)
            with engine.connect() as c: return c.execute(text("select count(*) from tag")).scalar()
        engine = fill(create_engine("sqlite://"))
        connection = engine.connect()
        """
    )
    said = advice(kernel.run("await count(engine)"))
    assert "per thread" in said and "StaticPool" in said
    said = advice(kernel.run("await asyncio.sleep(0); connection.execute(text('select 1'))"))
    assert f"created {MAIN} and used {LOOP}" in said
    kernel.ok(
        "engine = fill(create_engine('sqlite://', connect_args={'check_same_thread': False}, "
        "poolclass=StaticPool))"
    )
    assert kernel.ok("await count(engine)").result == "0"
    error = kernel.run("engine.connect().execute(text('select * from other'))").error
    assert "asyncnb: " not in error.traceback
