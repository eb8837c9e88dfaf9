"""Code that is sent keeps its file names, with every cloudpickle; other pickles do not change."""

from __future__ import annotations

import copyreg
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import cloudpickle
import pytest

from asyncnb._offload.far.outcomes import dump


def made(source: str, filename: str = "/cells/3.py") -> types.ModuleType:
    """What a cell defines: nothing that could be imported."""
    module = types.ModuleType("__main__")
    exec(compile(source, filename, "exec"), module.__dict__)
    return module


SOURCE = """
def outer(n, /, m=1, *more, key=2, **rest):
    def nested():
        try:
            return n + m
        finally:
            print(key)
    return nested
class Thing:
    def method(self):
        return [super().__init__ for _ in range(3)]
async def later():
    await each()
async def each():
    yield 1
"""


def attributes(code: types.CodeType) -> dict[str, object]:
    found = {
        name: getattr(code, name)
        for name in dir(code)
        # Not what the interpreter writes there while it runs the code, nor what is deprecated.
        if name.startswith("co_") and name not in ("co_lnotab", "_co_code_adaptive", "co_consts")
    }
    found |= {name: list(found[name]()) for name in ("co_lines", "co_positions")}
    found["co_branches"] = None
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    found["co_consts"] = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
    return found | {"inner": [attributes(c) for c in inner]}


def test_code_arrives_unchanged():
    """Leans on the reducer in ``cloudpickle.Pickler.dispatch_table``: on its arguments' order."""
    assert types.CodeType in cloudpickle.Pickler.dispatch_table
    cell = made(SOURCE)
    whole = compile(SOURCE, "/cells/4.py", "exec")
    back = pickle.loads(dump((cell.outer, cell.outer(1), cell.Thing, cell.later, whole)))
    outer, nested, thing, later, body = back
    assert attributes(outer.__code__) == attributes(cell.outer.__code__)
    assert attributes(nested.__code__) == attributes(cell.outer(1).__code__)
    assert attributes(thing.method.__code__) == attributes(cell.Thing.method.__code__)
    assert attributes(later.__code__) == attributes(cell.later.__code__)
    assert attributes(body) == attributes(whole)
    assert nested.__code__.co_filename == "/cells/3.py"


def test_the_users_own_pickles_stay_as_they_are():
    function = made(SOURCE).outer
    before = cloudpickle.dumps(function)
    dump(function)
    assert cloudpickle.dumps(function) == before
    assert cloudpickle.Pickler.dispatch_table[types.CodeType].__module__.startswith("cloudpickle")


def test_a_reducer_registered_by_the_user_is_used(monkeypatch):
    class Handle:
        pass

    dump(made(SOURCE).outer)
    monkeypatch.setitem(copyreg.dispatch_table, Handle, lambda _: (str, ("by copyreg",)))
    assert pickle.loads(dump(Handle())) == "by copyreg"
    monkeypatch.setitem(
        cloudpickle.Pickler.dispatch_table, Handle, lambda _: (str, ("by cloudpickle",))
    )
    assert pickle.loads(dump(Handle())) == "by cloudpickle"


#: A script as a user would write it: functions of ``__main__``, which a worker cannot import.
SCRIPT = """
import concurrent.futures, multiprocessing, sys, traceback
import asyncnb, cloudpickle

def outer():
    def nested():
        return {}["nested"]
    return nested

class Thing:
    def method(self):
        return self.missing

async def later():
    return 1 / 0

if __name__ == "__main__":
    assert cloudpickle.__version__ == sys.argv[1], cloudpickle.__version__
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        for on in ("process", pool):
            for function in (outer(), Thing().method, later, lambda: int("lambda")):
                try:
                    asyncnb.offload(function, on=on).join(60)
                except Exception as exc:
                    frame = traceback.extract_tb(exc.__traceback__)[-1]
                    print(frame.filename == __file__, frame.lineno, frame.line)
"""

SHOWN = """
True 7 return {}["nested"]
True 12 return self.missing
True 15 return 1 / 0
True 22 for function in (outer(), Thing().method, later, lambda: int("lambda")):
"""


def run_script(folder: Path, version: str, environment: dict[str, str]) -> str:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), version],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_shows_its_lines(tmp_path):
    assert run_script(tmp_path, cloudpickle.__version__, {}) == 2 * SHOWN.lstrip()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.2.1", "3.1.2", "3.1.3"])
def test_a_script_shows_its_lines_with_another_cloudpickle(version, tmp_path):
    if sys.version_info >= (3, 14) and version == "2.2.1":
        pytest.skip("cloudpickle 2.2.1 itself cannot pickle a function on Python 3.14 and later")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet"]
    target = tmp_path / "packages"
    done = subprocess.run(
        [*command, "--target", str(target), f"cloudpickle=={version}"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"pip cannot install cloudpickle {version} here: {done.stderr.strip()[-300:]}")
    paths = [str(target), *filter(None, [os.environ.get("PYTHONPATH")])]
    shown = run_script(tmp_path, version, {"PYTHONPATH": os.pathsep.join(paths)})
    assert shown == 2 * SHOWN.lstrip()
