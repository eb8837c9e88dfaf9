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


def test_what_a_cell_puts_there_is_what_it_finds_there(kernel):
    kernel.ok(
        "import io; real, mine = sys.stdout, io.StringIO()\n"
        "sys.stdout = mine\n"
        "found = sys.stdout is mine\n"
        "sys.stdout = real"
    )
    assert kernel.evaluate("found and sys.stdout is real and vars(sys)['stdout'] is real")


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


def test_unloading_leaves_sys_as_the_foreground_sees_it(fresh_kernel):
    fresh_kernel.ok("%unload_ext asyncnb")
    fresh_kernel.ok("print('still here')")
    assert fresh_kernel.evaluate("type(sys) is type(asyncio)")
