"""`asyncnb top`: real kernels, and a real terminal: its screen is read, its keys are pressed."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from asyncnb._cli.terminal import keys_in
from tests.cli.processes import Commands, Screen, commands, of_kernel
from tests.kernel.driver import Kernel

__all__ = ["commands", "of_kernel"]

needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="no pty on Windows")
UP, DOWN, END, HOME, ESCAPE, ENTER = "\x1b[A", "\x1b[B", "\x1b[F", "\x1b[H", "\x1b", "\r"
SELECTED = "\x1b[7m"


def selected(screen: Screen) -> list[str]:
    """The lines that are shown in reverse, but for the last one."""
    shown = screen._screen
    rows = [row for row in range(shown.lines - 1) if shown.buffer[row][0].reverse]
    return [screen.lines[row] for row in rows]


@needs_terminal
def test_tasks_are_shown_as_they_change(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok("go = asyncio.Event()")
    kernel.ok("%%atask patient\nprint('hello')\nawait go.wait()")
    screen = of_kernel.screen("top", "-i", "0.1", size=(140, 16))
    screen.wait_for("patient")
    assert screen.lines[0].startswith("asyncnb top  1 kernel, 1 task: 1 waiting  sort: living")
    assert screen.lines[1].startswith(f"mine  pid {kernel.pid}  1 task  lag ")
    assert "waiting" in screen.row("patient") and "Event.wait" in screen.row("patient")
    kernel.ok("%%atask fails\nraise ValueError('no luck')")
    screen.wait_for("ValueError: no luck")
    cell = kernel.submit("print('blocks')\nwhile not go.is_set(): time.sleep(0.01)")
    cell.wait_for("blocks")
    screen.wait_for("runs")
    screen.press(ENTER)
    screen.wait_for("waits for: Event.wait")
    assert "output" in screen.lines and "hello" in screen.lines
    screen.press(ESCAPE)
    screen.wait_for("q quit")
    screen.press("c")
    screen.wait_for("cancel 'patient'? y/n")
    screen.press("n")
    screen.wait_for("q quit")
    screen.press("p")
    screen.wait_for(lambda it: "paused" in it.row("patient"))
    screen.press("p")
    screen.wait_for(lambda it: "waiting" in it.row("patient"))
    screen.press("cy")
    screen.wait_for("1 cancelled")
    kernel.interrupt()
    cell.wait()
    screen.press("q")
    assert screen.end() == 0
    assert screen.written.endswith(b"\x1b[?1049l"), "the screen as it was before"


@needs_terminal
def test_ten_thousand_tasks_are_scrolled_filtered_and_sorted(
    kernel: Kernel, of_kernel: Commands
) -> None:
    kernel.ok("event = asyncio.Event()")
    kernel.ok("for n in range(10_000): asyncnb.launch(event.wait(), name=f'job {n}')", 60)
    screen = of_kernel.screen("top", size=(100, 12))
    screen.wait_for("job 9999")
    assert "job 9991" in screen.text and "job 9990" not in screen.text
    assert "job 9999" in selected(screen)[0]
    screen.press(DOWN)
    screen.wait_for(lambda it: "job 9998" in selected(it)[0])
    screen.press(END)
    screen.wait_for("job 0 ")
    assert "job 0 " in selected(screen)[0]
    screen.press("/9\x7f77\r")
    screen.wait_for("280 tasks")
    screen.wait_for("job 9977")
    assert "filter: 77" in screen.lines[0]
    screen.press("/" + ESCAPE)
    screen.wait_for("10000 tasks")
    screen.press("s")
    screen.wait_for("sort: time")
    screen.wait_for("job 0 ")
    screen.press(HOME + DOWN)
    screen.wait_for(lambda it: "job 0 " in selected(it)[0])
    screen.resize(60, 8)
    screen.wait_for(lambda it: it.lines[7].startswith("q quit") and "job 4 " in it.text)
    assert all(len(line) <= 60 for line in screen.lines)
    screen.press("\x03")
    assert screen.end() == 0


@needs_terminal
def test_kernels_come_restart_and_go(start_kernel, commands: Commands) -> None:
    screen = commands.screen("top", "-i", "0.1")
    screen.wait_for("No kernel is running. This waits for one.")
    kernel = start_kernel()
    kernel.ok("%%atask first\nprint('\\x1b[2J')\nawait asyncio.Event().wait()")
    commands.add(kernel, "mortal")
    foreign = start_kernel(extension=False)
    commands.add(foreign, "foreign")
    screen.wait_for("first")
    screen.wait_for("foreign  (without asyncnb)")
    assert screen.text.index("mortal") < screen.text.index("foreign")
    kernel.restart()
    kernel.ok("%%atask second\nawait asyncio.Event().wait()")
    screen.wait_for("second")
    assert "first" not in screen.text
    foreign.ok("%load_ext asyncnb")
    screen.wait_for("foreign  pid")
    kernel.shutdown(now=True)
    screen.wait_for("mortal  (ended)")
    screen.press("q")
    assert screen.end() == 0


@needs_terminal
def test_a_request_to_end_restores_the_terminal(commands: Commands) -> None:
    screen = commands.screen("top")
    screen.wait_for("No kernel")
    screen._process.send_signal(signal.SIGTERM)
    assert screen.end() == 143
    assert screen.written.endswith(b"\x1b[?1049l")


def test_without_a_terminal_it_says_what_to_write(commands: Commands) -> None:
    code, out, err = commands.start("top").end()
    assert (code, out) == (2, "") and "asyncnb ps" in err and "--json" in err
    code, out, err = commands.start("top", "--json", "-i", "0").end()
    assert (code, out) == (2, "") and "0.1" in err


def test_programs_get_an_object_at_a_time(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok("%%atask patient\nawait asyncio.Event().wait()")
    process = of_kernel.start("top", "--json", "-i", "0.1")

    def until(state: str) -> None:
        while True:
            for found in json.loads(process.line())["kernels"]:
                if state in [task["state"] for task in found.get("tasks", ())]:
                    assert found["state"] == "alive" and found["pid"] == kernel.pid
                    assert found["counts"] == {state: 1} and found["total"] == 1
                    return

    until("waiting")
    kernel.ok("asyncnb.cancel('patient')")
    until("cancelled")
    process.signal(signal.SIGINT)
    code, _, err = process.end()
    assert (code, err) == (130, "")


def test_keys_are_told_apart() -> None:
    text = "q" + UP + "\x1bOB" + "\x1b[5~" + "é" + "\x7f" + "\x1b[Z" + ESCAPE
    assert keys_in(text) == ["q", "up", "down", "page up", "é", "backspace", "\x1b[Z", "escape"]
