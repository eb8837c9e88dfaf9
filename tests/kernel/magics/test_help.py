"""The help of the magics: each of its examples runs as it is copied, comments included."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from asyncnb._kernel.arguments import comment_start, without_comment, words
from asyncnb._kernel.magics.magics import AsyncMagics
from tests.kernel.driver import Kernel

#: What the examples take for granted.
WORLD = """
import types
async def fetch(url):
    await asyncio.sleep(0.001)
    return str(url)
client = types.SimpleNamespace(get=fetch)
pandas = types.SimpleNamespace(read_csv=lambda name: [name])
urls, one_more, server = ["a", "b"], "c", "d"
async def check(server): await asyncio.sleep(0)
async def tick_forever():
    while True: await asyncio.sleep(0.01)
def living(*but):
    return [t for t in asyncnb.tasks() if not t.done() and t.get_name() not in but]
"""
#: On a slow machine, a first display or traceback imports for longer than the watchdog allows.
UNWATCHED = "%asyncnb option watchdog 60"
LIVING = """
one = asyncnb.launch(asyncio.sleep(1), name="fetch one")
async def crawl():
    await asyncio.wait([one, asyncio.create_task(asyncio.sleep(1), name="page 1")])
pages = asyncnb.launch(crawl(), name="pages")
loaded = asyncnb.launch(asyncio.sleep(0), name="load")
table = types.SimpleNamespace(dropna=lambda: ["a row"])
while not asyncnb.tasks("pages/page 1"): time.sleep(0.001)
"""


def helps() -> dict[str, str]:
    """Return what `?` shows of each magic."""
    return {
        sign + name: inspect.getdoc(getattr(AsyncMagics, method)) or ""
        for kind, sign in (("line", "%"), ("cell", "%%"))
        for name, method in AsyncMagics.magics[kind].items()  # type: ignore[index,union-attr]
    }


def examples(text: str) -> list[str]:
    """Return the blocks of a help that are indented as a whole."""
    blocks = [block.split("\n") for block in text.split("\n\n")]
    return [
        "\n".join(line[4:] for line in block)
        for block in blocks
        if all(line.startswith("    ") for line in block)
    ]


BLOCKS = [(magic, block) for magic, text in helps().items() for block in examples(text)]
LINES = [
    (magic, line)
    for magic, block in BLOCKS
    if not block.startswith("%%")
    for line in block.split("\n")
    if not line.startswith("await ")  # of what the line above has bound
]


@pytest.fixture(scope="module")
def reader(python: str) -> Iterator[Kernel]:
    """A separate kernel: the examples set options, and restart the loop."""
    with Kernel(python) as kernel:
        kernel.ok(WORLD)
        kernel.ok(UNWATCHED)
        yield kernel


@pytest.fixture
def world(reader: Kernel) -> Iterator[Kernel]:
    reader.ok(LIVING)
    yield reader
    reader.ok(f"%asyncnb autoawait on\n{UNWATCHED}\nasyncnb.cancel('*');")
    reader.ok("await asyncio.sleep(0)\n%tasks clear")


def works(kernel: Kernel, code: str) -> None:
    cell = kernel.ok(code)
    unending = "('watch', 'ticker', 'fetch one', 'pages')"
    kernel.ok(f"for each in living(*{unending}): each.join(10)")
    kernel.drain()
    assert cell.errors == [] and cell.stderr == ""


def test_every_magic_has_examples_and_a_question_mark_shows_them(reader: Kernel) -> None:
    assert {magic for magic, _ in BLOCKS} == set(helps())
    for magic, text in helps().items():
        [page] = reader.ok(f"{magic}?").reply["payload"]  # type: ignore[index]
        shown = page["data"]["text/plain"]
        for block in examples(text):
            for line in block.split("\n"):
                assert line in shown


@pytest.mark.parametrize("magic, block", BLOCKS)
def test_an_example_runs_as_it_is_copied(world: Kernel, magic: str, block: str) -> None:
    works(world, block)


@pytest.mark.parametrize("magic, line", LINES)
def test_a_line_of_an_example_runs_as_it_is_copied(world: Kernel, magic: str, line: str) -> None:
    works(world, line)


# --- comments -------------------------------------------------------------------------------------

WHERE = {
    "": None,
    "# all": 0,
    "cancel a # b": 9,
    "cancel a\t#b": 9,
    "cancel a  # it's": 10,
    'cancel a # "': 9,
    "cancel page#3": None,
    "cancel page#3 #": 14,
    "cancel 'a # b'": None,
    'cancel "a # b" # c': 15,
    'cancel "it\'s # b" # c': 18,
    r"cancel \#3": None,
    r"cancel a\ #3": None,
    r'cancel "a\" # b" # c': 17,
    r"cancel 'a\' # b": 12,
    "cancel ''# b": None,
    "cancel 'open # b": None,
    "cancel a \\": None,
    "option x $y # {z}": 12,
}


@pytest.mark.parametrize("line", WHERE)
def test_a_comment_begins_between_words_outside_of_quotes(line: str) -> None:
    assert comment_start(line) == WHERE[line]
    assert without_comment(line) == line[: WHERE[line]]


@pytest.mark.parametrize("word", ["a # b", "#", "it's", 'say "#"', "a\\ #", "page#3", " ", "\t#"])
def test_a_quoted_word_comes_through_before_a_comment(word: str) -> None:
    line = without_comment(f"cancel {shlex.quote(word)} # {word}")
    assert words(line, "%tasks") == ["cancel", word]


CANCELLED = {
    "%tasks cancel job # one of two": ["job"],
    "%tasks cancel job# # one of two": ["job#"],
    "%tasks cancel 'job # 2'": ["job # 2"],
    "%tasks cancel 'job # 2' job  # it's \"open": ["job", "job # 2"],
    "%tasks cancel $name  # {nothing} $nothing": ["job"],
    "%tasks cancel {name} -m 'too # slow' # {": ["job"],
    "%tasks cancel {['job # 2'][0]!r} # c": ["job # 2"],
    '%tasks cancel "$second" # c': ["job # 2"],
    "def f():\n    local = 'job#'\n    %tasks cancel $local # {nothing}\nf()": ["job#"],
    "get_ipython().run_line_magic('tasks', 'cancel job # c')": ["job"],
}


@pytest.fixture
def jobs(reader: Kernel) -> Iterator[Kernel]:
    reader.ok("name, second = 'job', 'job # 2'")
    reader.ok(
        "jobs = {n: asyncnb.launch(asyncio.sleep(600), name=n) for n in (name, 'job#', second)}"
    )
    reader.ok("await asyncio.sleep(0)")
    yield reader
    reader.ok("asyncnb.cancel('*');\nawait asyncio.sleep(0)\n%tasks clear")


@pytest.mark.parametrize("line", CANCELLED)
def test_a_line_with_a_comment_does_what_it_does_without(jobs: Kernel, line: str) -> None:
    jobs.ok(line)
    jobs.ok("await asyncio.sleep(0.001)")
    cancelled = jobs.evaluate("sorted(n for n, t in jobs.items() if t.cancelled())")
    assert cancelled == CANCELLED[line]


GIVEN = {
    "got = %atask fetch('a # b')": "a # b",
    "got = %atask fetch('a # b') # c": "a # b",
    "got = %atask fetch(f'{second} # {name}') # it's": "job # 2 # job",
    "got = %atask named -t 60 fetch('''#''')  # c": "#",
    "%%atask cell -o value # nothing else\n# here\n'a # b'  # there": "a # b",
    "%%atask {'c' + 'ell'} -o value -t $sixty # {nothing}\nf'{second} # {name}'": "job # 2 # job",
    "%%agroup both --quiet # c\ngot = both.create_task(fetch(' # '))": " # ",
}


@pytest.mark.parametrize("code", GIVEN)
def test_a_comment_is_not_looked_for_in_python(jobs: Kernel, code: str) -> None:
    jobs.ok("sixty = 60")
    jobs.ok(code)
    jobs.ok("for each in living(*jobs): each.join(10)")
    assert jobs.evaluate("value" if "-o" in code else "got.result()") == GIVEN[code]


REFUSED = ["%atask # c", "%atask -g crew # name", "%atask named -t 5 # name", "%tasks cancel # job"]


@pytest.mark.parametrize("line", REFUSED)
def test_a_comment_is_no_argument(jobs: Kernel, line: str) -> None:
    before = jobs.evaluate("sorted(t.get_name() for t in living())")
    error: Any = jobs.run(line).error
    assert error.ename == "UsageError"
    assert jobs.evaluate("sorted(t.get_name() for t in living())") == before


def test_magics_of_others_get_their_whole_line(reader: Kernel) -> None:
    reader.ok("%set_env ASYNCNB_NOTE a # b")
    assert reader.evaluate("__import__('os').environ['ASYNCNB_NOTE']") == "a # b"
    assert "Wall time" in reader.ok("%time x = 1 # c").stdout
    reader.ok("%time name = %tasks # c")


def test_tab_offers_nothing_in_a_comment(jobs: Kernel) -> None:
    assert "job" in jobs.complete("%tasks cancel j")
    assert "job" not in jobs.complete("%tasks cancel x # j")
