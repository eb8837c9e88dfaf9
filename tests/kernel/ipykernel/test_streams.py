"""What a cell puts into `sys.stdout` is for that cell; what a task puts there is for the task."""

from __future__ import annotations

import pytest

CAPTURES = {
    "%%capture": ("%%capture said\n", "{}", "said.stdout + said.stderr"),
    "redirect_stdout": ("", "with contextlib.redirect_stdout(said): {}", "said.getvalue()"),
    "redirect_stderr": ("", "with contextlib.redirect_stderr(said): {}", "said.getvalue()"),
    "capture_output": ("", "with capture_output() as said: {}", "said.stdout + said.stderr"),
    "an assignment": ("", "sys.stdout = said; {}; sys.stdout = real", "said.getvalue()"),
}
SPEAK = (
    "asyncnb.embedded_loop().call_soon_threadsafe(go.set); assert spoke.wait(10); "
    "print('m' 'ine', file=sys.{0}); "
    "t = threading.Thread(target=print, args=('thre' 'ad',), kwargs=dict(file=sys.{0})); "
    "t.start(); t.join()"
)


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("where", ["before", "within"])
def test_a_cell_captures_itself_and_its_threads_but_no_task(kernel, capture, where):
    kernel.ok(
        "import contextlib, io\nfrom IPython.utils.capture import capture_output\n"
        "said, real = io.StringIO(), sys.stdout\n"
        "go, spoke = asyncio.Event(), threading.Event()\n"
        "async def talk():\n"
        "    await go.wait()\n"
        "    print('o' 'ut')\n"
        "    sys.stdout.write('wri' 'te\\n')\n"
        "    print('er' 'r', file=sys.stderr)\n"
        "    spoke.set()"
    )
    before, around, value = CAPTURES[capture]
    launch = "task = asyncnb.launch(talk())"
    cell = kernel.ok(launch) if where == "before" else None
    speak = SPEAK.format("stderr" if "stderr" in capture else "stdout")
    if cell is None:
        speak = f"{launch}; {speak}"
    captured = kernel.ok(before + around.format(speak))
    kernel.ok("sys.stdout = real; task.join(10)")
    kernel.drain()
    assert kernel.evaluate(value) == "mine\nthread\n"
    told = cell or captured
    assert (told.stdout, told.stderr) == ("out\nwrite\n", "err\n")


def test_what_a_cell_puts_there_is_what_it_finds_there(fresh_kernel):
    kernel = fresh_kernel  # in which no task has put anything there
    kernel.ok(
        "import io; real, mine = sys.stdout, io.StringIO()\n"
        "sys.stdout = mine\n"
        "found = sys.stdout is mine\n"
        "sys.stdout = real"
    )
    assert kernel.evaluate("found and sys.stdout is real and vars(sys)['stdout'] is real")


def test_modules_that_are_imported_later_are_plain_modules(kernel, tmp_path):
    (tmp_path / "late.py").write_text("def __getattr__(name): return name * 2")
    kernel.ok(f"sys.path.insert(0, {str(tmp_path)!r}); import late, os, types")
    assert kernel.evaluate("type(late) is types.ModuleType and late.stdout") == "stdoutstdout"
    assert kernel.evaluate("type(type(sys)('new')) is types.ModuleType")
    assert kernel.evaluate("isinstance(os, type(sys)) and isinstance(sys, types.ModuleType)")
    assert kernel.evaluate("isinstance(1, type(sys)) or issubclass(int, type(sys))") is False
    kernel.ok("class Lazy(type(sys)): late = True")
    assert kernel.evaluate("Lazy('lazy').late and not isinstance(os, Lazy)")


def test_code_that_python_has_specialised_finds_it_too(kernel):
    kernel.ok("import io; real, mine = sys.stdout, io.StringIO()\ndef find(): return sys.stdout")
    kernel.ok("for _ in range(1_000): find()")
    kernel.ok("sys.stdout = mine\nfound = {id(find()) for _ in range(1_000)}\nsys.stdout = real")
    assert kernel.evaluate("found == {id(mine)} and find() is real")


def test_a_redirect_in_a_task_catches_what_it_starts_and_no_cell(kernel):
    kernel.ok("go, within = asyncio.Event(), threading.Event()")
    cell = kernel.ok(
        """
        %%atask job
        import contextlib, io
        async def child(): print("child")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            print("own")
            within.set()
            await go.wait()
            await asyncio.create_task(child())
            await asyncio.to_thread(print, "worker")
        print("below")
        """
    )
    main = kernel.ok("assert within.wait(10); print('main'); go.set()")
    kernel.ok("job.join(10)")
    kernel.drain()
    assert kernel.evaluate("said.getvalue()") == "own\nchild\nworker\n"
    assert (cell.stdout, main.stdout) == ("below\n", "main\n")


