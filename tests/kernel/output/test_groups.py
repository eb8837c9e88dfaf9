"""An exception group in a cell: a tree of tracebacks in IPython's own style, in its own cell."""

from __future__ import annotations

import re

import pytest

from tests.kernel.driver import OURS

DEFINED = """
async def page(n):
    await asyncio.sleep(0)
    raise ConnectionError(f"host {n} unreachable")
async def crawl(kind, pages):
    async with kind() as group:
        for n in range(pages):
            group.create_task(page(n), name=f"page {n}")
def caught(call, *args):
    try:
        call(*args)
    except BaseException as exc:
        return exc
def outer(n):
    inner(n)
def inner(n):
    raise ValueError(f"bad {n}")
"""

#: How a cell comes to a group.
PLACES = {
    "await": "await crawl(asyncio.TaskGroup, 3)",
    "await ours": "await crawl(asyncnb.TaskGroup, 3)",
    "run": "asyncnb.run(crawl(asyncio.TaskGroup, 3))",
    "gather": "await asyncio.gather(crawl(asyncnb.TaskGroup, 3))",
    "atask": "%%atask job\nawait crawl(asyncio.TaskGroup, 3)",
    "waited": "%%atask job --wait\nawait crawl(asyncio.TaskGroup, 3)",
    "agroup": "%%agroup job\nfor n in range(3): job.create_task(page(n), name=f'page {n}')\n"
    "await asyncio.sleep(600)",
    "process": "%%atask job --on process\nimport asyncio\n"
    + DEFINED.partition("def caught")[0]
    + "await crawl(asyncio.TaskGroup, 3)",
}


def failed(kernel, code):
    cell = kernel.run(code)
    cell.wait_for(lambda c: any("Group" in e.ename for e in c.errors), 20)
    kernel.drain()
    return cell


def shown(kernel, code):
    """Return the traceback of the one group that a cell shows."""
    [error] = [e for e in failed(kernel, code).errors if "Group" in e.ename]
    return error.traceback


@pytest.mark.parametrize("code", PLACES.values(), ids=PLACES)
def test_a_group_is_shown_as_a_tree_with_each_leaf_once_under_its_tasks_name(kernel, code):
    kernel.ok(DEFINED)
    cell = failed(kernel, code)
    [error] = [e for e in cell.errors if "Group" in e.ename]
    tree = error.traceback
    for n in range(3):
        assert len(re.findall(rf"[├└]─ {n + 1}/3 page {n}\b", tree)) == 1, tree
        # Once more in the message of an open group, which names its first failures.
        assert tree.count(f"host {n} unreachable") == (2 if "agroup" in code else 1), tree
    assert "Cell In[" in cell.text and "ipykernel_" not in tree and "CancelledError" not in tree
    assert OURS not in tree and "asyncio/" not in tree
    assert not re.search(r"^ *[|+]", tree, re.MULTILINE)
    assert "ExceptionGroup" not in cell.stderr


@pytest.mark.parametrize("code", ["%%atask job\n{}", "%%atask job --on thread\n{}"])
def test_the_facts_of_a_failed_task_name_the_leaf(kernel, code):
    body = "raise ExceptionGroup('two', [ValueError('first'), KeyError('second')])"
    failed(kernel, code.format(body))
    assert "ValueError: first (1 of 2)" in kernel.ok("%tasks").text
    assert kernel.evaluate("job.info().error") == "ValueError: first (1 of 2)"
    chip = kernel.ok("job")
    assert "ValueError: first (1 of 2)" in chip.text


def test_a_group_inside_a_group_is_drawn_inside_it_and_names_its_tasks(kernel):
    kernel.ok(DEFINED)
    code = """
        async with asyncnb.TaskGroup() as group:
            group.create_task(crawl(asyncnb.TaskGroup, 2), name="crawl A")
            group.create_task(page(7), name="page 7")
    """
    tree = shown(kernel, code)
    lines = [line for line in tree.splitlines() if re.match(r"[ │]*[├└]─", line)]
    assert [line.partition(":")[0] for line in lines] == [
        "├─ 1/2 page 7",
        "└─ 2/2 crawl A",
        "   ├─ 1/2 page 0",
        "   └─ 2/2 page 1",
    ]


def test_standard_groups_inside_of_groups_name_their_tasks_since_3_12(kernel):
    kernel.ok(DEFINED)
    code = """
        async with asyncio.TaskGroup() as group:
            group.create_task(crawl(asyncio.TaskGroup, 2), name="crawl A")
    """
    tree = shown(kernel, code)
    named = kernel.evaluate("sys.version_info >= (3, 12)")
    assert "1/1 crawl A" in tree
    assert ("1/2 page 0" in tree and "2/2 page 1" in tree) == named


