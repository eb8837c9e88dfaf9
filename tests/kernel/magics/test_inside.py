"""Tasks inside launched tasks in %tasks: folded, unfolded by a path, and commands by path."""

from __future__ import annotations

import pytest

CRAWL = """
    async def page(n):
        await asyncio.Event().wait()

    async def site(pages, group=asyncio.TaskGroup):
        async with group() as g:
            for n in range(pages):
                g.create_task(page(n), name=f"page {n}")

    async def crawl():
        async with asyncio.TaskGroup() as g:
            g.create_task(site(3), name="site a")
            g.create_task(site(12, asyncnb.TaskGroup), name="site b")

    async def settled():
        while len(asyncnb.tasks("crawl B/*/*")) < 15:
            await asyncio.sleep(0.001)

    asyncnb.launch(crawl(), name="crawl B")
    asyncnb.launch(asyncio.Event().wait(), name="other")
"""


@pytest.fixture
def crawling(kernel):
    kernel.ok(CRAWL)
    kernel.ok("await settled()")
    return kernel


def rows(cell):
    """The table's rows as lists of words, without the heading and the lines of the tree."""
    return [line.lstrip(" │├└─").split("  ")[0] for line in cell.result.splitlines()[1:]]


def test_tasks_inside_are_counted_in_the_row_of_their_task_and_a_path_shows_them(crawling):
    folded = crawling.ok("%tasks")
    assert "▸ 2 inside" in folded.result and "%tasks 'crawl B/'" in folded.result
    assert rows(folded)[:2] == ["crawl B", "other"]
    opened = crawling.ok("%tasks 'crawl B/'").result
    assert "├─ site a  waiting" in opened and "TaskGroup (12 tasks)" in opened
    assert "▸ 12 inside" in opened and "page 1" not in opened
    table = "get_ipython().run_line_magic('tasks', '\"crawl B/\"')"
    html = crawling.evaluate(f"{table}._repr_html_()")
    assert "▸ 12 inside" in html and 'class="asyncnb-child asyncnb-last"' in html


def test_each_star_of_a_path_is_one_name_and_the_tasks_above_are_shown(crawling):
    assert rows(crawling.ok('%tasks "crawl B/*/page 1*"')) == [
        *("crawl B", "site a", "page 1"),
        *("site b", "page 1", "page 10", "page 11"),
    ]


def test_all_shows_every_task_under_the_one_it_is_inside(crawling):
    table = crawling.ok("%tasks --all")
    found = rows(table)
    assert found[found.index("site a") + 1 :][:3] == ["page 0", "page 1", "page 2"]
    assert "│  ├─ page 0" in table.result


def test_cancel_by_path_ends_one_task_and_the_others_continue(crawling):
    assert "for 1 task" in crawling.ok('%tasks cancel "crawl B/site a/page 1"').stdout
    crawling.ok("while asyncnb.tasks('crawl B/site a/page 1'): await asyncio.sleep(0.001)")
    assert rows(crawling.ok("%tasks 'crawl B/site a/'")) == [
        *("crawl B", "site a", "page 0", "page 2"),
    ]
    assert crawling.evaluate("asyncnb.task('crawl B').info().state") == "waiting"
    assert len(crawling.evaluate("[t.get_name() for t in asyncnb.cancel('crawl B/*/*')]")) == 14
    crawling.ok("%tasks wait 'crawl B'")
    assert crawling.evaluate("asyncnb.task('crawl B').info().state") == "done"


def test_stack_and_wait_take_a_path(crawling):
    stack = crawling.ok('%tasks stack "crawl B/site b/page 7"').stdout
    assert "crawl B/site b/page 7: waiting" in stack and "awaited by: 'site b'" in stack
    late = crawling.run('%tasks wait "crawl B/site a" -t 0.01')
    assert late.error.ename == "TimeoutError" and "site a" in late.error.evalue


@pytest.mark.parametrize("inside", ["site a/page 2", "site b/page 7"])
def test_a_task_inside_a_task_can_be_paused_resumed_and_cancelled_by_path(crawling, inside):
    path = f'"crawl B/{inside}"'
    assert f"{inside} is paused" in crawling.ok(f"%tasks pause {path}").stdout
    assert "paused" in crawling.ok(f"%tasks {path}").result
    assert f"{inside} resumed" in crawling.ok(f"%tasks resume {path}").stdout
    assert "waiting" in crawling.ok(f"%tasks {path}").result
    crawling.ok(f"%tasks pause {path}")
    assert "for 1 task" in crawling.ok(f"%tasks cancel {path}").stdout
    crawling.ok(f"while asyncnb.tasks({path}): await asyncio.sleep(0.001)")


@pytest.mark.parametrize("command", ["", "cancel ", "pause ", "stack ", "wait "])
def test_a_wrong_path_suggests_the_right_one(crawling, command):
    error = crawling.run(f'%tasks {command}"crawl B/site a/pag 2"').error
    assert error.ename == "UsageError"
    assert error.evalue.startswith("No task named 'crawl B/site a/pag 2'. Did you mean 'crawl B/")
    nothing = crawling.run(f"%tasks {command}other/x").error.evalue
    assert nothing == "No task named 'other/x': no unfinished task is inside 'other'."


@pytest.mark.parametrize("command", ["output {}", "timeout {} 3", "rename {} new"])
def test_what_only_launched_tasks_have_is_refused_for_a_path(crawling, command):
    error = crawling.run("%tasks " + command.format('"crawl B/site a"')).error
    assert error.ename == "UsageError"
    assert error.evalue.startswith("'crawl B/site a' is inside a launched task")


