"""`%%atask --on VAR`: a cell on a cluster or an executor is a task like any other."""

from __future__ import annotations

import re

import pytest

from tests.offload.conftest import FAR, lacking

_DASK = "from distributed import Client; _target = Client({address!r}"
_LOKY = "import loky; _target = loky.get_reusable_executor(1, timeout=None)"
_ENGINES = "import ipyparallel; _target = ipyparallel.Client({address!r}).load_balanced_view()"
_POOL = (
    "import concurrent.futures as cf, multiprocessing as mp\n"
    "_target = cf.ProcessPoolExecutor(1, mp.get_context('spawn'))"
)

#: The code that binds ``_target`` in the kernel, the kind of its tasks, and how worker names begin.
TARGETS = {
    "dask": (_DASK + ")", "dask", "tcp://127.0.0.1"),
    "dask, asynchronous": (
        _DASK.replace("= Client", "= await Client") + ", asynchronous=True)",
        "dask",
        "tcp://127.0.0.1",
    ),
    "dask's executor": (_DASK + ").get_executor()", "dask", "tcp://127.0.0.1"),
    "ipyparallel": (_ENGINES, "ipyparallel", "engine "),
    "process": ("_target = 'process'", "process", "process "),
    "loky": (_LOKY, "executor", ""),
    "a pool": (_POOL, "executor", ""),
}


@pytest.fixture(params=TARGETS, scope="module")
def target(request, python):
    """Return a row of TARGETS, for a cluster that runs."""
    code, kind, worker = TARGETS[request.param]
    needs = {"dask": "distributed", "ipyparallel": "ipyparallel"}.get(kind, "cloudpickle")
    if missing := lacking(python, "loky" if request.param == "loky" else needs):
        pytest.skip(f"{missing}: not installed for {python}")
    address = ""
    if kind == "dask":
        address = request.getfixturevalue("dask_cluster")(python)
    elif kind == "ipyparallel":
        address = request.getfixturevalue("engines")(python)
    return code.format(address=address), kind, worker


@pytest.fixture
def there(kernel, target):
    """The kernel, with ``_target`` bound."""
    code, _, _ = target
    kernel.ok(
        f"import os, time, asyncio\nif globals().get('_bound') != {code!r}:\n"
        + f"    _bound = {code!r}\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
    )
    return kernel


def test_a_remote_cell_is_a_task_like_any_other(there, target, tmp_path):
    _, kind, worker = target
    there.ok(f"go = {str(tmp_path / 'go')!r}\nbase = 10\ndef add(n): return n + base\nunread = 1")
    cell = there.ok(
        """
        %%atask far --on _target -g flock -t 60 -o total,value
        print("said at once")
        while not os.path.exists(go):
            await asyncio.sleep(0.01)
        total = add(5)
        print("unread" in globals())
        total * 2
        """
    )
    cell.wait_for("said at once")
    there.ok("%tasks rename far near")
    facts = there.evaluate(
        "(lambda i: (i.state, i.kind, i.group, i.worker, i.timeout > 0))"
        "(asyncnb.task('near').info())"
    )
    assert facts[:3] == ("running", kind, "flock")
    assert facts[3].startswith(worker) and facts[3]
    assert facts[4]
    (tmp_path / "go").touch()
    there.ok("%tasks wait near")
    assert there.evaluate("(total, value, asyncnb.task('near').result())") == (15, 30, 30)
    assert there.evaluate(
        "(lambda i: i.created <= i.started <= i.ended)(asyncnb.task('near').info())"
    )
    there.drain()
    first, *rest = cell.stdout.splitlines()
    assert first.startswith(f"to {kind}, with ")
    assert "add (function)" in first and "unread" not in first
    assert rest == ["said at once", "False"]


def test_its_traceback_shows_the_lines_of_the_cell(there):
    cell = there.ok(
        "%%atask far --on _target\ndef inner():\n    return 1 / 0\ntry:\n    inner()\n"
        "except ZeroDivisionError as exc:\n    raise KeyError('outer') from exc"
    )
    error = cell.wait_for(lambda c: c.errors).errors[0]
    assert error.ename == "KeyError"
    assert "----> 3     return 1 / 0" in error.traceback
    assert "----> 7     raise KeyError('outer') from exc" in error.traceback
    assert not FAR.search(error.traceback)


#: What a notebook defines in another cell, each with a way to fail.
_DEFINED = """
def plain():
    return 1 / 0  # plain
def outer():
    def nested():
        return {}["nested"]  # nested
    return nested
anonymous = lambda: [].index("anonymous")  # lambda
class Thing:
    def method(self):
        return self.missing  # method
    @staticmethod
    def static():
        return int("static")  # static
    @property
    def value(self):
        return plain()  # value
async def later():
    await asyncio.sleep(0)
    return plain()  # later
def generator():
    yield 1
    yield plain()  # generator
async def each():
    yield 1
    yield plain()  # each
async def all_of_each():
    return [n async for n in each()]  # all
class Odd(Exception):
    def __reduce__(self):
        raise TypeError("no pickle of this")
def odd():
    raise Odd  # odd
def caught(*calls):
    for call in calls:
        try:
            call()
        except Exception as exc:
            yield exc
def several(*calls):
    first, *others = caught(*calls)
    raise ExceptionGroup("some", [first, ExceptionGroup("deeper", others)])  # several
def chained():
    try:
        plain()
    except ZeroDivisionError as exc:
        raise KeyError("from") from exc  # from
def in_context():
    try:
        plain()
    except ZeroDivisionError:
        raise KeyError("context")  # context
"""

