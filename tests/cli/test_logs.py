"""`asyncnb logs`: what tasks of a real kernel have printed, and what they print until they end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncnb._cli.escapes import RESET, SafeText
from tests.cli.processes import COMMAND, Commands, commands, of_kernel
from tests.kernel.driver import Kernel

__all__ = ["commands", "of_kernel"]

#: A task that prints what is put, until that is None.
TALKS = """
%%atask talks
said = asyncio.Queue()
while (text := await said.get()) is not None: print(text)
"""
PUT = "put = lambda *texts: [said.put_nowait(text) for text in texts]"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def printed(commands: Commands, *arguments: str, code: int = 0) -> str:
    """What `asyncnb logs` prints, which has to end with this code and without complaints."""
    ended, out, err = commands.start("logs", *arguments).end()
    assert (ended, err) == (code, ""), out
    return out


def test_all_that_a_person_saw_is_printed_in_order(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok(
        "%%atask job\nprint('one')\nprint('two', file=sys.stderr)\n"
        "display({'text/plain': '<a figure>', 'image/png': 'aGVsbG8='}, raw=True)\n"
        "display(3)\nprint('three', end='')\nawait asyncio.sleep(0)\n1/0"
    )
    kernel.run("%tasks wait")
    start = "one\ntwo\n[image/png]\n3\nthree"
    out = printed(of_kernel, "job")
    assert out.startswith(start) and "ZeroDivisionError: division by zero" in plain(out)
    assert printed(of_kernel, "job", "--tail", "1") == out.splitlines(keepends=True)[-1]
    assert printed(of_kernel, "job", "--tail", "0") == ""
    assert printed(of_kernel, "job", "--since", "4") == out[4:]
    answer = json.loads(printed(of_kernel, "job", "--json"))
    assert answer["text"] == out and answer["cursor"] == len(out) and answer["gone"] == 0
    assert answer["task"]["state"] == "failed"
    id = str(answer["id"])
    assert printed(of_kernel, id, "-k", "mine", "--since", str(len(out))) == ""


def test_what_is_wrong_is_said(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok("%%atask talks\nprint('x')\nawait asyncio.Event().wait()")
    for arguments, code, text in (
        (["tolks"], 1, "talks"),
        (["talks", "--since", "99"], 1, "has printed 2 characters"),
        (["talks", "--tail", "-1"], 2, "whole number"),
        (["talks", "-k", "none such"], 1, "none such"),
        ([], 2, "NAME"),
    ):
        ended, out, err = of_kernel.start("logs", *arguments).end()
        assert (ended, out) == (code, "") and text in err, (arguments, err)


def test_a_task_is_followed_to_its_end(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok(TALKS), kernel.ok(PUT)
    process = of_kernel.start("logs", "-f", "talks")
    kernel.ok("put('first')")
    assert process.line() == "first\n"
    cell = kernel.submit("print('blocks')\nwhile not talks.done(): time.sleep(0.01)")
    cell.wait_for("blocks")
    subprocess.run([*COMMAND, "cancel", "talks"], env=of_kernel.env, check=True)
    assert process.end() == (1, "", "asyncnb logs: 'talks' was cancelled\n")
    cell.wait()


def test_the_exit_code_says_how_a_followed_task_ended(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok(TALKS), kernel.ok(PUT)
    kernel.ok("%%atask fails\nprint('tries')\nawait talks\nraise ValueError('no luck')")
    good = of_kernel.start("logs", "-f", "talks")
    bad = of_kernel.start("logs", "-f", "fails")
    assert bad.line() == "tries\n"
    kernel.ok("put('last', None)")
    assert good.end() == (0, "last\n", "")
    code, out, err = bad.end()
    assert (code, err) == (1, "asyncnb logs: 'fails' failed: ValueError: no luck\n")
    assert "ValueError: no luck" in plain(out), "the traceback"


def test_a_flood_arrives_whole(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok(
        "go = asyncio.Event()\n"
        "async def flood():\n"
        "    print('ready')\n"
        "    await go.wait()\n"
        "    for n in range(30_000):\n"
        "        print('line', n)\n"
        "        if n % 500 == 0: await asyncio.sleep(0)\n"
    )
    kernel.ok("%%atask flood\nawait flood()")
    process = of_kernel.start("logs", "-f", "flood")
    assert process.line() == "ready\n"
    kernel.ok("go.set()")
    code, out, err = process.end(60)
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"line {n}" for n in range(30_000)]


def test_a_reader_that_is_too_slow_is_told_what_it_has_missed(
    kernel: Kernel, of_kernel: Commands
) -> None:
    kernel.ok("import asyncnb._core.config as c; tail = c.config.output_tail")
    kernel.ok("import asyncnb.widgets._requests.held as held; lingers = held.LINGER")
    # Seconds that it has for its next question, which a busy machine takes to print all of it.
    kernel.ok("c.config.output_tail = 1000; held.LINGER = 60.0")
    try:
        kernel.ok(TALKS), kernel.ok(PUT)
        process = of_kernel.start("logs", "-f", "--json", "talks")
        kernel.ok("put('ready')")
        first = json.loads(process.line())
        # Not before it has asked for more: what follows is kept for a moment only until then.
        kernel.ok(
            "kept = talks._record.output\n"
            "while kept._reader != 6 or kept._news is None: await asyncio.sleep(0.01)"
        )
        process.signal(signal.SIGSTOP)
        kernel.ok("put(*['x' * 99] * 1000); put(None)\nawait talks")
        kept = kernel.evaluate("len(talks.output)")
        assert 9_000 <= kept <= 11_000, "what was not read is kept up to ten times the limit"
        process.signal(signal.SIGCONT)
        code, out, _ = process.end()
    finally:
        kernel.ok("c.config.output_tail = tail; held.LINGER = lingers")
    answers = [first, *map(json.loads, out.splitlines())]
    assert code == 0
    assert sum(len(each["text"]) + each["gone"] for each in answers) == 6 + 100 * 1000
    assert any(each["gone"] for each in answers)


def test_ctrl_c_ends_it_and_so_does_a_closed_pipe(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok("%%atask ticks\nwhile True: print('tick'); await asyncio.sleep(0.01)")
    process = of_kernel.start("logs", "-f", "ticks")
    assert process.line() == "tick\n"
    process.signal(signal.SIGINT)
    code, _, err = process.end()
    assert (code, err) == (130, "")
    closed = subprocess.Popen(
        [*COMMAND, "logs", "-f", "ticks"],
        env=of_kernel.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    closed.stdout.readline()
    closed.stdout.close()
    assert closed.stderr.read() == b"", "no traceback"
    closed.stderr.close()
    assert closed.wait(30) == 1


def test_a_kernel_that_dies_ends_it(start_kernel, commands: Commands) -> None:
    kernel = start_kernel()
    commands.add(kernel, "mortal")
    kernel.ok("%%atask job\nprint('hello')\nawait asyncio.Event().wait()")
    process = commands.start("logs", "-f", "job")
    assert process.line() == "hello\n"
    kernel.shutdown(now=True)
    code, _, err = process.end()
    assert (code, err) == (
        1,
        "asyncnb logs: The kernel mortal has ended or was restarted meanwhile.\n",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no terminal to be made there")
def test_a_terminal_gets_colours_but_no_commands(kernel: Kernel, of_kernel: Commands) -> None:
    kernel.ok("%%atask evil\nprint('\\x1b]0;title\\x07\\x1b[2J\\x1b[31mred\\x1b[0m', 'a\\rb')")
    kernel.run("%tasks wait")
    screen = of_kernel.screen("logs", "evil")
    assert screen.end() == 0
    assert screen.lines[:2] == ["\\x1b]0;title\\x07\\x1b[2Jred a", "b"]
    assert b"\x1b[31mred\x1b[0m" in screen.written
    assert b"\x1b]0;title" in of_kernel_raw(of_kernel)


def of_kernel_raw(commands: Commands) -> bytes:
    screen = commands.screen("logs", "evil", "--raw")
    assert screen.end() == 0
    return screen.written


HOSTILE = st.text(st.sampled_from("a1;[m\x1b\r\n\t\x07\x9b\u202e\u200d\u00e9")) | st.text()


@given(HOSTILE, st.lists(st.integers(0, 30)))
def test_text_is_the_same_in_whatever_pieces_it_arrives(text: str, places: list[int]) -> None:
    whole, pieces = SafeText(), SafeText()
    expected = whole.add(text) + whole.end()
    found, begin = "", 0
    for place in sorted({*places, len(text)}):
        found += pieces.add(text[begin:place])
        begin = place
    found += pieces.add(text[begin:])
    assert found + pieces.end() == expected
    plain = SafeText()
    rest = expected.replace(RESET, "")
    while (start := rest.find("\x1b[")) >= 0:
        parameters, mark, after = rest[start + 2 :].partition("m")
        assert mark and set(parameters) <= set("0123456789;:"), "only a colour"
        rest = rest[:start] + after
    assert "\x1b" not in rest and "\r" not in rest and "\u202e" not in rest
    assert plain.add(rest) == rest
