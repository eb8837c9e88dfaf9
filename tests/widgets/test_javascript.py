"""What JavaScript must not write down again: names and signs that Python sends to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from asyncnb._core.introspection.info import STATES
from asyncnb._core.listing.rows import FORMAT, Numbers, Texts
from asyncnb._core.timeline.rows import ARROW, BARS, ENDS, MARKS
from asyncnb.widgets import _static

FILES = sorted((Path(_static.__file__).parent / "static").rglob("*.js"))

#: What is sent as a list or a table, and how many of its words side by side are no copy of it: a
#: command has an id and a name, too.
LISTS: dict[str, Iterable[str]] = {
    "states": STATES,
    "columns of numbers": Numbers._fields,
    "columns of texts": Texts._fields,
    "kinds of bars": BARS,
    "ends of bars": ENDS,
    "marks": MARKS,
}
#: Signs and words of the timeline, each distinct from ordinary code.
SIGNS = [
    *(end.path for end in ENDS.values()),
    *(bar.dashes for bar in BARS.values() if bar.dashes),
    *(bar.word for bar in BARS.values() if " " in bar.word),
    *(f'"{word}"' for what, word in MARKS.items() if word != what),
    ARROW,
]

# A drawing for each state is no copy, as Python has none. A state without one gets another.
_ICONS = re.compile(r"const SHAPES = \{.*?^\};", re.DOTALL | re.MULTILINE)
_LITERAL = re.compile(r"\[[^\[\]{}()]*\]|\{[^\[\]{}()]*\}")
_WORD = re.compile(r"""(?<![\w.])["']?([A-Za-z_][\w ]*)["']?\s*:|["']([\w ]+)["']""")


def copies(js: str) -> Iterator[str]:
    """Yield what ``js`` writes down although Python sends it."""
    js = _ICONS.sub("", js)
    for literal in _LITERAL.findall(js):
        words = {key or text for key, text in _WORD.findall(literal)}
        for name, known in LISTS.items():
            if len(both := words & set(known)) > (2 if name.startswith("columns") else 1):
                yield f"{name}: {sorted(both)} in {literal.strip()[:80]}"
    yield from (f"state number in {found}" for found in re.findall(r"\bstate\s*[<>=]=*\s*\d", js))
    yield from (f"sign {sign}" for sign in SIGNS if sign in js)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_javascript_has_no_list_of_what_python_sends(path: Path) -> None:
    assert list(copies(path.read_text(encoding="utf-8"))) == []


def listed(words: Iterable[str]) -> str:
    return "const X = [" + ", ".join(f'"{word}"' for word in words) + "];"


_AS_OBJECT = str.maketrans({"[": "{", "]": ": 1}", ",": ": 1,"})


@pytest.mark.parametrize(
    "js",
    [
        *(listed(words) for words in LISTS.values()),
        *(listed(words).translate(_AS_OBJECT) for words in LISTS.values()),
        'const KIND_WORDS = { pending: "not started", run: "running" };',
        "const isEnded = (row) => row.state >= 5;",
        *(f"const SIGN = {sign};" for sign in SIGNS),
    ],
)
def test_a_copy_is_found(js: str) -> None:
    assert list(copies(js))


def test_the_format_of_rows_names_every_column() -> None:
    assert FORMAT["states"] == [*STATES]
    assert len(FORMAT["numbers"]) == len(Numbers._fields)
    assert FORMAT["texts"][:-1] == [*Texts._fields]
