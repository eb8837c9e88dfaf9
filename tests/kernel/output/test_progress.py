"""progress= and track: a bar in the cell of the work, the count in the table."""

from __future__ import annotations

from tests.kernel.output.test_headless import execute, stored  # noqa: F401


def test_gather_with_a_label_shows_a_bar_in_its_cell_that_ends_full(kernel):
    cell = kernel.ok(
        "await asyncnb.gather(*(asyncio.sleep(0, i) for i in range(7)), progress='naps')"
    )
    kernel.drain()
    assert cell.result == str(list(range(7)))
    assert "naps" in cell.text
    assert "7/7 done" in cell.text


def test_a_bar_of_a_background_task_is_in_its_own_cell(kernel):
    cell = kernel.ok(
        "%%atask job\nawait asyncnb.gather(*(asyncio.sleep(0) for _ in range(3)), progress='naps')"
    )
    kernel.ok("await asyncnb.task('job')")
    cell.wait_for("3/3 done")
    assert kernel.where("3/3 done") == [cell]


def test_track_reports_to_the_table_of_tasks(kernel):
    kernel.ok("gate = asyncio.Event()\nreached = asyncio.Event()")
    kernel.ok(
        "%%atask job\nfor i in asyncnb.track(range(5)):\n    if i == 3:\n"
        "        reached.set(); await gate.wait()"
    )
    kernel.ok("await reached.wait()")
    assert kernel.evaluate("asyncnb.task('job').info().progress") == (3, 5)
    assert "3/5" in kernel.ok("%tasks").text
    kernel.ok("gate.set(); await asyncnb.task('job')")


def test_ten_thousand_items_are_a_few_messages(kernel):
    cell = kernel.ok(
        "await asyncnb.gather(*(asyncio.sleep(0) for _ in range(10_000)), progress='many'); None"
    )
    kernel.drain()
    assert "10000/10000 done" in cell.text
    assert len(cell.displays) + len(cell.updates) < 200


def test_a_headless_run_stores_one_line(execute):  # noqa: F811
    cells = execute(
        "await asyncnb.gather(*(asyncio.sleep(0) for _ in range(50)), progress='naps'); None"
    )
    assert stored(cells[1]).count("naps") == 1
    assert "50/50 done" in stored(cells[1])


def test_a_label_that_no_message_can_hold_is_shown_escaped_and_ends_no_other_bar(kernel):
    cell = kernel.ok("for _ in asyncnb.track(range(3), name='bad \\ud800'): pass")
    assert "bad \\ud800" in cell.text
    assert "3/3 done" in cell.text
    cell = kernel.ok(
        "class Label(str):\n    def __str__(self): raise ValueError('no label')\n"
        "for _ in asyncnb.track(range(3), name=Label('x')): pass"
    )
    assert "3/3 done" in kernel.ok("for _ in asyncnb.track(range(3), name='good'): pass").text
