"""`%tasks profile` and `%%atask --profile`: what they show, how they end, and wrong use."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

PARSE = """
def parse(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
"""
CRAWL = """
%%atask crawl
while True:
    parse(0.02)
    await asyncio.sleep(0.005)
"""
#: Ends when a profile of all tasks has been shown to have begun, by its thread.
PROFILING = "any(t.name == 'asyncnb profiler' for t in threading.enumerate())"


def titles(data):
    """The titles of the boxes of its flame graphs."""
    root = ET.fromstring(data["text/html"])
    return [node.text or "" for node in root.iter() if node.tag.endswith("title")]


def waits_at(data, place, wait):
    """Whether a line says that ``wait`` was awaited at a place."""
    lines = [line.split() for line in data["text/plain"].splitlines()]
    return any(
        line[2:][: len(place.split()) + 2] == [*place.split(), "waiting:", wait] for line in lines
    )


def shown(cell):
    """The data of the profiles below a cell."""
    found = [c["data"] for c in cell.of_type("execute_result", "display_data")]
    return [data for data in found if data["text/plain"].startswith("profile of")]


def test_a_profile_of_a_task_names_its_cell_line_and_wait(kernel):
    parse, crawl = kernel.ok(PARSE), kernel.ok(CRAWL)
    [data] = shown(kernel.ok("%tasks profile crawl 0.5"))
    text = data["text/plain"]
    assert text.startswith("profile of 'crawl': ")
    assert f"In[{parse.count}] line 3" in text and "while time.thread_time() < until" in text
    assert waits_at(data, f"In[{crawl.count}] line 4", "sleep")
    assert "ipykernel" not in text and "asyncnb/" not in text


def test_the_saved_notebook_has_the_flame_graph_without_a_script(kernel):
    kernel.ok(PARSE)
    crawl = kernel.ok(CRAWL)
    [data] = shown(kernel.ok("%tasks profile 0.3"))
    root = ET.fromstring(data["text/html"])
    tags = {node.tag.rpartition("}")[2] for node in root.iter()}
    assert tags == {"div", "pre", "svg", "title", "g", "rect", "text"}
    assert any(f"In[{crawl.count}] line 3: parse(0.02)" in title for title in titles(data))
    assert not any("ipykernel" in title or "base_events" in title for title in titles(data))


def test_an_exported_page_has_the_flame_graph(kernel):
    import nbformat
    from nbconvert import HTMLExporter

    kernel.ok(PARSE)
    kernel.ok(CRAWL)
    [data] = shown(kernel.ok("%tasks profile 0.3"))
    output = nbformat.v4.new_output("execute_result", data, execution_count=1)
    cell = nbformat.v4.new_code_cell("%tasks profile 0.3", outputs=[output])
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert "line 3: parse(0.02): " in page and "profile of all tasks" in page


def test_a_cell_profiled_from_its_start_shows_the_profile_when_it_ends(kernel):
    kernel.ok(PARSE)
    cell = kernel.ok("%%atask once --profile\nparse(0.1)\nawait asyncio.sleep(0.1)")
    kernel.ok("%tasks wait once")
    [data] = shown(cell)
    assert "profile of 'once'" in data["text/plain"]
    assert "waiting: sleep" in data["text/plain"]


def test_a_failed_task_shows_its_profile_and_its_traceback(kernel):
    kernel.ok(PARSE)
    cell = kernel.ok("%%atask bad --profile\nparse(0.1)\nawait asyncio.sleep(0)\n1 / 0")
    kernel.run("%tasks wait bad")
    cell.wait_for(lambda c: c.errors)
    assert len(shown(cell)) == 1 and [e.ename for e in cell.errors] == ["ZeroDivisionError"]


def test_a_cancelled_task_shows_its_profile(kernel):
    kernel.ok(PARSE)
    cell = kernel.ok(CRAWL.replace("crawl", "crawl --profile"))
    kernel.ok(f"while not {PROFILING}: time.sleep(0.01)")
    kernel.ok("time.sleep(0.1)\n%tasks cancel crawl")
    cell.wait_for("profile of 'crawl'")


def test_a_cell_in_a_thread_is_profiled_line_by_line(kernel):
    parse = kernel.ok(PARSE)
    cell = kernel.ok(
        "%%atask there --profile\nfor _ in range(20):\n    parse(0.01)\ntime.sleep(0.2)"
    )
    kernel.ok("%tasks wait there")
    [data] = shown(cell)
    assert f"In[{parse.count}] line" in data["text/plain"] and "running" in data["text/plain"]
    assert waits_at(data, f"In[{cell.count}] line 4", "time.sleep(0.2)")
    assert any(f"In[{cell.count}] line 3: parse(0.01)" in title for title in titles(data))
    assert not any("threading.py" in title for title in titles(data))


def test_a_cell_that_awaits_profiles_its_own_code(kernel):
    kernel.ok(PARSE)
    cell = kernel.ok(
        "with asyncnb.profile() as it:\n    parse(0.2)\n    await asyncio.sleep(0.2)\nit"
    )
    [data] = shown(cell)
    assert f"In[{cell.count}] line 3" in data["text/plain"]
    assert "waiting: sleep" in data["text/plain"]


@pytest.mark.parametrize(
    "where", ["process", "threads", "processes"], ids=["worker process", "threads", "executor"]
)
def test_a_cell_that_runs_elsewhere_is_profiled_there(kernel, where):
    kernel.ok(
        "import concurrent.futures as cf\n"
        "threads, processes = cf.ThreadPoolExecutor(1), cf.ProcessPoolExecutor(1)"
    )
    parse = kernel.ok(PARSE)
    cell = kernel.ok(f"%%atask far --on {where} --profile\nfor _ in range(15): parse(0.02)\n1 / 0")
    kernel.run("%tasks wait far")
    [data] = shown(cell)
    assert f"In[{parse.count}] line" in data["text/plain"] and "running" in data["text/plain"]
    assert "its worker" not in data["text/plain"]
    assert any(f"In[{cell.count}] line 2: for _ in" in title for title in titles(data))
    kernel.ok("threads.shutdown(); processes.shutdown()")


def test_a_cell_on_the_loop_of_the_kernel_is_profiled(kernel):
    parse = kernel.ok(PARSE)
    cell = kernel.ok(
        "%%atask here --on kernel --profile\nfor _ in range(10):\n    parse(0.02)\n"
        "    await asyncio.sleep(0.02)"
    )
    kernel.ok("await here")
    [data] = shown(cell)
    assert f"In[{parse.count}] line" in data["text/plain"] and "here/" not in data["text/plain"]
    assert waits_at(data, f"In[{cell.count}] line 4", "sleep")


def test_what_a_cell_in_a_worker_process_awaits_is_seen(kernel):
    cell = kernel.ok(
        "%%atask far --on process --profile\nimport asyncio\nfor _ in range(15):\n"
        "    await asyncio.sleep(0.02)"
    )
    kernel.ok("%tasks wait far")
    [data] = shown(cell)
    assert waits_at(data, f"In[{cell.count}] line 4", "sleep")


def test_a_job_that_runs_in_a_worker_process_can_be_profiled(kernel):
    parse = kernel.ok(PARSE)
    kernel.ok("task = asyncnb.launch(lambda: parse(60), on='process', name='far')")
    kernel.ok("while task.info().worker is None: time.sleep(0.01)")
    for _ in range(2):
        [data] = shown(kernel.ok("%tasks profile far 1"))
        assert f"In[{parse.count}] line" in data["text/plain"]
        assert "its worker" not in data["text/plain"]


def test_stop_ends_the_profile_early_and_shows_what_it_has(kernel):
    kernel.ok(PARSE)
    kernel.ok(CRAWL)
    # Printed by a task: what a plain thread prints appears with ipykernel 6 now and then below the
    # cell of an earlier thread, whose number the system has given to the new one.
    begun = kernel.ok(
        f"%%atask\nwhile not {PROFILING}: await asyncio.sleep(0.01)\n"
        "await asyncio.sleep(0.3)\nprint('now')"
    )
    cell = kernel.submit("%tasks profile 60")
    begun.wait_for("now")
    kernel.interrupt()
    [data] = shown(cell.wait())
    assert cell.status == "ok" and "profile of all tasks" in data["text/plain"]
    assert "crawl" in data["text/plain"]


def test_a_profile_ends_with_its_task(kernel):
    kernel.ok("%%atask brief\nawait asyncio.sleep(0.3)")
    [data] = shown(kernel.ok("%tasks profile brief 600"))
    assert "profile of 'brief': 0." in data["text/plain"]


def test_a_profile_of_a_group_and_of_a_pattern(kernel):
    kernel.ok("%%agroup pages\nawait asyncio.sleep(60)")
    kernel.ok("%atask one -g pages asyncio.sleep(60)")
    kernel.ok("%atask two asyncio.sleep(60)")
    [data] = shown(kernel.ok("%tasks profile -g pages 0.3"))
    assert "group 'pages'" in data["text/plain"] and "2 tasks" in data["text/plain"]
    [data] = shown(kernel.ok("%tasks profile tw* 0.3"))
    assert data["text/plain"].rstrip().endswith("two")


def test_a_profile_can_be_saved_for_speedscope(kernel):
    kernel.ok(PARSE)
    kernel.ok(CRAWL)
    kernel.ok("profile = %tasks profile crawl 0.3\nprofile.save('x.speedscope.json')")
    found = json.loads(kernel.evaluate("open('x.speedscope.json').read()"))
    assert [each["name"] for each in found["profiles"]] == ["running", "waiting"]
    assert kernel.evaluate("profile.samples[0].task") == "crawl"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("profile crwl", "No task named 'crwl'. Did you mean 'crawl'?"),
        ("profile crawl 0", "takes seconds above 0"),
        ("profile crawl -1", "seconds"),
        ("profile crawl 1e9", "3600 at most"),
        ("profile crawl nan", "takes 0 or more seconds"),
        ("profile 0", "%tasks profile takes seconds above 0"),
        ("profile -g nothing", "No group named 'nothing'"),
        ("profile crawl 1 2", "unexpected argument '2'"),
        ("profile ended", "'ended' has ended"),
    ],
)
def test_bad_arguments_are_refused_with_what_to_write(kernel, line, answer):
    kernel.ok("%atask crawl asyncio.sleep(60)")
    kernel.ok("%atask ended asyncio.sleep(0)\n%tasks wait ended")
    cell = kernel.run(f"%tasks {line}")
    assert answer in cell.text and "Traceback" not in cell.text
    assert not shown(cell)


def test_a_cell_that_awaits_is_told_what_to_write_instead(kernel):
    cell = kernel.run("await asyncio.sleep(0)\n%tasks profile 1")
    assert "with asyncnb.profile() as it:" in cell.text


def test_nothing_of_the_profiler_is_imported_before_it_is_used(fresh_kernel):
    kernel = fresh_kernel
    kernel.ok("%atask one asyncio.sleep(0)\n%tasks wait one\n%tasks")
    assert kernel.evaluate("[m for m in sys.modules if 'profil' in m and 'asyncnb' in m]") == []


def test_unloading_ends_a_profile_and_its_thread(fresh_kernel):
    kernel = fresh_kernel
    kernel.ok("profile = asyncnb.profile()\nprofile.start()")
    assert kernel.evaluate(PROFILING)
    kernel.ok("%unload_ext asyncnb")
    assert kernel.evaluate(f"(profile.ended, {PROFILING})") == (True, False)


def test_tab_offers_the_verb_its_names_and_the_option(kernel):
    kernel.ok("%atask crawl asyncio.sleep(60)")
    assert "profile" in kernel.complete("%tasks pro")
    assert "crawl" in kernel.complete("%tasks profile cr")
    assert "--profile" in kernel.complete("%%atask x --pro")
