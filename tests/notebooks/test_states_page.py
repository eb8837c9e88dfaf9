"""The page of the states of a task says what the code does."""

from __future__ import annotations

import re

import pytest

from asyncnb._core.introspection.info import ENDED, STATES
from asyncnb._core.task_graph.svg import SIGNS
from tests.kernel.driver import ROOT

PAGE = (ROOT / "notebooks/reference/states.md").read_text(encoding="utf-8")
PICTURE = (ROOT / "notebooks/reference/images/states.svg").read_text(encoding="utf-8")
MOVES = PAGE.partition("## What moves a task where\n")[2].partition("\n\n- ")[0]

BEGIN = {
    "pending": "%%atask before\nawait asyncio.sleep(600)\n---\n%%atask it --after before\n1",
    "waiting": "%%atask it\nawait asyncio.sleep(600)",
    "paused": "%%atask it\nawait asyncio.sleep(600)\n---\n%tasks pause it",
    "cancelling": "%%atask it\ntry: await asyncio.sleep(600)\n"
    "finally: await asyncio.sleep(600)\n---\nawait asyncio.sleep(0)\n---\n%tasks cancel it",
    "done": "%%atask it --quiet\nawait asyncio.sleep(0)",
}


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_states_are_those_of_the_code_with_their_signs():
    table = rows(PAGE.partition("\n## ")[0])
    assert [row[0] for row in table] == [f"{SIGNS[state][0]} `{state}`" for state in STATES]
    drawn = re.findall(r">(\S) ([a-z]+)</text>", PICTURE)
    assert sorted(drawn) == sorted((SIGNS[state][0], state) for state in STATES)
    below = PICTURE.partition(">✓ done<")[2]
    assert {state for sign, state in drawn if f"{sign} {state}<" in below} | {"done"} == ENDED


@pytest.mark.parametrize("state", BEGIN)
@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_a_verb_moves_a_task_where_the_page_says(kernel, state, verb):
    names = ["pending", "waiting", "paused", "cancelling", "done"]
    [row] = [row for row in rows(MOVES) if row[0] == f"`%tasks {verb} NAME`"]
    promised = row[1 + names.index(state)]
    kernel.ok("import asyncio, asyncnb")
    for code in BEGIN[state].split("\n---\n"):
        kernel.ok(code)
    until(kernel, state)
    cell = kernel.run(f"%tasks {verb} it")
    if promised == "is refused":
        assert cell.status == "error" or "already" in cell.text, cell.text
        until(kernel, state)
    elif promised in ("nothing", ""):
        until(kernel, state)
    elif promised == "interrupts its cleanup":
        until(kernel, "cancelled")
    elif state in ("waiting", "paused") and verb == "cancel":
        assert promised == "`cancelling`"
        until(kernel, "cancelled")  # it has no cleanup
    else:
        until(kernel, re.findall(r"`(\w+)`", promised)[0])
    kernel.ok("asyncnb.cancel('*')")


def test_a_task_that_swallows_the_request_stays_cancelling(kernel):
    kernel.ok(
        "import asyncio, asyncnb\nasync def stubborn():\n"
        "    try: await asyncio.sleep(600)\n"
        "    except asyncio.CancelledError: await free.wait()\n"
        "free = asyncio.Event()\nit = asyncnb.launch(stubborn(), name='it')"
    )
    until(kernel, "waiting")
    kernel.ok("%tasks cancel it")
    until(kernel, "cancelling")
    kernel.ok("await asyncio.sleep(0.05)")
    until(kernel, "cancelling")
    kernel.ok("free.set()")
    until(kernel, "done")


def test_running_a_cell_again_interrupts_the_cleanup_of_its_task(kernel):
    [row] = [row for row in rows(MOVES) if row[0] == "you run its cell again"]
    assert row[4] == "a new task replaces it; its cleanup is interrupted"
    kernel.ok("import asyncio, asyncnb")
    for code in BEGIN["cancelling"].split("\n---\n"):
        kernel.ok(code)
    kernel.ok("old = asyncnb.task('it')")
    kernel.ok(BEGIN["cancelling"].split("\n---\n")[0])
    until(kernel, "waiting")
    kernel.ok("await asyncio.wait([old])\nassert old.cancelled()\nassert asyncnb.task('it') != old")
    kernel.ok("asyncnb.cancel('*')")


def until(kernel, state: str) -> None:
    """Wait until the task is in this state, and fail if it does not come to it."""
    kernel.ok(
        "for _ in range(1000):\n"
        f"    if asyncnb.task('it').info().state == {state!r}: break\n"
        "    await asyncio.sleep(0.01)\n"
        "else: raise AssertionError(asyncnb.task('it').info())"
    )
