"""What an agent reads: bounded text, a head and a tail, and the line that failed."""

from __future__ import annotations

import pytest

from asyncnb._client import received
from asyncnb._client.received import Excerpt, Received, TextLog, plain

pytest.importorskip("mcp.server.mcpserver", reason="mcp 2 or a dependency has no wheel here")
from asyncnb._mcp.excerpts import MAX_LINE, MAX_TEXT, shorten
from asyncnb._mcp.marked import place_in_cell


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> TextLog:
    monkeypatch.setattr(received, "MAX_HEAD", 10)
    monkeypatch.setattr(received, "MAX_TAIL", 10)
    log = TextLog()
    for i in range(100):
        log.add(f"{i:03}\n")
    return log


def test_a_log_keeps_its_beginning_and_its_end(small: TextLog) -> None:
    found = small.since(0)
    assert found.head == "000\n001\n00"
    assert found.tail.endswith("098\n099\n") and len(found.tail) < 20
    assert len(found.head) + found.gone + len(found.tail) == found.cursor == 400
    assert shorten(found, 1, 1).lines == 100


@pytest.mark.parametrize("cursor", [0, 3, 10, 11, 200, 390, 399, 400])
def test_a_cursor_is_a_place_in_the_whole_text(small: TextLog, cursor: int) -> None:
    whole = "".join(f"{i:03}\n" for i in range(100))
    found = small.since(cursor)
    assert found.cursor == 400
    assert len(found.head) + found.gone + len(found.tail) == 400 - cursor
    assert whole[cursor:].startswith(found.head)
    assert whole[cursor:].endswith(found.tail)


def test_short_text_is_left_as_it_is() -> None:
    for text in ("", "a", "a\n", "a\nb", "\n\n"):
        short = shorten(Excerpt(text, 0, "", len(text)), 5, 5)
        assert (short.text, short.omitted, short.cursor) == (text, 0, len(text))


def test_pages_of_a_text_have_each_line_once() -> None:
    text = "".join(f"line {i}\n" for i in range(25)) + "the rest"
    pages, cursor = [], 0
    while cursor < len(text):
        short = shorten(Excerpt(text[cursor:], 0, "", len(text)), 10, 0)
        pages.append(short.text)
        cursor = short.cursor
    assert "".join(pages) == text and len(pages) == 3


def test_a_long_line_and_a_long_answer_are_cut() -> None:
    short = shorten(Excerpt("x" * 10_000, 0, "", 10_000), 5, 5)
    assert len(short.text) < MAX_LINE + 50 and "9,500 more" in short.text
    many = ("y" * 400 + "\n") * 5000
    assert len(shorten(Excerpt(many, 0, "", len(many)), 5000, 0).text) < MAX_TEXT + 100


def test_a_display_is_a_line_of_the_text_and_its_update_replaces_it() -> None:
    cell = Received("c", "")
    transient = {"display_id": "d"}
    cell.take("display_data", {"data": {"image/png": "AAAA"}, "transient": transient})
    cell.take("stream", {"name": "stdout", "text": "\x1b[31mred\x1b[0m\n"})
    cell.take("update_display_data", {"data": {"image/png": "BBBB"}, "transient": transient})
    assert cell.log.since(0).head == "[image/png, 3 bytes]\nred\n"
    assert [each.image for each in cell.displays] == [("image/png", "BBBB")]
    assert cell.printed == len("\x1b[31mred\x1b[0m\n"), "as the kernel counts"


def test_displays_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "MAX_DISPLAYS", 3)
    monkeypatch.setattr(received, "MAX_DISPLAY_SIZE", 100)
    cell = Received("c", "")
    for size in (1, 2, 3, 4, 200):
        cell.take("display_data", {"data": {"image/png": "A" * size}})
    assert [each.size for each in cell.displays] == [200]


def test_messages_that_are_none_are_dropped() -> None:
    cell = Received("c", "")
    for kind in ("stream", "display_data", "update_display_data", "error", "status", "unknown"):
        cell.take(kind, {})
    assert len(cell.errors) == 1 and not cell.displays


TRACEBACK = """\
-------------------------------------------------
ValueError         Traceback (most recent call last)
Cell In[5], line 3
      1 %%atask x
      2 a = 1
----> 3 f()

File /lib/python3/json.py:346, in loads(s)
    344 if x:
--> 346     return 1

ValueError: no
"""


def test_the_line_is_that_of_the_code_that_was_given() -> None:
    place = place_in_cell(TRACEBACK, "a = 1\nf()", offset=1)
    assert place is not None
    assert (place.cell, place.line) == (5, 2)
    assert place.lines == "    1 a = 1\n--> 2 f()"


def test_a_line_of_another_cell_is_shown_as_the_traceback_has_it() -> None:
    place = place_in_cell(TRACEBACK, "other\ncode", offset=1)
    assert place is not None
    assert place.line == 3 and place.lines.splitlines()[-1] == "--> 3 f()"


@pytest.mark.parametrize("text", ["", "KeyError: 1", "Cell In[x]", "File /a.py:1, in f()"])
def test_a_traceback_without_a_cell_has_no_place(text: str) -> None:
    assert place_in_cell(text, "code") is None


def test_colours_are_removed() -> None:
    assert plain("\x1b[1;31ma\x1b[0m\x1b]8;;x\x07b") == "ab"
