"""Random option lines: refused with a message or done, never half done, never a traceback.

``ASYNCNB_FUZZ=50000 make faults`` tries that many; the suite tries a few hundred.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shlex
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import asyncnb
from asyncnb import TasksFailedError
from asyncnb._core.launched.registry import registry
from asyncnb._kernel.arguments import without_comment, words
from asyncnb.testing import clear_ended, validate

EXAMPLES = int(os.environ.get("ASYNCNB_FUZZ", "300"))

VERBS = [
    *("cancel", "wait", "stack", "output", "rename", "timeout", "pause", "resume", "clear"),
    *("timeline", "live", "background", ""),
]
OPTIONS = [
    *("-g", "-t", "-o", "-m", "--on", "--in", "--every", "--again", "--retry", "--all", "--failed"),
    *("--quiet", "--trace", "--pause-timeouts", "--stop-clock", "--on-error", "--show"),
    *("--out", "--timeout"),
]
WORDS = [
    *("keeper", "keep*", "*", "k?eper", "[", "]", "[!a]", "none", "+5", "-5", "0", "1e999", "nan"),
    *("inf", "-inf", "1_0", "٣", "loop", "thread", "process", "kernel", "replace", "skip", "error"),
    *("=", "==", "'", '"', "\\", "$x", "{x}", "{", "%", "%%", "!", "?", ";", "#", "\t", "--", "-"),
]
word = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(WORDS),
    st.text(max_size=12),
    st.builds("{}={}".format, st.sampled_from(OPTIONS), st.sampled_from(WORDS)),
)
line = st.lists(word, max_size=6).map(" ".join)
#: One line of a cell or a magic, as IPython hands it over.
one_line = line.map(lambda text: " ".join(text.splitlines()))

started = threading.Event()

fuzz = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def shell() -> Iterator[Any]:
    ip = InteractiveShell.instance()
    ip.run_line_magic("load_ext", "asyncnb")
    yield ip
    ip.run_line_magic("unload_ext", "asyncnb")
    clear_ended()
    InteractiveShell.clear_instance()


async def _for_ever() -> None:
    started.set()
    await asyncio.sleep(3600)


def settle() -> None:
    """Leave one waiting task, named keeper, and no other."""
    living = registry.living()
    if [(r.task.get_name(), r.state()) for r in living] != [("keeper", "waiting")]:
        asyncnb.cancel("*") if living else None
        for record in living:
            record.wait_shown(10)
        started.clear()
        asyncnb.launch(_for_ever(), name="keeper")
        assert started.wait(10)
        asyncnb.run(asyncio.sleep(0))


def facts() -> Any:
    """Return what a refused line must leave unchanged."""
    return [
        (r.id, r.task.get_name(), r.state(), r.group, r.task.timeout and r.task.timeout.when())
        for r in registry.living()
    ]


def attempt(call: Any) -> bool:
    """Return whether ``call`` was refused; fail for any other exception."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            call()
        except (UsageError, SyntaxError):
            return True
        except (TimeoutError, TasksFailedError):
            return False  # a wait that was asked for
    return False


@pytest.mark.promise("a comment after any words of a magic's line changes none of them")
@given(said=st.lists(word, max_size=6), comment=one_line)
@fuzz
def test_fuzz_comment(said, comment):
    line = without_comment(f"{shlex.join(said)} # {comment}")
    assert words(line, "%tasks") == said
    assert without_comment(line) == line


@pytest.mark.promise("any line after %tasks is executed or refused with a message, never half done")
@given(verb=st.sampled_from(VERBS), rest=one_line)
@example(verb="cancel", rest="-g--")
@example(verb="rename", rest="-- -g --")
@fuzz
def test_fuzz_tasks(shell, verb, rest):
    if verb == "wait" or "wait" in rest:
        rest = rest.replace("#", "") + " -t 0"  # a comment would swallow it
    settle()
    before = facts()
    refused = attempt(lambda: shell.run_line_magic("tasks", f"{verb} {rest}"))
    if refused:
        assert facts() == before
    validate()


@pytest.mark.promise("any line after %asyncnb is executed or refused with a message")
@given(rest=one_line.filter(lambda text: not text.strip().startswith("restart")))
@fuzz
def test_fuzz_asyncnb(shell, rest):
    settle()
    before = facts()
    attempt(lambda: shell.run_line_magic("asyncnb", rest))
    assert facts() == before
    attempt(lambda: shell.run_line_magic("asyncnb", "autoawait on"))


@pytest.mark.promise("any options before any body: launched or refused, nothing in between")
@example(options="-g-- -t-- -o--", body="1")
@given(
    options=one_line,
    body=st.sampled_from(
        ["1", "await asyncio.sleep(0)", "def f(:", "x ==", "await (", "'\\ud800'"]
    ),
)
@fuzz
def test_fuzz_atask(shell, options, body):
    if "process" in options or "--show" in options:
        options = options.replace("process", "loop").replace("--show", "")
    shell.user_ns["asyncio"] = asyncio
    known = {r.id for r in registry.records()}
    refused = attempt(lambda: shell.run_cell_magic("atask", options, body))
    new = [r for r in registry.records() if r.id not in known]
    if refused:
        assert new == []
    for record in new:
        record.task.cancel()
        record.wait_shown(5)
        assert record.task.done()
    validate()


@pytest.mark.promise("any line after %atask is launched or refused, and leaves no coroutine behind")
@given(options=one_line)
@fuzz
def test_fuzz_atask_line(shell, options):
    known = {r.id for r in registry.records()}
    # What the line evaluates is the user's own code, which may raise what it likes.
    with contextlib.suppress(NameError, TypeError, AttributeError, ZeroDivisionError):
        attempt(lambda: shell.run_line_magic("atask", options))
    for record in registry.living():
        if record.id not in known:
            record.task.cancel()
