"""The same command by magic, in the dashboard and in Python leaves the same behind."""

from __future__ import annotations

import re
import shlex

import pytest

SETUP = """
import asyncio, asyncnb
from asyncnb._core.launched import registry as _registry
from asyncnb._core.tracing import recording as _trace
from asyncnb.widgets._commands import Commands
def click(verb, **arguments):
    return Commands().execute(*Commands().parse({"c": verb} | arguments)[::2])
def id_of(name):
    return asyncnb.task(name).info().id
async def waits(): await asyncio.Event().wait()
async def settled(*names, ended=True):
    if ended:
        await asyncio.wait([asyncnb.task(name) for name in names], timeout=10)
    for _ in range(5): await asyncio.sleep(0)
def facts():
    return {
        t.get_name(): (t.info().state, t.info().timeout is not None) for t in asyncnb.tasks()
    }
"""

BODY = """
%%agroup pages
for n in (1, 2): pages.create_task(waits(), name=f"page {n}")
"""


@pytest.fixture
def two(kernel):
    kernel.ok(SETUP)
    kernel.ok("%tasks clear")
    yield kernel
    kernel.ok("await asyncio.sleep(0)\nasyncnb.cancel('*');")


def group(kernel):
    kernel.ok(BODY)
    kernel.ok("while len(asyncnb.tasks('page *')) < 2: await asyncio.sleep(0)")


CANCEL_GROUP = {
    "magic": "%tasks cancel -g pages",
    "dashboard": "click('cancel_group', group='pages')",
}
GONE = ("pages", "page 1", "page 2")


@pytest.mark.parametrize("way", CANCEL_GROUP)
@pytest.mark.parametrize("paused", [(), ("pages",), ("page 1",), GONE], ids=str)
def test_a_cancelled_group_ends_its_body_done_however_it_was_asked(two, way, paused):
    group(two)
    for name in paused:
        two.ok(f"%tasks pause '{name}'")
    two.ok(CANCEL_GROUP[way])
    two.ok(f"await settled(*{GONE})", 15)
    assert two.evaluate("facts()") == {
        "pages": ("done", False),
        "page 1": ("cancelled", False),
        "page 2": ("cancelled", False),
    }


@pytest.mark.parametrize("code", [*CANCEL_GROUP.values(), "pages.cancel()"])
def test_a_cancelled_group_without_a_body_takes_no_more_tasks(two, code):
    two.ok("pages = asyncnb.open_group('pages')\nlate = None")
    two.ok("pages.create_task(waits(), name='page 1'); await asyncio.sleep(0)")
    two.ok(code)
    two.ok("await settled('page 1')", 15)
    assert two.evaluate("(facts(), pages.closed)") == ({"page 1": ("cancelled", False)}, True)