def test_a_wrong_path_is_looked_for_in_the_living_task_of_that_name(crawling):
    crawling.ok("asyncnb.launch(asyncio.sleep(0), name='pages').join()")
    crawling.ok("asyncnb.launch(site(1), name='pages')")
    crawling.ok("while not asyncnb.tasks('pages/*'): await asyncio.sleep(0.001)")
    error = crawling.run("%tasks cancel 'pages/page 2'").error
    assert error.evalue == "No task named 'pages/page 2'. Did you mean 'pages/page 0'?"


def test_a_launched_name_with_a_slash_wins_over_a_path(crawling):
    crawling.ok("asyncnb.launch(asyncio.Event().wait(), name='crawl B/site a')")
    assert rows(crawling.ok('%tasks "crawl B/site a"')) == ["crawl B/site a"]
    assert len(crawling.evaluate("[t.get_name() for t in asyncnb.cancel('crawl B/site a')]")) == 1
    assert len(crawling.evaluate("[t.get_name() for t in asyncnb.tasks('crawl B/site a/*')]")) == 3


def test_two_tasks_with_one_path_are_told_apart_by_what_they_wait_for(crawling):
    crawling.ok(
        """
        async def twins():
            async with asyncio.TaskGroup() as g:
                g.create_task(asyncio.sleep(60), name="twin")
                g.create_task(asyncio.Lock().acquire(), name="twin")
                g.create_task(asyncio.Event().wait(), name="twin")
        asyncnb.launch(twins(), name="house")
        while len(asyncnb.tasks("house/twin")) < 2: await asyncio.sleep(0.001)
        """
    )
    error = crawling.run("asyncnb.task('house/twin')").error
    assert error.ename == "TaskNotFoundError" and "2 tasks have the path" in error.evalue
    assert "sleep, " in error.evalue and "Event.wait" in error.evalue
    assert "for 2 tasks" in crawling.ok("%tasks cancel house/twin").stdout


def test_a_long_table_of_tasks_inside_is_cut_and_says_so(crawling):
    crawling.ok("asyncnb.launch(site(150), name='big')")
    crawling.ok("while len(asyncnb.tasks('big/*')) < 150: await asyncio.sleep(0.001)")
    table = crawling.ok("%tasks big/")
    assert len(rows(table)) == 102 and "Not shown: 50 more." in table.result


def test_a_group_says_how_many_of_its_tasks_run_and_have_ended(crawling):
    crawling.ok(
        """
        async def fails():
            raise ValueError
        g = asyncnb.open_group("pages", on_error="continue")
        made = [g.create_task(each) for each in (page(0), page(1), fails(), asyncio.sleep(0))]
        asyncnb.cancel(made[1].get_name())
        await asyncnb.wait(made[1:])
        """
    )
    counts = "pages: 1 running, 1 done, 1 failed, 1 cancelled."
    assert crawling.ok("%tasks -g pages").result.splitlines()[-1] == counts
    shown = crawling.evaluate("repr(g)")
    assert shown == "<TaskGroup 'pages' open tasks=1 done=1 failed=1 cancelled=1>"
    crawling.ok("%tasks clear")
    assert crawling.evaluate("repr(g)") == "<TaskGroup 'pages' open tasks=1>"


def test_tab_after_a_slash_offers_what_is_inside(crawling):
    assert crawling.complete("%tasks 'crawl B/") == ["'crawl B/site a'", "'crawl B/site b'"]
    assert crawling.complete("%tasks stack 'crawl B/site a/pa") == [
        *("'crawl B/site a/page 0'", "'crawl B/site a/page 1'", "'crawl B/site a/page 2'"),
    ]
    for nothing in ("%tasks cancel other/", "%tasks cancel -m 'crawl B/"):
        assert not [each for each in crawling.complete(nothing) if "/" in each]
    crawling.ok("big = asyncnb.launch(site(150), name='big')")
    crawling.ok("while len(asyncnb.tasks('big/*')) < 150: await asyncio.sleep(0.001)")
    assert len(crawling.complete("%tasks wait big/")) == 50


def test_json_has_the_facts_the_parents_and_the_counts(crawling):
    crawling.ok("g = asyncnb.open_group('more'); g.create_task(page(1), name='grouped')")
    crawling.ok("import json; found = %tasks --json --all")
    crawling.ok("by_name = {each['name']: each for each in json.loads(found)['tasks']}")
    above = crawling.evaluate("by_name['crawl B']")
    assert crawling.evaluate("json.loads(found)['version']") == 1
    assert above["inside"] == {"running": 2, "done": 0, "failed": 0, "cancelled": 0}
    assert (above["state"], above["cell"] > 0, above["parent"]) == ("waiting", True, None)
    site = crawling.evaluate("by_name['site b']")
    assert site["created"] is None and above["created"] > 0
    assert site["parent"] == above["id"] and site["waits_for"] == "TaskGroup (12 tasks)"
    assert crawling.evaluate("json.loads(found)['groups']['more']['running']") == 1
    inside = crawling.ok("%tasks --json 'crawl B/*'").result
    assert inside.startswith("{") and inside.count('"name"') == 3


def test_a_task_that_does_the_work_of_a_launched_one_is_not_inside_it(crawling):
    crawling.ok(
        """
        %%atask there --on kernel
        async with asyncio.TaskGroup() as g:
            g.create_task(page(1), name="kid")
        """
    )
    crawling.submit("%tasks background\nawait site(1)")
    crawling.ok("while not asyncnb.tasks('there/kid'): await asyncio.sleep(0.001)")
    crawling.ok("while not asyncnb.tasks('cell*/page 0'): await asyncio.sleep(0.001)")
    assert rows(crawling.ok("%tasks there/")) == ["there", "kid"]
    assert [name for name in rows(crawling.ok("%tasks cell*/")) if name[:4] != "cell"] == ["page 0"]
