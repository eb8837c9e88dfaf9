"""`%%atask`: where a body runs, what it sees, which name its task gets."""

from __future__ import annotations

WHO = "threading.current_thread().name"


def test_a_body_with_await_runs_on_the_embedded_loop(kernel):
    cell = kernel.ok(
        f"""
        %%atask where
        await asyncio.sleep(0)
        print({WHO}, asyncio.get_running_loop() is asyncnb.embedded_loop())
        """
    )
    cell.wait_for("True")
    assert "asyncnb" in cell.stdout
    assert "MainThread" not in cell.stdout


def test_a_body_without_await_runs_in_a_worker_thread(kernel):
    kernel.ok(
        """
        loop_thread = await asyncio.sleep(0, threading.current_thread())
        body = {}
        """
    )
    kernel.ok("%%atask where\nbody['thread'] = threading.current_thread()")
    kernel.ok("asyncnb.task('where').join(10)")
    assert kernel.evaluate("body['thread'] not in (loop_thread, threading.main_thread())")


def test_a_blocking_body_without_await_holds_up_neither_the_loop_nor_the_cells(kernel):
    kernel.ok("gate = threading.Event()")
    kernel.ok("%%atask blocker\ngate.wait(30)\nprint('through')")
    assert kernel.ok("await asyncio.sleep(0.01, 'loop goes on')", 5).result == "'loop goes on'"
    assert kernel.ok("1 + 1", 5).result == "2"
    assert kernel.evaluate("asyncnb.task('blocker').info().state") == "running"
    kernel.ok("gate.set(); asyncnb.task('blocker').join(10)")


def test_the_cell_ends_before_its_task_does(kernel):
    kernel.ok("gate = asyncio.Event()")
    cell = kernel.ok("%%atask slow\nawait gate.wait()\nprint('finished')", 5)
    assert "finished" not in cell.text
    assert kernel.evaluate("asyncnb.task('slow').done()") is False
    kernel.ok("gate.set(); await asyncnb.task('slow')")
    cell.wait_for("finished")