def test_tasks_that_a_variable_holds_are_named_on_every_python(kernel):
    kernel.ok(DEFINED)
    code = """
        async def held():
            async with asyncio.TaskGroup() as pages:
                tasks = [pages.create_task(page(n), name=f"page {n}") for n in range(2)]
        async with asyncio.TaskGroup() as group:
            group.create_task(held(), name="crawl A")
    """
    tree = shown(kernel, code)
    assert "1/2 page 0" in tree and "2/2 page 1" in tree


@pytest.mark.parametrize("mode", ["Plain", "Context", "Verbose", "Minimal", "Docs"])
def test_the_mode_of_xmode_is_honoured(kernel, mode):
    kernel.ok(DEFINED)
    kernel.ok(f"%xmode {mode}")
    try:
        cell = failed(kernel, "await crawl(asyncio.TaskGroup, 2)")
        plain = failed(kernel, "asyncnb.run(crawl(asyncio.TaskGroup, 2))").error.traceback
    finally:
        kernel.ok("%xmode Context")
    tree = cell.error.traceback
    assert ("page(n=0)" in tree) == (mode == "Verbose")
    assert ("Traceback (most recent call last)" in tree) == (mode != "Minimal")
    assert ("---> " in tree) == (mode in ("Context", "Verbose"))
    assert ("Cell In[" in tree) == (mode != "Minimal")
    assert re.search(r"├─ 1/2 page 0\b", tree) and re.search(r"└─ 2/2 page 1\b", tree)
    assert tree.count("host 0 unreachable") == tree.count("host 1 unreachable") == 1
    assert "└─ 2/2 page 1" in plain and "IPython" not in plain
    assert not cell.stderr


def test_the_colours_are_those_of_the_shell(kernel):
    code = "raise ExceptionGroup('two', [ValueError(1), ValueError(2)])"

    def raw():
        return "\n".join(failed(kernel, code).of_type("error")[0]["traceback"])

    try:
        kernel.ok("%colors nocolor")
        assert "\x1b" not in raw()
        kernel.ok("%colors linux")
        assert re.search("├─ \x1b\\[1m1/2\x1b\\[0m: \x1b\\[[0-9;]*mValueError", raw())
    finally:
        kernel.ok("%colors neutral")


def test_frames_that_a_sibling_has_shown_are_left_out(kernel):
    kernel.ok(DEFINED)
    code = """
        def other(n):
            inner(n)
        raise ExceptionGroup("g", [caught(outer, 1), caught(outer, 2), caught(other, 3)])
    """
    tree = shown(kernel, code)
    assert tree.count("in outer(n)") == 1
    assert tree.count("in inner(n)") == 2  # below outer(), and below other()
    assert "├─ 2/3: ValueError: bad 2  [frames as in 1/3]" in tree
    assert "└─ 3/3\n   [1 frame as in 1/3]\n   Cell In[" in tree


def test_the_line_of_a_frame_is_the_one_that_raised_also_after_it_went_on(kernel):
    code = """
        def gather():
            try:
                1 / 0
            except ZeroDivisionError as exc:
                kept = exc
            return kept
        raise ExceptionGroup("g", [gather()])
    """
    assert "----> 3         1 / 0" in shown(kernel, code)


def test_a_long_group_is_folded_after_ten_leaves_with_a_count_by_type(kernel):
    code = "raise ExceptionGroup('g', [TimeoutError()] * 8 + [ValueError(n) for n in range(292)])"
    tree = shown(kernel, code)
    assert len(re.findall("├─ ", tree)) == 10
    assert tree.splitlines()[-1] == "└─ and 290 more: 290 ValueError"


def test_the_message_for_ten_thousand_leaves_is_small(kernel):
    kernel.ok(DEFINED)
    cell = failed(kernel, "await crawl(asyncnb.TaskGroup, 10_000)")
    [content] = cell.of_type("error")
    assert len("".join(content["traceback"])) < 10_000
    assert cell.error.traceback.endswith("└─ and 9,990 more: 9,990 ConnectionError")
    assert cell.error.evalue == "unhandled errors in a TaskGroup (10000 sub-exceptions)"


def test_each_group_of_a_tree_shows_some_of_its_leaves(kernel):
    code = """
        many = [ExceptionGroup(str(n), [ValueError(n), KeyError(n)]) for n in range(12)]
        raise ExceptionGroup("g", [ExceptionGroup("long", [OSError(n) for n in range(50)]), *many])
    """
    tree = shown(kernel, code)
    assert len(re.findall(r"(ValueError|OSError|KeyError): \S+$", tree, re.MULTILINE)) == 10
    assert "└─ and 49 more: 49 OSError" in tree
    assert tree.splitlines()[-1] == "└─ and 6 more: 3 ValueError, 3 KeyError"


LEAVES = """
class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")
syntax = caught(compile, "x = = 3", "<mine>", "exec")
noted = KeyError("noted")
noted.add_note("first note")
noted.add_note("second note")
"""


