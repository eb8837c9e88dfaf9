"""Which kernel and which task a command means, and what it does to them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from asyncnb._client.choose import find_task
from asyncnb._client.errors import ClientError
from tests.cli.kernels import Runtime, named, runtime
from tests.kernel.driver import Kernel

__all__ = ["runtime"]

CLEAN = "%tasks cancel --all\n%tasks wait -t 20\n%tasks clear"


@pytest.fixture(scope="module")
def started(python: str) -> Iterator[tuple[Kernel, Kernel]]:
    """Two kernels whose notebooks have one name, in two folders."""
    first = Kernel(python, **named("/work/one/data.ipynb"))
    try:
        second = Kernel(python, **named("/work/two/data.ipynb"))
    except BaseException:
        first.shutdown(now=True)
        raise
    yield first, second
    first.shutdown(now=True)
    second.shutdown(now=True)


@pytest.fixture
def two(started: tuple[Kernel, Kernel], runtime: Runtime) -> Iterator[tuple[Kernel, Kernel]]:
    """They have the ids 11aa and 22bb, and no tasks."""
    for kernel, id in zip(started, ("11aa", "22bb"), strict=True):
        runtime.add(kernel, id)
    yield started
    for kernel in started:
        kernel.ok(CLEAN)


def launch(kernel: Kernel, *names: str, group: str | None = None) -> None:
    kernel.ok(
        f"for name in {names!r}:\n"
        f"    asyncnb.launch(asyncio.Event().wait(), name=name, group={group!r})\n"
        "await asyncio.sleep(0)"
    )


def states(kernel: Kernel) -> dict[str, str]:
    return dict(kernel.evaluate("[(t.get_name(), t.info().state) for t in asyncnb.tasks('*')]"))


def test_a_task_is_found_in_the_one_kernel_that_has_it(
    runtime: Runtime, two: tuple[Kernel, Kernel]
) -> None:
    first, second = two
    launch(first, "load")
    launch(second, "train")
    cell = second.submit("print('busy')\nwhile not asyncnb.task('train').done(): time.sleep(0.01)")
    cell.wait_for("busy")
    assert runtime.run("cancel", "train").stdout == "cancellation requested for 1 task\n"
    cell.wait()
    assert states(first) == {"load": "waiting"}
    assert states(second) == {"train": "cancelled"}


def test_a_name_in_several_kernels_is_refused_with_the_option_that_decides(
    runtime: Runtime, two: tuple[Kernel, Kernel]
) -> None:
    first, second = two
    launch(first, "load")
    launch(second, "load")
    said = runtime.refused("cancel", "load")
    assert "2 kernels have such tasks. Name one with --kernel:" in said
    assert f"(id 11aa, pid {first.pid}): 'load'" in said
    said = runtime.refused("cancel", "load", "--kernel", "data")
    assert "'data' names 2 kernels. Name one by its id or pid:" in said
    assert states(first) == states(second) == {"load": "waiting"}
    runtime.run("cancel", "load", "-k", str(second.pid))
    second.ok("%tasks wait load")
    assert states(first) == {"load": "waiting"}
    # One that lives is meant, as in a notebook, where there is one.
    runtime.run("cancel", "load")
    first.ok("%tasks wait load")


@pytest.mark.parametrize(
    "given", ["11", "11aa", "one/data", "/work/one/data.ipynb", "kernel-11aa.json", "file", "pid"]
)
def test_a_kernel_is_named_by_notebook_id_pid_or_connection_file(
    runtime: Runtime, two: tuple[Kernel, Kernel], given: str
) -> None:
    known = {"file": str(runtime.folder / "kernel-11aa.json"), "pid": str(two[0].pid)}
    listed = runtime.run("ps", "--json", "-k", known.get(given, given)).json
    assert [each["pid"] for each in listed["kernels"]] == [two[0].pid]
    launch(two[0], "it")
    answer = runtime.run("cancel", "it", "--json", "-k", known.get(given, given)).json
    assert answer["kernel"] == "11aa"
    assert answer["text"] == "cancellation requested for 1 task"
    assert [task["name"] for task in answer["tasks"]] == ["it"]


def test_wrong_names_are_refused_with_what_was_probably_meant(
    runtime: Runtime, two: tuple[Kernel, Kernel]
) -> None:
    launch(two[0], "download")
    assert "Did you mean 'download'?" in runtime.refused("cancel", "donwload")
    assert "Did you mean 'download'?" in runtime.refused("stack", "downlod", "-k", "11aa")
    assert "No group named 'g'." in runtime.refused("cancel", "-g", "g", "-k", "11aa")
    said = runtime.refused("cancel", "x", "-k", "nosuch")
    assert "No kernel named 'nosuch' is running. These are running:" in said
    said = runtime.refused("cancel", "x", "-k", "dta")
    assert "No kernel named 'dta' is running." in said
    assert "no.json cannot be read" in runtime.refused("cancel", "x", "-k", "no.json")
    for command in ("cancel", "pause", "resume"):
        assert f"`asyncnb {command} NAME`" in runtime.refused(command, code=2)
    assert states(two[0]) == {"download": "waiting"}
    error = json.loads(runtime.run("cancel", "x", "--json", code=1).stdout)["error"]
    assert error["type"] == "RefusedError"
    assert "No task named 'x'." in error["text"]


def test_without_a_kernel_there_is_nothing_to_cancel(runtime: Runtime) -> None:
    assert runtime.refused("cancel", "x") == "asyncnb cancel: No kernel is running.\n"
    assert runtime.run("ps").stdout == "No kernel is running.\n"
    assert runtime.run("ps", "--json").json == {"kernels": [], "not_kernels": []}


def test_patterns_ids_and_groups_name_several_tasks(
    runtime: Runtime, two: tuple[Kernel, Kernel]
) -> None:
    first, _ = two
    launch(first, "page1", "page2", "other")
    launch(first, "7", "in group", group="g")
    ids = first.evaluate("{t.get_name(): t.info().id for t in asyncnb.tasks('*')}")
    assert runtime.run("pause", "page*").stdout == "page1 is paused\npage2 is paused\n"
    assert states(first)["page2"] == "paused"
    assert runtime.run("resume", "page1", "page2").stdout == "page1 resumed\npage2 resumed\n"
    assert "No task to resume" in runtime.refused("resume", "page*")
    runtime.run("cancel", str(ids["other"]))
    runtime.run("cancel", "7", "-g", "g")
    first.ok("%tasks wait other\n%tasks wait 7")
    assert states(first)["in group"] == "waiting"
    assert runtime.run("cancel", "-g", "g").stdout == "cancellation requested for 1 task\n"
    assert "no tasks to cancel" in runtime.run("cancel", "other").stdout
    # All or none: a pattern that matches nothing is a mistake.
    runtime.refused("cancel", "page1", "nosuch", "-k", "11aa")
    assert states(first)["page1"] == "waiting"
    assert runtime.run("cancel", "*", "-k", "11aa").stdout == "cancellation requested for 2 tasks\n"


def test_ten_thousand_tasks_are_cancelled_by_one_request(
    runtime: Runtime, two: tuple[Kernel, Kernel]
) -> None:
    two[1].ok(
        "forever = asyncio.Event()\n"
        "for n in range(10_000): asyncnb.launch(forever.wait(), name=f'many {n}')"
    )
    said = runtime.run("cancel", "many *", "--timeout", "30").stdout
    assert said == "cancellation requested for 10000 tasks\n"


def test_a_task_inside_another_one_is_named_by_its_path(
    runtime: Runtime, two: tuple[Kernel, Kernel]
) -> None:
    two[0].ok(
        "async def outer():\n"
        "    inner = asyncio.create_task(asyncio.Event().wait(), name='inner')\n"
        "    await asyncio.wait([inner])\n"
        "outer = asyncnb.launch(outer(), name='outer')\nawait asyncio.sleep(0.01)"
    )
    assert runtime.run("stack", "outer/inner").stdout.startswith("outer/inner: waiting")
    runtime.run("cancel", "outer/inner")
    two[0].ok("await outer")


def test_limit_sets_how_many_calls_a_run_makes(
    runtime: Runtime, two: tuple[Kernel, Kernel]
) -> None:
    launch(two[0], "plain")
    two[0].ok(
        "async def wait(n): await asyncio.Event().wait()\n"
        "run = asyncnb.map(wait, range(9), limit=2, name='calls').start()"
    )
    assert runtime.run("limit", "calls", "5").stdout == "calls: at most 5 calls at a time\n"
    assert two[0].evaluate("run.limit") == 5
    assert "is not a run of asyncnb.map()" in runtime.refused("limit", "plain", "5")
    for wrong in ("0", "-1", "x", "1.5"):
        assert "whole number" in runtime.refused("limit", "calls", "--", wrong, code=2)
    assert two[0].evaluate("run.limit") == 5


def test_names_cannot_move_the_cursor(runtime: Runtime, two: tuple[Kernel, Kernel]) -> None:
    evil = "\x1b[2Jgone\u202e"
    launch(two[0], evil)
    for arguments in (["ps"], ["stack", evil], ["stack", "1", "-k", "22bb"], ["pause", evil]):
        done = runtime.run(*arguments, code=int(arguments[-1] == "22bb"))
        assert "\x1b" not in done.stdout + done.stderr
        assert "\u202e" not in done.stdout + done.stderr


def test_a_name_that_several_tasks_have_is_refused_with_their_ids(
    runtime: Runtime, two: tuple[Kernel, Kernel]
) -> None:
    launch(two[0], "twin", "twin")
    with pytest.raises(ClientError, match=r"'twin' names 2 tasks of data.ipynb: 'twin' \(id \d+\)"):
        find_task("twin")
    assert "Name one by its id." in runtime.refused("stack", "twin")