#: A call, and the comments at the lines that its traceback shows.
_FAILURES = {
    "plain()": ["plain"],
    "outer()()": ["nested"],
    "anonymous()": ["lambda"],
    "Thing().method()": ["method"],
    "Thing.static()": ["static"],
    "Thing().value": ["value", "plain"],
    "await later()": ["later", "plain"],
    "list(generator())": ["generator", "plain"],
    "await all_of_each()": ["all", "each", "plain"],
    "odd()": ["odd"],
    "several(plain, Thing.static, outer())": ["several", "plain", "static", "nested"],
    "several(plain, odd)": ["several", "plain", "odd"],
    "chained()": ["from", "plain"],
    "in_context()": ["context", "plain"],
}


def _shows(seen: str, mark: str) -> bool:
    """Return whether a traceback shows the line of ``_DEFINED`` with ``mark``, and its number."""
    lines = _DEFINED[1:].splitlines()
    [number] = [n for n, line in enumerate(lines, 1) if line.endswith(f"  # {mark}")]
    line = lines[number - 1].strip()
    # With an arrow, as IPython shows one error; or below its location, as Python shows a group.
    arrow = rf"-> {number} +{re.escape(line)}"
    below = rf"Cell In\[\d+\], line {number}, in .*\n[ |]+{re.escape(line)}"
    return re.search(f"{arrow}|{below}", seen) is not None


def test_a_traceback_shows_the_lines_of_anything_defined_in_a_notebook(there):
    there.ok(_DEFINED)
    for call, marks in _FAILURES.items():
        cell = there.ok(f"%%atask far --on _target\n{call}")
        seen = cell.wait_for(lambda c: c.errors).errors[0].traceback
        assert all(_shows(seen, mark) for mark in marks), (call, seen)
        assert not FAR.search(seen) and "asyncio/" not in seen, (call, seen)


def test_a_traceback_shows_the_lines_of_a_function_sent_by_itself(there):
    there.ok(_DEFINED)
    for call in (
        "asyncnb.offload(outer(), on=_target).join(30)",
        "asyncnb.launch(later(), on=_target).join(30)",
        "await asyncnb.map(lambda n: Thing().value, [1], on=_target, on_error='cancel')",
        # A function that is returned, and called in the kernel.
        "(await asyncnb.offload(outer, on=_target))()",
    ):
        seen = there.run(call).error.traceback
        marks = {"outer": ["nested"], "later": ["later", "plain"], "Thing": ["value", "plain"]}
        [expected] = [marks[name] for name in marks if name in call]
        assert all(_shows(seen, mark) for mark in expected), (call, seen)
        assert not FAR.search(seen) and "asyncio/" not in seen, (call, seen)


def test_a_cancel_stops_it_and_runs_its_cleanup(there):
    cell = there.ok(
        """
        %%atask far --on _target
        try:
            print("begun")  # a cancel may come while this returns
            while True:
                time.sleep(0.01)
        finally:
            print("cleaned up")
        """
    )
    cell.wait_for("begun")
    there.ok("%tasks cancel far\n%tasks wait far")
    assert there.evaluate("asyncnb.task('far').info().state") == "cancelled"
    there.drain()
    assert cell.stdout.endswith("begun\ncleaned up\n")
    there.ok("%%atask next --on _target\n6 * 7")
    assert there.evaluate("asyncnb.task('next').join(20)") == 42


def test_its_displays_and_shell_output_appear_in_its_cell(there, target):
    if target[1] == "ipyparallel":
        pytest.skip("an engine of ipyparallel has its own IPython for that")
    cell = there.ok(
        """
        %%atask far --on _target
        from IPython.display import HTML
        display(HTML("<b>bold</b>"))
        !echo from a shell
        """
    )
    cell.wait_for("from a shell")
    there.ok("%tasks wait far")
    assert cell.displays[0]["text/html"] == "<b>bold</b>"


def test_a_variable_that_cannot_be_sent_is_refused_before_anything_starts(there):
    there.ok("lock = threading.Lock()")
    cell = there.run("%%atask far --on _target\nlock")
    assert "lock (lock) cannot be sent" in cell.text
    assert there.evaluate("len(asyncnb.tasks('far'))") == 0


def test_retry_runs_it_again_when_its_worker_is_lost(there, target, tmp_path, request):
    if request.node.callspec.params["target"] != "dask":
        pytest.skip("needs a cluster that starts another worker; once is enough")
    there.ok(f"died = {str(tmp_path / 'died')!r}")
    cell = there.ok(
        """
        %%atask far --on _target --retry 1
        if not os.path.exists(died):
            open(died, "w").close()
            os._exit(3)
        "second time"
        """
    )
    assert there.evaluate("asyncnb.task('far').join(60)") == "second time"
    cell.wait_for("second time")
    there.ok("%%atask far --on _target\nos._exit(3)")
    assert there.run("asyncnb.task('far').join(60)").error.ename == "WorkerLostError"