def test_leaves_of_every_kind_are_shown(kernel):
    kernel.ok(DEFINED + LEAVES)
    leaves = (
        "Mute(), ValueError(), KeyboardInterrupt(), asyncio.CancelledError(), syntax, noted, "
        "SystemExit(3)"
    )
    tree = shown(kernel, f"raise BaseExceptionGroup('kinds', [{leaves}])")
    for line in (
        "├─ 1/7: Mute: <its __str__ raised RuntimeError>",
        "├─ 2/7: ValueError",
        "├─ 3/7: KeyboardInterrupt",
        "├─ 4/7: CancelledError",
        "│      x = = 3",
        "│  SyntaxError: invalid syntax",
        "│  KeyError: 'noted'\n│  first note\n│  second note",
        "└─ 7/7: SystemExit: 3",
    ):
        assert line in tree, tree


def test_causes_stand_above_what_they_caused_for_leaves_and_for_groups(kernel):
    code = """
        low = ValueError("low")
        high = KeyError("high")
        high.__cause__ = low
        group = ExceptionGroup("inner", [OSError("in the cause")])
        raise ExceptionGroup("g", [high]) from group
    """
    tree = shown(kernel, code)
    words = ["in the cause", "g (1 sub", "ValueError: low", "KeyError: 'high'"]
    places = [tree.index(word) for word in words]
    assert places == sorted(places), tree
    assert tree.count("The above exception was the direct cause") == 2


def test_an_error_that_a_group_caused_is_shown_below_its_tree(kernel):
    cell = kernel.run(
        "try:\n    raise ExceptionGroup('g', [ValueError('leaf')])\n"
        "except ExceptionGroup:\n    raise LookupError('after')"
    )
    assert (cell.error.ename, cell.error.evalue) == ("LookupError", "after")
    tree = cell.error.traceback
    assert (
        tree.index("└─ 1/1: ValueError: leaf")
        < tree.index("During handling")
        < tree.index("LookupError: after")
    )
    assert not cell.stderr


def test_a_group_that_causes_itself_or_a_leaf_that_caused_its_group_is_shown_once(kernel):
    code = """
        leaf = ValueError("leaf")
        group = ExceptionGroup("g", [leaf, leaf])
        group.__cause__ = group
        leaf.__context__ = group
        raise group from leaf
    """
    tree = shown(kernel, code)
    assert tree.count("g (2 sub-exceptions)") == 1
    assert tree.count("ValueError: leaf") == 2
    assert "└─ 2/2: ValueError: leaf (shown above)" in tree


def test_what_except_star_leaves_over_is_shown(kernel):
    code = """
        def several():
            raise ExceptionGroup("several", [KeyError("handled"), OSError("left")])
        try:
            several()
        except* KeyError:
            1 / 0
    """
    tree = shown(kernel, code)
    assert "ZeroDivisionError: division by zero" in tree
    assert tree.count("OSError: left") == tree.count("KeyError: 'handled'") == 1
    assert "(The usual traceback" not in tree
    tree = shown(kernel, code.replace("1 / 0", "pass"))
    assert "└─ 1/1: OSError: left" in tree and "handled" not in tree.rpartition("└─")[2]


def test_a_deep_group_and_a_deep_recursion_are_cut(kernel):
    kernel.ok(DEFINED)
    code = """
        def down(n):
            if n:
                down(n - 1)
            raise ValueError("deep")
        deep = caught(down, 500)
        for n in range(2000):
            deep = ExceptionGroup(str(n), [deep])
        raise ExceptionGroup("g", [caught(down, 500), deep])
    """
    tree = shown(kernel, code)
    assert "(482 frames are omitted here)" in tree
    assert tree.splitlines()[-1].endswith("└─ and 1 nested deeper: 1 ValueError")
    assert len(tree) < 20_000


def test_tb_and_sys_last_exc_and_the_debugger_find_the_group(kernel):
    first = shown(kernel, "raise ExceptionGroup('g', [ValueError('leaf')])")
    again = kernel.ok("%tb")
    assert [e.traceback for e in again.errors] == [first] and not again.stderr
    assert kernel.evaluate("str(sys.last_value)") == "g (1 sub-exception)"
    assert kernel.evaluate("get_ipython().InteractiveTB.tb is sys.last_traceback")


def test_the_traceback_of_a_task_is_not_what_the_debugger_opens(kernel):
    kernel.run("raise LookupError('mine')")
    failed(kernel, "%%atask job\nraise ExceptionGroup('g', [ValueError('leaf')])")
    assert kernel.evaluate("get_ipython().InteractiveTB.tb is sys.last_traceback")