SHOW = "display({{'text/plain': {}}}, raw=True)"


@pytest.mark.parametrize("capture", ["%%capture", "capture_output"])
@pytest.mark.parametrize("where", ["before", "within"])
def test_a_cell_captures_its_own_displays_and_those_of_no_task(kernel, capture, where):
    kernel.ok(
        "from IPython.utils.capture import capture_output\n"
        "go, spoke = asyncio.Event(), threading.Event()\n"
        "async def talk():\n"
        "    await go.wait()\n"
        f"    shown = {SHOW.format(repr('first'))[:-1]}, display_id=True)\n"
        "    shown.update({'text/plain': 'second'}, raw=True)\n"
        "    display({'image/png': 'aGVsbG8='}, raw=True)\n"
        "    exec(compile('len([0] * 41)', '<one>', 'single'))\n"
        "    spoke.set()\n"
        "    1 / 0"
    )
    before, around, _ = CAPTURES[capture]
    launch = "task = asyncnb.launch(talk())"
    cell = kernel.ok(launch) if where == "before" else None
    speak = "asyncnb.embedded_loop().call_soon_threadsafe(go.set); assert spoke.wait(10)"
    speak += "; asyncnb.run(asyncnb.wait([task])); " + SHOW.format("'mine'")
    captured = kernel.ok(before + around.format(speak if cell else f"{launch}; {speak}"))
    kernel.ok("task.exception()")
    kernel.drain()
    assert kernel.evaluate("[each.data for each in said.outputs]") == [{"text/plain": "mine"}]
    told = (cell or captured).wait_for("ZeroDivisionError")
    pictures = [{"image/png": "aGVsbG8="}]
    assert [d for d in told.displays if "41" not in str(d)] == [{"text/plain": "first"}, *pictures]
    assert told.updates == [{"text/plain": "second"}]
    assert "41" in told.text


def test_a_capture_in_a_task_catches_no_cells_display_or_result(kernel):
    kernel.ok("go, within = asyncio.Event(), threading.Event()")
    cell = kernel.ok(
        """
        %%atask job
        from IPython.utils.capture import capture_output
        with capture_output() as caught:
            display("own")
            exec(compile("'sing' 'le'", "<one>", "single"))
            within.set()
            await go.wait()
            print("printed")
            exec(compile("'dou' 'ble'", "<one>", "single"))
        display("below")
        """
    )
    main = kernel.ok("assert within.wait(10); display('main'); 40 + 2")
    redirected = kernel.ok(
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): pass\n"
        "asyncnb.embedded_loop().call_soon_threadsafe(go.set); job.join(10); 40 + 3"
    )
    kernel.drain()
    assert (main.shown, redirected.shown) == (["'main'", "42"], ["43"])
    own = kernel.evaluate("[each.data['text/plain'] for each in caught.outputs], caught.stdout")
    assert own == (["'own'", "'single'", "'double'"], "printed\n")
    assert cell.shown == ["'below'"]
    assert kernel.ok("40 + 4").result == "44"


@pytest.mark.parametrize("capture", [each for each in CAPTURES if each != "%%capture"])
def test_a_detached_cell_keeps_its_captures(kernel, capture):
    kernel.ok(
        "import contextlib, io\nfrom IPython.utils.capture import capture_output\n"
        "said, real, gate = io.StringIO(), sys.stdout, asyncio.Event()"
    )
    _, around, value = CAPTURES[capture]
    body = "get_ipython().run_line_magic('tasks', 'background'); await gate.wait(); "
    body += f"print('mi' 'ne', file=sys.{'stderr' if 'stderr' in capture else 'stdout'})"
    cell = kernel.ok(around.format(body))
    after = kernel.ok("print('next'); display('shown'); print('err', file=sys.stderr); 40 + 2")
    assert (after.stdout, after.shown, after.stderr) == ("next\n", ["'shown'", "42"], "err\n")
    kernel.ok(f"gate.set(); await asyncnb.wait([asyncnb.task('cell{cell.number}')])")
    assert kernel.evaluate(f"({value}).endswith('mine\\n') and 'err' not in {value}")
    assert kernel.ok("print('still'); 40 + 3").text == "still\n43\n"