def test_the_magic_itself_returns_nothing(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("'before'")
    cell = kernel.ok("%%atask silent\nawait gate.wait()")
    assert cell.result is None
    assert kernel.evaluate("_") == "before"


def test_the_name_is_bound_when_it_is_free(kernel):
    kernel.ok("%%atask fresh_name\nawait asyncio.sleep(0)")
    assert kernel.evaluate("fresh_name is asyncnb.task('fresh_name')")
    assert kernel.evaluate("isinstance(fresh_name, (asyncnb.Task, asyncio.Task))")
    assert kernel.evaluate("fresh_name.get_name()") == "fresh_name"


def test_the_name_is_bound_again_when_it_holds_an_earlier_task(kernel):
    kernel.ok("%%atask twice\nawait asyncio.sleep(0, 'first')")
    kernel.ok("first = twice; first.join(10)")
    kernel.ok("%%atask twice\nawait asyncio.sleep(0, 'second')")
    assert kernel.evaluate("twice is not first and twice is asyncnb.task('twice')")
    assert kernel.evaluate("twice.join(10)") == "second"


def test_a_variable_of_the_user_keeps_its_value_under_the_name_of_a_task(kernel):
    kernel.ok("x = 5")
    kernel.ok("%%atask x\nawait asyncio.sleep(0, 'of the task')")
    assert kernel.evaluate("x") == 5
    assert kernel.evaluate("asyncnb.task('x').join(10)") == "of the task"


def test_a_name_that_is_no_identifier_is_a_name_all_the_same(kernel):
    kernel.ok("%%atask crawl-docs\nawait asyncio.sleep(0, 1)")
    assert kernel.evaluate("asyncnb.task('crawl-docs').join(10)") == 1


def test_builtins_and_keywords_are_not_shadowed_by_a_name(kernel):
    kernel.ok("%%atask print\nawait asyncio.sleep(0)")
    kernel.ok("%%atask class\nawait asyncio.sleep(0)")
    assert kernel.ok("print('still prints')").stdout == "still prints\n"
    assert kernel.evaluate("[t.get_name() for t in asyncnb.tasks('class')]") == ["class"]


def test_cells_without_a_name_get_names_of_their_own(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask\nawait gate.wait()")
    kernel.ok("%%atask\nawait gate.wait()")
    names = kernel.evaluate("[t.get_name() for t in asyncnb.tasks()]")
    assert len(names) == len(set(names)) == 2
    assert all(names)
    for name in names:
        assert kernel.evaluate(f"asyncnb.task({name!r}).done()") is False


def test_a_body_reads_and_writes_the_namespace_of_the_notebook(kernel):
    kernel.ok("given = 20")
    kernel.ok("%%atask on_loop\nawait asyncio.sleep(0)\ntaken = given + 1\ndef f(): return taken")
    kernel.ok("asyncnb.task('on_loop').join(10)")
    kernel.ok("%%atask in_thread\nfrom_thread = f() * 2\nimport json as j")
    kernel.ok("asyncnb.task('in_thread').join(10)")
    assert kernel.evaluate("(taken, from_thread, f(), j.dumps(1))") == (21, 42, 21, "1")


def test_async_for_and_async_with_make_a_body_of_the_loop(kernel):
    kernel.ok(
        f"""
        async def numbers():
            yield {WHO}
        """
    )
    kernel.ok("%%atask loops\nasync for who in numbers(): pass")
    kernel.ok("%%atask holds\nasync with asyncio.Lock():\n    holder = " + WHO)
    kernel.ok("asyncnb.task('loops').join(10); asyncnb.task('holds').join(10)")
    assert kernel.evaluate("who == holder")
    assert "asyncnb" in kernel.evaluate("who")


def test_an_await_inside_a_function_only_does_not_make_a_body_of_the_loop(kernel):
    kernel.ok(f"%%atask defines\nasync def inner(): await asyncio.sleep(0)\nran_in = {WHO}")
    kernel.ok("asyncnb.task('defines').join(10)")
    kernel.ok(f"loop_name = await asyncio.sleep(0, {WHO})")
    assert kernel.evaluate("ran_in != loop_name and ran_in != 'MainThread'")


def test_shell_commands_and_line_magics_work_in_a_thread_body(kernel):
    cell = kernel.ok(
        "%%atask shell\n!echo from-the-shell\n%env ASYNCNB_X=1\nlines = !echo captured"
    )
    cell.wait_for("from-the-shell")
    kernel.ok("asyncnb.task('shell').join(10)")
    assert kernel.evaluate("list(lines)") == ["captured"]
    assert kernel.evaluate("__import__('os').environ['ASYNCNB_X']") == "1"


def test_shell_commands_and_line_magics_work_in_a_loop_body(kernel):
    cell = kernel.ok(
        "%%atask shell\nawait asyncio.sleep(0)\n!echo from-the-shell\nname = %who_ls module\n"
    )
    cell.wait_for("from-the-shell")
    kernel.ok("asyncnb.task('shell').join(10)")
    assert "asyncio" in kernel.evaluate("list(name)")


def test_a_question_mark_shows_help_in_the_cell(kernel):
    kernel.ok("def documented():\n    'the words of the docstring'")
    cell = kernel.ok("%%atask asks\nawait asyncio.sleep(0)\ndocumented?")
    kernel.ok("asyncnb.task('asks').join(10)")
    # A pager's text comes with the reply of a cell; a task has none left, so it is shown.
    cell.wait_for("the words of the docstring")


def test_the_last_expression_is_the_result_and_is_shown_in_the_cell(kernel):
    for name, body in {"loop": "await asyncio.sleep(0)\n6 * 7", "thread": "x = 6\nx * 7"}.items():
        cell = kernel.ok(f"%%atask result_{name}\n{body}")
        assert kernel.evaluate(f"asyncnb.task('result_{name}').join(10)") == 42
        cell.wait_for(lambda c: c.shown)
        kernel.drain()
        assert cell.shown == ["42"], name


def test_an_awaited_last_expression_is_the_result(kernel):
    cell = kernel.ok("%%atask last\nawait asyncio.sleep(0, {'a': 1})")
    cell.wait_for("{'a': 1}")
    assert kernel.evaluate("asyncnb.task('last').result()") == {"a": 1}


def test_a_rich_result_is_shown_with_all_its_types(kernel):
    kernel.ok("class Rich:\n    def _repr_html_(self): return '<b>rich</b>'")
    cell = kernel.ok("%%atask rich\nawait asyncio.sleep(0)\nRich()")
    cell.wait_for(lambda c: c.shown)
    (data,) = [c["data"] for c in cell.of_type("display_data", "execute_result")]
    assert data["text/html"] == "<b>rich</b>"


def test_a_semicolon_at_the_end_keeps_the_result_and_hides_it(kernel):
    for name, body in {"loop": "await asyncio.sleep(0, 42);", "thread": "6 * 7;"}.items():
        cell = kernel.ok(f"%%atask hidden_{name}\n{body}")
        assert kernel.evaluate(f"asyncnb.task('hidden_{name}').join(10)") == 42
        kernel.drain()
        assert cell.shown == [], name


def test_a_body_without_a_last_expression_has_the_result_none_and_shows_nothing(kernel):
    cell = kernel.ok("%%atask nothing\ny = await asyncio.sleep(0, 42)")
    assert kernel.evaluate("asyncnb.task('nothing').join(10)") is None
    kernel.drain()
    assert cell.shown == []


def test_a_result_does_not_touch_the_underscore_of_the_foreground(kernel):
    assert kernel.ok("'mine'").result == "'mine'"
    kernel.ok("%%atask other\nawait asyncio.sleep(0, 'of the task')")
    kernel.ok("asyncnb.task('other').join(10);")
    assert kernel.evaluate("_") == "mine"


def test_two_bodies_with_the_same_text_keep_apart(kernel):
    kernel.ok("gate = asyncio.Event()")
    body = "await gate.wait()\nprint('spoke')"
    one = kernel.ok("%%atask one\n" + body)
    two = kernel.ok("%%atask two\n" + body)
    kernel.ok("gate.set(); await asyncio.gather(asyncnb.task('one'), asyncnb.task('two'));")
    kernel.drain()
    assert (one.stdout, two.stdout) == ("spoke\n", "spoke\n")


def test_info_tells_the_states_of_a_task_from_running_to_its_end(kernel):
    kernel.ok("gate = asyncio.Event(); started = threading.Event()")
    kernel.ok("%%atask one\nstarted.set()\nawait gate.wait()")
    kernel.ok("started.wait(10)")
    assert kernel.evaluate("asyncnb.task('one').info().state") in ("running", "waiting")
    kernel.ok("gate.set(); await asyncnb.task('one')")
    assert kernel.evaluate("asyncnb.task('one').info().state") == "done"
    assert kernel.evaluate("asyncnb.task('one').info().name") == "one"


def test_info_is_frozen(kernel):
    kernel.ok("%%atask one\nawait asyncio.sleep(0)")
    cell = kernel.run("asyncnb.task('one').info().state = 'failed'")
    assert cell.error.ename in ("FrozenInstanceError", "AttributeError")


ADDED = {"asyncnb": {"added_lines": 1}}  # what "Run in Background" of JupyterLab sends besides


def test_lines_are_those_of_the_cell_where_the_front_end_has_added_the_magic(kernel):
    text = "# crawl\n\nx = await asyncio.sleep(0, 1)\nx / 0\n"
    cell = kernel.submit(f"%%atask crawl\n{text}", as_it_is=True, metadata=ADDED)
    cell.wait_for(lambda cell: cell.errors)
    traceback = cell.errors[0].traceback
    assert "line 4" in traceback and "----> 4 x / 0" in traceback
    assert "%%atask" not in traceback
    assert kernel.evaluate("asyncnb.task('crawl').info().state") == "failed"
    # And so is a syntax error's line; other metadata than this is not asyncnb's.
    wrong = kernel.submit("%%atask\nx = 1\nx = )", as_it_is=True, metadata=ADDED).wait()
    assert wrong.error.ename == "SyntaxError" and "line 2" in wrong.error.traceback
    others: list[object] = [[], {"added_lines": "1"}, 1]
    for other in others:
        cell = kernel.submit("%%atask\n1 / 0", as_it_is=True, metadata={"asyncnb": other})
        cell.wait_for(lambda cell: cell.errors)
        assert "----> 2 1 / 0" in cell.errors[0].traceback
