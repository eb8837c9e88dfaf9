"""Bad input: the right exception in that cell, which says what to write; nothing else happens."""

from __future__ import annotations

import pytest

from tests.kernel.driver import OURS

BODY = "\nawait asyncio.sleep(60)"

# Cell: (name of the exception, what its message has to contain).
WRONG_CELLS = {
    "%%atask job -t -1" + BODY: ("UsageError", "-1"),
    "%%atask job -t abc" + BODY: ("UsageError", "abc"),
    "%%atask job -t nan" + BODY: ("UsageError", "nan"),
    "%%atask job -t" + BODY: ("UsageError", "-t"),
    "%%atask job --bogus" + BODY: ("UsageError", "--bogus"),
    "%%atask job --wiat" + BODY: ("UsageError", "--wait"),
    "%%atask job --on nosuch" + BODY: ("UsageError", "nosuch"),
    "%%atask job --on nosuch " + BODY: ("UsageError", "thread"),
    "%%atask job --again maybe" + BODY: ("UsageError", "replace"),
    "%%atask job -o 5x" + BODY: ("UsageError", "5x"),
    "%%atask job -o class" + BODY: ("UsageError", "class"),
    "%%atask job another" + BODY: ("UsageError", "another"),
    "%%atask job 'unclosed" + BODY: ("UsageError", "quot"),
    "%%atask job\n": ("UsageError", "empty"),
    "%%atask job\n   \n\n": ("UsageError", "empty"),
    "%%atask job": ("UsageError", "empty"),
    "%%atask job\nawait (": ("SyntaxError", "("),
    "%%atask job\nx = = 1": ("SyntaxError", "invalid syntax"),
    "%%atask job\nreturn 1": ("SyntaxError", "return"),
    "%%atask job\nif True:\nawait asyncio.sleep(0)": ("IndentationError", "indent"),
    "%%atask job --every 0" + BODY: ("UsageError", "above 0"),
    "%%atask job --every often" + BODY: ("UsageError", "often"),
    "%%atask job --every inf" + BODY: ("UsageError", "inf"),
    "%%atask job --retry 0" + BODY: ("UsageError", "1 or more"),
    "%%atask job --retry -1" + BODY: ("UsageError", "-1"),
    "%%atask job --retry 2.5" + BODY: ("UsageError", "2.5"),
    "%atask 5": ("UsageError", "5"),
    "%atask": ("UsageError", "atask"),
    "%atask job": ("NameError", "job"),
    "%atask asyncio.sleep(": ("SyntaxError", "("),
    "%atask -t -1 asyncio.sleep(60)": ("UsageError", "-1"),
    "%tasks cancel": ("UsageError", "cancel"),
    "%tasks cancel exsting": ("UsageError", "existing"),
    "%tasks cancel zzz*": ("UsageError", "zzz*"),
    "%tasks canel existing": ("UsageError", "cancel"),
    "%tasks stop existing": ("UsageError", "Did you mean 'cancel'?"),
    "%tasks logs existing": ("UsageError", "Did you mean 'output'?"),
    "%tasks exsting": ("UsageError", "existing"),
    "%tasks --faild": ("UsageError", "--failed"),
    "%tasks wait exsting": ("UsageError", "existing"),
    "%tasks wait existing -t -1": ("UsageError", "-1"),
    "%tasks wait existing -t soon": ("UsageError", "soon"),
    "%tasks output": ("UsageError", "output"),
    "%tasks output exsting": ("UsageError", "existing"),
    "%tasks rename existing": ("UsageError", "rename"),
    "%tasks rename exsting new": ("UsageError", "existing"),
    "%tasks rename a b c": ("UsageError", "rename"),
    "%%atask job -g 'a*'" + BODY: ("UsageError", "glob character"),
    "%%atask job -g" + BODY: ("UsageError", "-g"),
    "%%agroup" + BODY: ("UsageError", "NAME"),
    "%%agroup 5x" + BODY: ("UsageError", "5x"),
    "%%agroup print" + BODY: ("UsageError", "builtin"),
    "%%agroup job -t soon" + BODY: ("UsageError", "soon"),
    "%%agroup job --on-error contine" + BODY: ("UsageError", "continue"),
    "%%agroup job\nx = = 1": ("SyntaxError", "invalid syntax"),
    "%tasks -g nosuch": ("UsageError", "nosuch"),
    "%tasks wait -g nosuch": ("UsageError", "nosuch"),
    "%tasks cancel -g nosuch": ("UsageError", "nosuch"),
    "%tasks cancel --all -g nosuch": ("UsageError", "--all"),
    "%tasks timeout existing": ("UsageError", "timeout"),
    "%tasks timeout exsting 5": ("UsageError", "existing"),
    "%tasks timeout existing soon": ("UsageError", "soon"),
    "%tasks timeout existing -5": ("UsageError", "-5"),
    "%tasks timeout existing +5": ("UsageError", "without the +"),
    "%tasks timeout existing nan": ("UsageError", "nan"),
    "%tasks pause": ("UsageError", "pause"),
    "%tasks pause exsting": ("UsageError", "existing"),
    "%tasks pause existing --pause-timeot": ("UsageError", "--pause-timeouts"),
    "%tasks resume exsting": ("UsageError", "existing"),
    "%tasks resume existing": ("UsageError", "existing is waiting"),
    "%asyncnb frobnicate": ("UsageError", "frobnicate"),
    "%asyncnb autoawait maybe": ("UsageError", "off"),
    "%asyncnb option nosuch 5": ("UsageError", "option"),
    "asyncnb.launch(5)": ("TypeError", "5"),
    "asyncnb.launch(asyncio.sleep)": ("TypeError", "sleep("),
    "asyncnb.run(5)": ("TypeError", "5"),
    "asyncnb.task('exsting')": (None, "existing"),
}