def test_loaded_within_a_capture_asyncnb_finds_the_notebooks_own_display(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok("%%capture said\n%load_ext asyncnb\nimport asyncio, asyncnb")
    cell = kernel.ok("%%atask job\ndisplay('late')")
    kernel.ok("job.join(10)")
    cell.wait_for("late")
    assert kernel.ok("%tasks output job").shown == ["'late'"]
    kernel.ok("%%capture said\n%unload_ext asyncnb\ndisplay('within')")
    assert kernel.ok("display('after'); len(said.outputs)").shown == ["'after'", "1"]


def test_what_saves_and_restores_by_the_dict_of_sys_within_a_capture_works(kernel):
    kernel.ok(
        "import contextlib, io; from unittest import mock; real = sys.stdout\n"
        "with contextlib.redirect_stdout(io.StringIO()) as outer:\n"
        "    with mock.patch('sys.stdout', io.StringIO()) as inner:\n"
        "        print('in')\n"
        "    print('out')"
    )
    assert kernel.evaluate("inner.getvalue(), outer.getvalue()") == ("in\n", "out\n")
    assert kernel.evaluate("sys.stdout is real")


def test_sys_can_be_deleted_from_and_travels_by_its_name(kernel):
    assert kernel.evaluate("__import__('pickle').loads(__import__('pickle').dumps(sys)) is sys")
    gone = "real = sys.stderr; del sys.stderr; gone = not hasattr(sys, 'stderr'); sys.stderr = real"
    kernel.ok(gone)
    assert kernel.evaluate("gone and sys.stderr is real")


def test_a_function_that_uses_sys_is_sent_elsewhere_as_ever(kernel):
    kernel.ok("import cloudpickle\ndef where(): return sys.path")
    assert kernel.evaluate("cloudpickle.loads(cloudpickle.dumps(where))() is sys.path")


def test_what_another_tool_built_upon_the_class_of_sys_stays_and_works(fresh_kernel):
    fresh_kernel.ok(
        "class Other(type(sys)): theirs = 'here'\n"
        "sys.__class__ = Other\n"
        "import contextlib, io; out = io.StringIO()\n"
        "%unload_ext asyncnb"
    )
    fresh_kernel.ok("with contextlib.redirect_stdout(out): print('mine')")
    assert fresh_kernel.evaluate("sys.theirs, out.getvalue()") == ("here", "mine\n")
    assert fresh_kernel.evaluate("type(vars(sys)['stdout']) is type(sys.stdout)")
    fresh_kernel.ok("%load_ext asyncnb")
    cell = fresh_kernel.ok("%%atask job --wait\nprint('la' 'te')")
    assert cell.stdout == "late\n"


def test_unloading_leaves_sys_as_the_foreground_sees_it(fresh_kernel):
    fresh_kernel.ok("%unload_ext asyncnb")
    fresh_kernel.ok("print('still here')")
    assert fresh_kernel.evaluate("type(sys) is type(asyncio)")
    assert fresh_kernel.evaluate("type(get_ipython()).__bases__[0].__name__ == 'InteractiveShell'")


def test_a_capture_that_ends_in_the_middle_of_a_print_is_no_harm(fresh_kernel):
    kernel = fresh_kernel  # a print() of Python until 3.13 uses what may have been freed
    kernel.ok("begun, stop = threading.Event(), threading.Event()")
    kernel.ok(
        "%%atask job\nwhile not stop.is_set():\n"
        "    print('a', 'b', 'c', 'd', sep='-', end=''); begun.set()"
    )
    kernel.ok(
        "import contextlib, io; begun.wait()\n"
        "for _ in range(50_000):\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as said: pass\n"
        "stop.set(); job.join()",
        60,
    )
    assert kernel.evaluate("said.getvalue()") == ""


def test_what_mock_has_replaced_comes_back_after_other_captures(kernel):
    kernel.ok(
        "import contextlib, io; from unittest import mock\n"
        "out = io.StringIO()\n"
        "with contextlib.redirect_stdout(out):\n"
        "    with mock.patch('sys.stdout', new_callable=io.StringIO) as patched:\n"
        "        for _ in range(3):\n"
        "            with contextlib.redirect_stdout(io.StringIO()): print('inner')\n"
        "        print('patched')\n"
        "    print('outer')"
    )
    assert kernel.evaluate("out.getvalue(), patched.getvalue()") == ("outer\n", "patched\n")
