"""IPython in a terminal: the loop, tasks and magics, without a kernel."""

from __future__ import annotations

import os
import subprocess
import textwrap


def ipython(python: str, tmp_path, *cells: str) -> str:
    """Type ``cells`` at IPython's prompt; return what the terminal showed."""
    command = [python, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"]
    typed = "\n".join(textwrap.dedent(cell).strip("\n") for cell in (*cells, "exit", ""))
    env = os.environ | {"IPYTHONDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        command, input=typed, capture_output=True, text=True, timeout=60, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_tasks_magics_and_awaits_work_at_the_prompt(python, tmp_path):
    shown = ipython(
        python,
        tmp_path,
        "%load_ext asyncnb",
        "import asyncio, asyncnb, threading",
        "await asyncio.sleep(0, 'awaited here')",
        "await asyncio.sleep(0); asyncio.get_running_loop() is asyncnb.embedded_loop()",
        "t = asyncnb.launch(asyncio.sleep(0, 'launched there'), name='one')",
        "t.join()",
        "%tasks",
        "%tasks cancel onne",
        "%asyncnb",
        "%unload_ext asyncnb",
        "[t.name for t in threading.enumerate() if t.name.startswith('asyncnb')]",
    )
    for said in ("'awaited here'", "True", "'launched there'", "one   done", "embedded loop", "[]"):
        assert said in shown
    assert "UsageError: No task named 'onne'. Did you mean 'one'?" in shown


def test_a_blocking_task_is_told_and_got_out_and_options_are_set_at_the_prompt(python, tmp_path):
    shown = ipython(
        python,
        tmp_path,
        "%load_ext asyncnb",
        "import asyncio, asyncnb, threading",
        """
        async def hog():
            await asyncio.sleep(0)
            while True: pass

        """,
        "told = threading.Event()",
        "asyncnb.embedded_loop().on_blocked.add(lambda *_: told.set())",
        "t = asyncnb.launch(hog(), name='hog')",
        "told.wait(20)",
        "%asyncnb",
        "%tasks cancel hog",
        "%tasks wait hog",
        "t.cancelled()",
        "%asyncnb option watchdog off",
        "%asyncnb option watchdog",
        "%asyncnb option wachdog",
        "%config AsyncNB.history = 5",
        "%asyncnb",
    )
    assert shown.count("has blocked the loop") == 1
    assert "task 'hog' (In[5]) has blocked the loop" in shown
    assert "In[3], line 3, in hog(): while True: pass" in shown
    assert "blocked        for" in shown
    assert "Out[10]: True" in shown
    assert "watchdog  off" in shown
    assert "UsageError: %asyncnb option: no option named 'wachdog'" in shown
    assert "watchdog=off, history=5" in shown


def test_an_exception_raised_twice_is_shown_twice(python, tmp_path):
    shown = ipython(
        python, tmp_path, "%load_ext asyncnb", "e = ValueError('again')", "raise e", "raise e"
    )
    assert shown.count("ValueError: again") == 2


def test_leaving_ipython_runs_the_cleanup_of_tasks(python, tmp_path):
    shown = ipython(
        python,
        tmp_path,
        "%load_ext asyncnb",
        "import asyncio, asyncnb, threading",
        """
        class Cleanup:
            started = threading.Event()
            async def run(self):
                try:
                    self.started.set()
                    await asyncio.sleep(60)
                finally:
                    print("cleaned up")

        """,
        "task = asyncnb.launch(Cleanup().run())",
        "Cleanup.started.wait(10)",
    )
    assert shown.count("cleaned up") == 1


def test_a_notification_is_a_line_at_the_prompt(python, tmp_path):
    shown = ipython(
        python,
        tmp_path,
        "%load_ext asyncnb",
        "import asyncio, asyncnb, sys",
        "asyncnb.notify('half of it', title='crawl')",
        "%atask quick --notify asyncio.sleep(0.01)",
        "quick.join()",
        "%asyncnb option notify_after 0",
        "async def fail(): raise ValueError('no')\n",
        "asyncnb.launch(fail(), name='unasked');",
        "%tasks wait unasked",
        "'anywidget' in sys.modules",
    )
    assert "crawl: half of it\n" in shown
    assert "quick is done: after 0." in shown
    assert "unasked failed: after" not in shown  # its traceback is at the prompt anyway
    assert "False" in shown
