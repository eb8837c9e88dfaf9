"""The timeline in a notebook: `%tasks timeline`, `%%atask --trace`, and the file for Perfetto."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

PROGRAM = """
%%atask {name} {options}
async def part(seconds): await asyncio.sleep(seconds)
async with asyncio.TaskGroup() as group:
    for number in range(3):
        group.create_task(part(0.01 * number), name=f"part {{number}}")
"""


def picture(cell):
    [data] = [c["data"] for c in cell.of_type("execute_result", "display_data")]
    return data


def test_a_traced_cell_is_drawn_with_the_tasks_it_makes(kernel):
    kernel.ok(PROGRAM.format(name="program", options="--trace"))
    kernel.ok(PROGRAM.format(name="other", options=""))
    kernel.ok("%tasks wait program other")
    data = picture(kernel.ok("%tasks timeline program"))
    ET.fromstring(data["image/svg+xml"])
    text = data["text/plain"]
    for name in ("program", "  part 0", "  part 1", "  part 2", "█ running", "✓ done"):
        assert name in text
    assert "other" not in text
    assert kernel.evaluate("asyncnb.task('other')._record.trace") is None


def test_without_recording_the_lives_are_drawn(kernel):
    kernel.ok("gate = asyncio.Event()")
    kernel.ok("%%atask plain\nawait gate.wait()")
    kernel.ok("%%atask thread_bound\ntime.sleep(0.01)")
    kernel.ok("%tasks wait thread_bound")
    text = picture(kernel.ok("%tasks timeline"))["text/plain"]
    assert "━ alive" in text and "▒ in a thread" in text and "▶ still running" in text
    assert "--trace" in text
    kernel.ok("gate.set()\n%tasks wait")


def test_launch_with_trace_and_an_expression_with_trace_are_recorded(kernel):
    kernel.ok("one = asyncnb.launch(asyncio.sleep(0), name='one', trace=True)")
    kernel.ok("two = %atask two --trace asyncio.sleep(0)")
    kernel.ok("%tasks wait")
    assert kernel.evaluate("[r['recorded'] for r in asyncnb.timeline('*').data['rows']]") == [
        True,
        True,
    ]


def test_the_option_records_every_task_that_is_launched_then(kernel):
    kernel.ok("before = asyncnb.launch(asyncio.sleep(0), name='before')")
    kernel.ok("%asyncnb option record on")
    try:
        kernel.ok("%%atask during\nawait asyncio.sleep(0)")
        kernel.ok("%tasks wait during")
    finally:
        kernel.ok("%asyncnb option record off")
    kernel.ok("after = asyncnb.launch(asyncio.sleep(0), name='after')")
    kernel.ok("%tasks wait")
    rows = "{r['name']: r['recorded'] for r in asyncnb.timeline().data['rows']}"
    assert kernel.evaluate(rows) == {"before": False, "during": True, "after": False}


def test_a_failure_in_a_traced_cell_shows_the_cells_frames_alone(kernel):
    cell = kernel.ok("%%atask broken --trace\nawait asyncio.sleep(0)\n1 / 0")
    cell.wait_for(lambda c: c.errors)
    assert "1 / 0" in cell.errors[0].traceback
    assert "_trace.py" not in cell.errors[0].traceback
    failed = kernel.run("await broken")
    assert failed.error.ename == "ZeroDivisionError"
    assert "_trace.py" not in failed.error.traceback


def test_the_exported_file_is_a_trace(kernel, tmp_path):
    kernel.ok(PROGRAM.format(name="program", options="--trace"))
    kernel.ok("%tasks wait program")
    path = tmp_path / "trace.json"
    kernel.ok(f"asyncnb.export_trace({str(path)!r}, 'program')")
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    names = [e["args"]["name"] for e in events if e["name"] == "thread_name"]
    assert names == ["program", "part 0", "part 1", "part 2"]
    assert {"M", "X", "s", "f"} <= {e["ph"] for e in events}


def test_a_name_that_nobody_has_is_refused_with_a_sentence(kernel):
    kernel.ok("%%atask here\npass")
    cell = kernel.run("%tasks timeline ther")
    assert cell.error.ename == "UsageError"
    assert "'ther'" in cell.error.evalue and "here" in cell.error.evalue
