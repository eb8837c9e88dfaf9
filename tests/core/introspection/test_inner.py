"""The tasks inside launched tasks, found by looking: parents, counts, paths."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb._core.introspection.inner import Inner, inner_info
from asyncnb._core.launched.inside import find_inside, look_inside
from asyncnb.testing import clear_ended


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    clear_ended()
    yield
    living = asyncnb.tasks(all=True)
    for task in living:
        task.get_loop().call_soon_threadsafe(task.cancel)
    asyncio.run(asyncio.wait_for(_ended(living), 10))
    clear_ended()


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        await asyncnb.wait([task])


class Stage:
    """Runs a body as a launched task until all `waits` of its leaves are reached."""

    def __init__(self, leaves: int) -> None:
        self.ready = threading.Semaphore(0)
        self.leaves = leaves

    async def leaf(self) -> None:
        self.ready.release()
        await asyncio.Event().wait()

    def launch(self, body: Callable[[Stage], Awaitable[Any]], name: str = "crawl") -> Any:
        task = asyncnb.launch(body(self), name=name)
        for _ in range(self.leaves):
            assert self.ready.acquire(timeout=10)
        # The leaf that came last has to be suspended, and what waits for it as well.
        asyncnb.run(_settle())
        return task


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def tree(inner: Inner, id: int | None) -> dict[str, Any]:
    """The names below a task, as nested dicts."""
    return {task.get_name(): tree(inner, -_id(task)) for task in inner.children(id)}


_id = id


async def by_group(stage: Stage, group: type[Any]) -> None:
    async with group() as g:
        for n in (10, 9):
            g.create_task(stage.leaf(), name=f"page {n}")


@pytest.mark.parametrize("group", [asyncio.TaskGroup, asyncnb.TaskGroup])
def test_children_of_a_group_are_inside_its_task_with_numbers_in_order(group: type[Any]) -> None:
    task = Stage(2).launch(lambda stage: by_group(stage, group))
    inner = look_inside()
    assert tree(inner, task.info().id) == {"page 9": {}, "page 10": {}}
    assert [child.get_name() for child in inner.children(task.info().id)] == ["page 9", "page 10"]


@pytest.mark.parametrize("group", [asyncio.TaskGroup, asyncnb.TaskGroup])
def test_a_group_inside_a_child_makes_grandchildren(group: type[Any]) -> None:
    async def outer(stage: Stage) -> None:
        async with group() as g:
            g.create_task(by_group(stage, group), name="site")

    task = Stage(2).launch(outer)
    assert tree(look_inside(), task.info().id) == {"site": {"page 9": {}, "page 10": {}}}


@pytest.mark.parametrize("return_exceptions", [False, True])
@pytest.mark.parametrize("gather", [asyncio.gather, asyncnb.gather])
def test_a_gather_inside_a_child_makes_grandchildren_and_counts_the_ended(
    gather: Any, return_exceptions: bool
) -> None:
    async def fails() -> None:
        raise ValueError

    async def outer(stage: Stage) -> None:
        async def site() -> None:
            made = [asyncio.create_task(stage.leaf(), name=f"page {n}") for n in range(3)]
            made += [asyncio.create_task(asyncio.sleep(0)) for _ in range(4)]
            made += [asyncio.create_task(fails())] if return_exceptions else []
            await gather(*made, return_exceptions=return_exceptions)

        await asyncio.create_task(site(), name="site")

    task = Stage(3).launch(outer)
    inner = look_inside()
    assert tree(inner, task.info().id) == {"site": {"page 0": {}, "page 1": {}, "page 2": {}}}
    (site,) = inner.children(task.info().id)
    counts = inner.counts(-id(site), site)
    assert (counts.running, counts.done, counts.failed) == (3, 4, int(return_exceptions))
    assert str(counts) == "3 running, 4 done" + (", 1 failed" if return_exceptions else "")


def test_facts_of_a_child_have_its_parent_and_what_it_waits_for() -> None:
    task = Stage(2).launch(lambda stage: by_group(stage, asyncio.TaskGroup))
    child = look_inside().children(task.info().id)[0]
    info = inner_info(child, task.info().id)
    assert (info.id, info.parent) == (-id(child), task.info().id)
    assert (info.name, info.state, info.waiting_on) == ("page 9", "waiting", "Event.wait")


def test_tasks_that_wait_for_each_other_stay_inside_the_launched_task() -> None:
    async def ring(stage: Stage) -> None:
        made: list[asyncio.Task[Any]] = []

        async def one(n: int) -> None:
            stage.ready.release()
            await asyncio.wait([made[1 - n]])

        made += [asyncio.create_task(one(n), name=f"{n}") for n in range(2)]
        await asyncio.Event().wait()

    task = Stage(2).launch(ring)
    found = tree(look_inside(), task.info().id)
    assert found in ({"0": {"1": {}}}, {"1": {"0": {}}})


def test_a_child_with_an_empty_context_is_inside_the_task_that_waits_for_it() -> None:
    async def outer(stage: Stage) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.leaf(), name="apart", context=contextvars.Context())

    task = Stage(1).launch(outer)
    assert tree(look_inside(), task.info().id) == {"apart": {}}


def test_a_path_names_children_and_each_star_one_name() -> None:
    async def outer(stage: Stage) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(by_group(stage, asyncio.TaskGroup), name="http://site/a")
            group.create_task(stage.leaf(), name="b")

    Stage(3).launch(outer, "crawl/B")

    def named(path: str) -> list[str]:
        return sorted(task.get_name() for task in find_inside(path))

    assert named("crawl/B/b") == ["b"]
    assert named("crawl/B/http://site/a") == ["http://site/a"]
    assert named("crawl/B/http://site/a/page 9") == ["page 9"]
    assert named("crawl/B/*") == ["b", "http://site/a"]
    assert named("crawl*/*/page 1?") == ["page 10"]
    assert named("crawl/B/") == named("crawl/B") == named("b") == []