STATE = (
    "[(t.get_name(), t.done(), t.cancelling()) for t in asyncnb.tasks()], "
    "sorted(n for n in globals() if not n.startswith('_'))"
)


@pytest.fixture
def existing(kernel):
    kernel.ok("%%atask existing\nawait asyncio.sleep(60)")
    return kernel


@pytest.mark.parametrize(("code", "ename", "says"), [(c, *w) for c, w in WRONG_CELLS.items()])
def test_it_is_refused_with_a_sentence_and_changes_nothing(existing, code, ename, says):
    before = existing.evaluate(STATE)
    cell = existing.run(code, 10)
    assert cell.status == "error", f"accepted: {cell!r}"
    assert (
        ename is None
        or cell.error.ename == ename
        or (ename == "SyntaxError" and cell.error.ename == "_IncompleteInputError")
    )
    assert says in cell.error.evalue
    existing.drain()
    assert existing.evaluate(STATE) == before
    assert not existing.where("never awaited")


def test_a_sentence_is_all_that_is_shown(existing):
    for code in ("%%atask job -t -1" + BODY, "%tasks cancel exsting"):
        cell = existing.run(code)
        assert cell.errors == []  # UsageError: IPython shows the message, no traceback
        assert cell.stderr.startswith("UsageError: ")
        assert len(cell.stderr) > len("UsageError: ") + 20


@pytest.mark.parametrize("code", ["%%atask job\nawait (", "%%atask job\nx = 1\ny = = 2"])
def test_a_syntax_error_points_into_the_cell(existing, code):
    cell = existing.run(code)
    shown = cell.text
    assert f"Cell In[{cell.count}]" in shown
    assert code.splitlines()[-1] in shown
    assert OURS not in shown
    assert "Traceback (most recent call last)" not in shown


def test_nothing_partial_is_started_by_a_name_in_use_for_something_else(existing):
    existing.ok("existing = 'a value of the user'")
    existing.ok("%%atask existing --again skip\nawait asyncio.sleep(60)")
    assert existing.evaluate("existing") == "a value of the user"


def test_a_negative_timeout_of_launch_is_refused_and_the_coroutine_closed(existing):
    before = existing.evaluate(STATE)
    cell = existing.run("asyncnb.launch(asyncio.sleep(60), timeout=-1)")
    assert cell.error.ename == "ValueError"
    existing.drain()
    assert existing.evaluate(STATE) == before
    assert not existing.where("never awaited")


def test_near_names_are_offered_and_far_ones_are_not(existing):
    existing.ok("%%atask entirely_different\nawait asyncio.sleep(60)")
    cell = existing.run("asyncnb.task('existin')")
    assert "existing" in cell.error.evalue
    assert "entirely_different" not in cell.error.evalue


def test_a_name_that_two_tasks_have_is_refused_by_task(kernel):
    kernel.ok("ts = [asyncnb.launch(asyncio.sleep(60), name='twin') for _ in range(2)]")
    cell = kernel.run("asyncnb.task('twin')")
    assert cell.status == "error"
    assert "twin" in cell.error.evalue
    assert "2" in cell.error.evalue or "two" in cell.error.evalue
