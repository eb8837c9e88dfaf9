"""%tasks limit, rate and retry, and what the table says of a run of asyncnb.map."""

from __future__ import annotations

import json

import pytest

from asyncnb._core.config import FRAMES, RESULTS

START = """
gate = asyncio.Event()
async def call(n):
    if n >= 4: await gate.wait()
    assert n != 2, "not two"
    return n
pages = asyncnb.map(call, range(10), limit=2, name="pages").start()
while pages.counts().done + pages.counts().failed < 4: await asyncio.sleep(0)
other = asyncnb.launch(gate.wait(), name="other")
"""


@pytest.fixture
def run(kernel):
    kernel.ok(START)
    yield kernel
    kernel.ok("gate.set()")


def test_the_table_has_one_row_that_counts_and_a_path_has_the_items_in_progress(run):
    table = run.ok("%tasks").result
    assert "4/10, 1 failed" in table
    assert table.count("pages") == 2  # the row, and the hint at the path
    assert "item 4" not in table
    inside = run.ok("%tasks pages/").result
    assert "item 4" in inside
    assert "item 5" in inside
    found = json.loads(run.ok("%tasks --json").result)["tasks"][0]
    assert (found["done"], found["total"]) == (4, 10)
    assert {"failed": 1, "limit": 2, "rate": None}.items() <= found["calls"].items()
    assert run.evaluate("pages.task.info().calls.done") == 3


def test_the_limit_changes_while_it_runs(run):
    assert "pages: at most 5 calls at a time" in run.ok("%tasks limit pages 5").stdout
    run.ok("while pages.counts().running < 5: await asyncio.sleep(0)")
    assert run.evaluate("pages.limit") == 5


REFUSED = {
    "%tasks limit pages none": "A limit takes a whole number of calls at a time, 1 or more, not",
    "%tasks limit pages 0": "1 or more, not 0",
    "%tasks limit pages -3": "-3",
    "%tasks limit pages 2.5": "1 or more, not '2.5'",
    "%tasks limit page 5": "Did you mean 'pages'?",
    "%tasks limit other 5": "'other' is not a run of asyncnb.map(), so it has no limit and no rate",
    "%tasks rate other 5/s": "'other' is not a run of asyncnb.map()",
    "%tasks retry other": "'other' is not a run of asyncnb.map()",
    "%tasks retry pages": "'pages' is still running",
    "%tasks limit pages": "the following arguments are required: calls",
    "%tasks limt pages 3": "Did you mean 'limit'?",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_makes_no_sense_is_refused_with_a_sentence(run, code):
    assert REFUSED[code] in run.run(code).error.evalue
    assert run.evaluate("pages.limit") == 2


def test_two_runs_of_one_name_are_not_confused(run):
    run.ok("more = asyncnb.map(call, range(10), limit=2, name='pages').start()")
    assert "2 living tasks are named 'pages'" in run.run("%tasks limit pages 3").error.evalue
    run.ok("more.cancel()\nawait asyncio.wait([more.task])")
    run.ok("%tasks limit pages 3")
    assert run.evaluate("pages.limit") == 3


def test_a_paused_run_has_neither_a_pace_nor_an_end(run):
    run.ok("%tasks pause pages")
    assert run.evaluate("pages.task.info().calls[-4:]") == (None, None, 2, None)
    run.ok("%tasks resume pages")


def test_the_facts_of_an_ended_run_outlive_it_and_keep_no_result(run):
    run.ok("gate.set()\ntry: await pages\nexcept* AssertionError: pass")
    assert "has ended" in run.run("%tasks limit pages 3").error.evalue
    # Nothing holds its frames, and through these the run.
    run.ok("import gc, weakref\nkept = weakref.ref(pages)\ndel pages")
    run.ok("%asyncnb option frames 0\n%asyncnb option results 0\ngc.collect();")
    try:
        assert run.evaluate("kept() is None")
        assert run.evaluate("asyncnb.task('pages').info().calls[:5]") == (10, 10, 0, 9, 1)
        assert "no longer kept" in run.run("%tasks retry pages").error.evalue
    finally:
        run.ok(f"%asyncnb option frames {FRAMES}\n%asyncnb option results {RESULTS}")