def test_a_handler_of_the_users_own_and_one_of_another_library_win(kernel):
    raising = "raise ExceptionGroup('g', [ValueError('leaf')])"
    kernel.ok(
        "ip = get_ipython()\n"
        "ip.set_custom_exc((ExceptionGroup,), lambda *args, **kw: print('custom'))"
    )
    assert "custom" in kernel.run(raising).stdout
    kernel.ok("ip.set_custom_exc((), None)")
    kernel.ok("show = ip._showtraceback\nip._showtraceback = lambda *args: print('library')")
    assert "library" in kernel.run(raising).stdout
    kernel.ok("del ip._showtraceback")


def test_a_library_that_showed_errors_before_loading_still_does(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok("ip = get_ipython()\nip.showtraceback = lambda *args, **kw: print('library')")
    kernel.ok("%load_ext asyncnb")
    assert "library" in kernel.run("raise ExceptionGroup('g', [ValueError('leaf')])").stdout


def test_after_unloading_a_group_is_shown_as_on_a_plain_kernel(fresh_kernel, start_kernel):
    code = "raise ExceptionGroup('g', [ValueError('leaf')])"
    assert failed(fresh_kernel, "await asyncio.sleep(0)\n" + code)
    fresh_kernel.ok("%unload_ext asyncnb")
    plain = start_kernel(extension=False)
    numbers = re.compile(r"ipykernel_\d+/\d+")
    assert numbers.sub("", fresh_kernel.run(code).text) == numbers.sub("", plain.run(code).text)
    tools = "[sys.monitoring.get_tool(n) for n in (3, 4)] if sys.version_info > (3, 12) else 0"
    assert fresh_kernel.evaluate(tools) in (0, [None, None])


SINGLE = [
    "1 / 0",
    "def f():\n    raise KeyError('x')\nf()",
    "try:\n    1 / 0\nexcept Exception as exc:\n    raise ValueError('after') from exc",
    "exc = ValueError('noted')\nexc.add_note('a note')\nraise exc",
    "x = = 3",
    "compile('x = = 3', '<mine>', 'exec')",
    "raise KeyboardInterrupt",
    "%nothing_like_this --wrong",
    "raise ExceptionGroup",
]


def test_what_is_no_group_is_shown_as_on_a_plain_kernel(kernel, start_kernel):
    plain = start_kernel(extension=False)
    for code in SINGLE:
        seen = [[each.run(code).of_type("error", "stream")] for each in (kernel, plain)]
        ours, theirs = (re.sub(r"In\[\d+\]|ipykernel_\d+", "", str(each)) for each in seen)
        assert ours == theirs, code


def test_groups_in_a_burst_of_failures_keep_their_trees_in_short_form(kernel):
    kernel.ok(DEFINED)
    code = """
        async def after(n):
            try:
                1 / 0
            except ZeroDivisionError as exc:
                raise ExceptionGroup("caused", [ValueError(n)]) from exc
        for n in range(60):
            asyncnb.launch(crawl(asyncnb.TaskGroup, 3), name=f"crawl {n}")
        for n in range(60):
            asyncnb.launch(after(n), name=f"after {n}")
    """
    cell = kernel.ok(code)
    cell.wait_for(lambda c: len(c.errors) == 120, 30)
    short = [e.traceback for e in cell.errors if "---" not in e.traceback]
    caused = [tree for tree in short if "caused" in tree]
    assert caused and len(short) > len(caused)
    for tree in caused:
        assert "(after ZeroDivisionError: division by zero)\n└─ 1/1: ValueError: " in tree
        assert "direct cause" not in tree
    for tree in set(short) - set(caused):
        assert "├─ 1/3 page 0\n" in tree and "└─ 3/3 page 2: ConnectionError: host 2" in tree
        assert "in page\n│      raise ConnectionError(" in tree


def test_a_child_of_an_open_group_that_failed_with_a_group_is_named_by_its_leaf(kernel):
    kernel.ok(DEFINED)
    launched = kernel.ok(
        "g = asyncnb.open_group('g')\nt = g.create_task(crawl(asyncnb.TaskGroup, 3), name='A')"
    )
    launched.wait_for(lambda c: c.errors)
    cell = failed(kernel, "await g")
    assert "ConnectionError: host 0 unreachable (page 0, 3 of 3 failed)" in cell.error.evalue
    assert "under the cell that launched the task" in cell.error.traceback


def test_an_error_that_waited_for_a_group_in_a_plain_cell_is_shown_in_it(kernel):
    kernel.ok(DEFINED)
    code = "task = asyncnb.launch(crawl(asyncio.TaskGroup, 3), name='crawl')\ntask.join(10)"
    cell = failed(kernel, code)
    assert [e.ename for e in cell.errors] == ["ExceptionGroup"]  # shown once
    assert cell.reply["ename"] == "ExceptionGroup"
    assert "└─ 3/3 page 2" in cell.error.traceback
