"""The call that a blocked frame is in the middle of, as its source text."""

from __future__ import annotations

import json
import linecache
import os
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncnb._core.introspection.calls import MAX_LENGTH, Call, call_text, find_call

LIBRARY = """
def fetch(gate):
    return gate.wait(20)
def slow_run(command):
    import subprocess
    return subprocess.run(command)
"""


def find_blocked(
    source: str, names: dict[str, Any], is_there: Callable[[Call], bool], end: Callable[[], object]
) -> Call:
    """Run ``source``, as a file of the user's, in a thread; return the call that it waits in."""
    linecache.cache["yours.py"] = (len(source), None, source.splitlines(True), "yours.py")
    code = compile(source, "yours.py", "exec")
    thread = threading.Thread(target=exec, args=(code, names))
    thread.start()
    call = Call("", "", "", 0)
    deadline = time.monotonic() + 10
    while not is_there(call) and time.monotonic() < deadline:
        frame = sys._current_frames().get(thread.ident or 0)
        frames = []
        while frame is not None:
            frames.append(frame)
            if frame.f_code is code:
                call = find_call(frames[::-1])
                break
            frame = frame.f_back
    del frame, frames
    end()
    thread.join(20)
    assert not thread.is_alive()
    return call


@pytest.fixture
def library(tmp_path: Path) -> types.ModuleType:
    """A module as if it were installed."""
    file = tmp_path / "site-packages" / "library.py"
    file.parent.mkdir()
    file.write_text(LIBRARY)
    module = types.ModuleType("library")
    exec(compile(LIBRARY, str(file), "exec"), vars(module))
    return module


@pytest.mark.parametrize(
    ("source", "text", "inside"),
    [
        ("gate.wait(20)", "gate.wait(20)", ""),
        ("x = max(1, gate.wait(20))", "gate.wait(20)", ""),
        ("library.fetch(gate)", "library.fetch(gate)", "gate.wait(20)"),
        ("[gate.wait(20) for _ in range(1)]", "gate.wait(20)", ""),
        ("lock.acquire()", "lock.acquire()", ""),
        ("with lock:\n    pass", "with lock", ""),
        ("lock.acquire(\n    True,  # yes\n    timeout=20)", "lock.acquire(True, timeout=20)", ""),
        ("ü = 'ü'; lock.acquire()", "lock.acquire()", ""),
        (f"lock.acquire({' + '.join(['True'] * 40)})", "lock.acquire(True + True", ""),
    ],
)  # fmt: skip
def test_the_call_is_cut_out_of_your_line(
    library: types.ModuleType, source: str, text: str, inside: str
) -> None:
    gate, lock = threading.Event(), threading.Lock()
    lock.acquire()

    def end() -> None:
        gate.set()
        lock.release()

    names = {"gate": gate, "lock": lock, "library": library}
    if len(source) < 200:
        call = find_blocked(source, names, lambda call: call[:2] == (text, inside), end)
        assert call == (text, inside, "yours.py", call.line)
    else:
        call = find_blocked(source, names, lambda call: call.text.startswith(text), end)
        assert len(call.text) == MAX_LENGTH
        assert call.text.endswith("…")


def test_a_function_of_the_standard_library_is_named_and_not_what_it_comes_to(
    library: types.ModuleType, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    names = {"subprocess": subprocess, "fifo": fifo, "library": library}

    def end() -> None:
        fifo.write_text("")

    for source, inside in (
        ("subprocess.run(['cat', fifo])", ""),
        ("library.slow_run(['cat', fifo])", "subprocess.run(command)"),
        ("open(fifo)", ""),
    ):
        call = find_blocked(source, names, lambda call: call[:2] == (source, inside), end)  # noqa: B023
        assert call[:2] == (source, inside)


def test_code_without_its_source_has_no_call(library: types.ModuleType) -> None:
    def here(source: list[str]) -> str:
        frame = sys._getframe()
        linecache.cache[frame.f_code.co_filename] = (1, None, source, frame.f_code.co_filename)
        try:
            return call_text(frame, is_top=False)
        finally:
            linecache.cache.pop(frame.f_code.co_filename)

    assert here([]) == ""
    command = f"import sys; sys.path.insert(0, {os.getcwd()!r}); from asyncnb._core.introspection"
    command += ".calls import call_text; print([call_text(sys._getframe(), is_top=False)])"
    found = subprocess.run(
        [sys.executable, "-X", "no_debug_ranges", "-c", command],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(found.stdout.replace("'", '"')) == [""]