# What each does, by magic and in the dashboard, to the tasks a and b.
PAIRS = {
    "cancel": ("%tasks cancel a", "click('cancel', id=id_of('a'))"),
    "cancel all": ("%tasks cancel --all", "click('cancel_all')"),
    "pause": ("%tasks pause a", "click('pause', id=id_of('a'))"),
    "pause twice": ("%tasks pause a\n%tasks pause a", "click('pause', id=id_of('a'));" * 2),
    "resume": (
        "%tasks pause a\n%tasks resume a",
        "click('pause', id=id_of('a')); click('resume', id=id_of('a'))",
    ),
    "rename": ("%tasks rename a c", "click('rename', id=id_of('a'), name='c')"),
    "timeout": ("%tasks timeout a 600", "click('timeout', id=id_of('a'), seconds=600)"),
    "no timeout": ("%tasks timeout b none", "click('timeout', id=id_of('b'), seconds=None)"),
    "clear": ("%tasks clear", "click('clear')"),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_a_verb_and_its_button_do_the_same(two, pair):
    seen = []
    for code in PAIRS[pair]:
        two.ok("%tasks clear")
        two.ok("for n in 'ab': asyncnb.launch(waits(), name=n, timeout=60 if n == 'b' else None)")
        two.ok("asyncnb.launch(asyncio.sleep(0), name='over', trace=True)\nawait settled('over')")
        two.ok(
            "changed = []\nfrom asyncnb._core.launched.record import observers\n"
            "note = lambda r: changed.append(r.task.get_name())\n"
            "observers.add(note)"
        )
        two.ok(code)
        two.ok("await settled(ended=False)")
        two.ok("observers.discard(note)")
        seen.append(two.evaluate("(facts(), sorted(set(changed)), len(_trace.recorder.traces))"))
        two.ok("asyncnb.cancel('*');\nawait settled(*(t.get_name() for t in asyncnb.tasks()))")
    assert seen[0] == seen[1]


REFUSED = {
    "a name that is a pattern": (
        "%tasks rename a 'x*'",
        "click('rename', id=id_of('a'), name='x*')",
    ),
    "the name of another": ("%tasks rename a b", "click('rename', id=id_of('a'), name='b')"),
    "a limit of one that ended": (
        "%tasks timeout over 5",
        "click('timeout', id=id_of('over'), seconds=5)",
    ),
    "a pause of one that ended": ("%tasks pause over", "click('pause', id=id_of('over'))"),
    "a pause of a thread": ("%tasks pause thread", "click('pause', id=id_of('thread'))"),
    "a resume of one that ended": ("%tasks resume over", "click('resume', id=id_of('over'))"),
    "a resume of one that waits": ("%tasks resume a", "click('resume', id=id_of('a'))"),
    "a group that is none": ("%tasks cancel -g pges", "click('cancel_group', group='pges')"),
    "an empty name": ("%tasks rename a ''", "click('rename', id=id_of('a'), name='')"),
}


@pytest.mark.parametrize("pair", REFUSED)
def test_a_verb_and_its_button_refuse_the_same_with_nothing_changed(two, pair):
    two.ok("for n in 'ab': asyncnb.launch(waits(), name=n)")
    two.ok("asyncnb.launch(asyncio.sleep(0), name='over')\nawait settled('over')")
    two.ok("asyncnb.launch(asyncio.sleep(60), name='page', group=asyncnb.open_group('pages'))")
    two.ok("import threading\nbegun, leave = threading.Event(), threading.Event()")
    two.ok("%%atask thread\nbegun.set()\nleave.wait(60)")
    two.ok("assert begun.wait(30)")
    before = two.evaluate("facts()")
    refused = [two.run(code) for code in REFUSED[pair]]
    assert two.evaluate("facts()") == before
    two.ok("leave.set()")
    sentences = [cell.error.evalue for cell in refused]
    assert sentences[0] == sentences[1]
    assert sentences[0].endswith((".", "?")) and sentences[0][0] in "'AINT"


# What each answers where it is done, to the tasks a and b.
ANSWERS = {
    "cancel": ("%tasks cancel a", "click('cancel', id=id_of('a'))"),
    "cancel of one that ended": ("%tasks cancel over", "click('cancel', id=id_of('over'))"),
    "cancel all": ("%tasks cancel --all", "click('cancel_all')"),
    "pause": ("%tasks pause a", "click('pause', id=id_of('a'))"),
    "resume": ("%tasks pause a\n%tasks resume a", "click('pause', id=id_of('a')); "
               "click('resume', id=id_of('a'))"),
    "no timeout": ("%tasks timeout a none", "click('timeout', id=id_of('a'), seconds=None)"),
    "clear": ("%tasks clear", "click('clear')"),
}  # fmt: skip


@pytest.mark.parametrize("pair", ANSWERS)
def test_a_verb_and_its_button_answer_the_same(two, pair):
    magic, button = ANSWERS[pair]
    answers = []
    for code in (magic, f"answer = [{button.replace('; ', ', ')}]\nprint(*answer, sep='\\n')"):
        two.ok("for n in 'ab': asyncnb.launch(waits(), name=n)")
        two.ok("asyncnb.launch(asyncio.sleep(0), name='over')\nawait settled('over')")
        answers.append(two.ok(code).stdout)
        two.ok("asyncnb.cancel('*');\nawait settled(*(t.get_name() for t in asyncnb.tasks()))")
        two.ok("%tasks clear")
    assert answers[0] == answers[1] != ""


@pytest.mark.parametrize(
    "cancel", ["asyncnb.cancel({!r});", "%tasks cancel '{}'"], ids=["python", "magic"]
)
def test_cancel_knows_ended_names_and_refuses_unknown_ones(two, cancel):
    two.ok("%tasks clear")
    assert two.ok(cancel.format("*")).errors == []  # nothing was launched: there is nothing to do
    two.ok("asyncnb.launch(asyncio.sleep(0), name='over')\nawait settled('over')")
    two.ok("asyncnb.launch(waits(), name='living'); await asyncio.sleep(0)")
    assert two.ok(cancel.format("over")).errors == []
    assert two.ok(cancel.format("ov*")).errors == []
    error = two.run(cancel.format("livin")).error
    assert "Did you mean 'living'?" in error.evalue
    assert two.run(cancel.format("x*")).status == "error"
    assert two.evaluate("facts()['living'][0]") == "waiting"
    assert two.evaluate("facts()['over'][0]") == "done"


# --- rows that were not launched ------------------------------------------------------------------


def rows(kernel):
    return {line.split()[0]: line for line in kernel.ok("%tasks --all").text.splitlines()[1:]}


def make_plain(kernel, loop, name):
    kernel.ok(f"%asyncnb autoawait {'off' if loop == 'kernel' else 'on'}")
    kernel.ok(f"kept = asyncio.create_task(waits(), name={name!r}); await asyncio.sleep(0)")
    kernel.ok("%asyncnb autoawait on")


NAMES = {
    "word": "plain", "glob": "a[1]", "long": "n" * 60, "no": None, "space": "a b", "lines": "a\nb",
    "escape": "\x1b[31m", "turned": "a\u202eb", "surrogate": "\ud800x", "padded": "  a ",
    "comment": "a # b", "quotes": "it's \"a\"", "wide": "宽" * 30, "ellipsis": "a…",
}  # fmt: skip


def make(kernel, how, name):
    if how != "launched":
        make_plain(kernel, how, name)
    else:
        kernel.ok(f"kept = asyncnb.launch(waits(), name={name!r})\nawait asyncio.sleep(0)")


def shown_rows(kernel):
    """The rows of the table as (name, row): a name may have spaces in it."""
    lines = kernel.ok("%tasks --all").text.splitlines()[1:]
    return [(re.split(r"  +(?:waiting|pending) ", line)[0], line) for line in lines]


@pytest.mark.parametrize("how", ["loop", "kernel", "launched"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_row_is_cancelled_by_the_name_that_is_shown_and_tells_its_loop(two, how, name):
    make(two, how, name)
    [(shown, row)] = shown_rows(two)
    assert f" {'loop' if how == 'launched' else how} " in f"{row} "
    assert (
        "cancellation requested for 1 task" in two.ok(f"%tasks cancel {shlex.quote(shown)}").stdout
    )
    two.ok("while not kept.done(): await asyncio.sleep(0.001)")
    assert two.evaluate("kept.cancelled()") is True
    two.ok("await asyncio.sleep(0)\n%tasks clear")
    assert shown_rows(two) == []


@pytest.mark.parametrize("how", ["loop", "kernel", "launched"])
def test_python_cancels_by_the_name_that_is_shown(two, how):
    for name in ("a[1]", "n" * 60, "a\nb", "\x1b[31m"):
        make(two, how, name)
        [(shown, _)] = shown_rows(two)
        two.ok(f"assert asyncnb.cancel({shown!r}) == [kept]")
        two.ok("while not kept.done(): await asyncio.sleep(0.001)")
        two.ok("await asyncio.sleep(0)\n%tasks clear")


def test_verbs_take_the_name_that_is_shown_and_refuse_one_that_two_rows_have(two):
    make(two, "launched", "a\nb")
    for verb in ("stack 'a b'", "pause 'a b'", "resume 'a b'", "timeout 'a b' 60", "output 'a b'"):
        two.ok(f"%tasks {verb}")
    two.ok("%tasks rename 'a b' c")
    assert two.evaluate("kept.get_name()") == "c"
    make(two, "launched", "n" * 60)
    make(two, "launched", "n" * 61)
    cut = "n" * 39 + "…"
    assert [shown for shown, _ in shown_rows(two)] == ["c", cut, cut]
    assert "n" * 60 in two.run(f"%tasks cancel {cut}").error.evalue  # in full, to be copied
    assert two.evaluate("[t.cancelling() for t in asyncnb.tasks()]") == [0, 0, 0]
    make(two, "launched", "a b")
    make(two, "launched", "a\nb")
    two.ok("asyncnb.cancel('a b')\nawait asyncio.sleep(0)")  # what is called so, not what looks so
    assert two.evaluate("[t.get_name() for t in asyncnb.tasks() if t.done()]") == ["a b"]


def test_a_name_that_rows_share_cancels_all_of_them(two):
    two.ok("asyncnb.launch(asyncio.sleep(0), name='same')\nawait settled('same')")
    make_plain(two, "kernel", "same")
    two.ok("first = kept")
    make_plain(two, "loop", "same")
    two.ok("second = kept\nthird = asyncnb.launch(waits(), name='same'); await asyncio.sleep(0)")
    assert "cancellation requested for 3 tasks" in two.ok("%tasks cancel same").stdout
    two.ok("while not (first.done() and second.done()): await asyncio.sleep(0.001)")
    assert two.evaluate("[t.cancelled() for t in (first, second)]") == [True, True]


def test_the_kernels_own_tasks_are_no_rows(two):
    assert rows(two) == {}
    assert two.evaluate("len(asyncnb.tasks(all=True)) > 0") is True  # Python sees every one
    own = two.evaluate("[t.get_name() for t in asyncnb.tasks(all=True)]")
    assert "No task named" in two.run(f"%tasks cancel {own[0]}").error.evalue
