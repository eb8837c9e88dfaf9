"""The tasks inside launched tasks, found by looking: parents, counts, paths."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web

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


async def with_create_task(stage: Stage) -> None:
    kept = [asyncio.create_task(stage.leaf()), asyncnb.create_task(stage.leaf())]
    await asyncio.sleep(3600, kept)


async def with_wait(stage: Stage) -> None:
    await asyncio.wait([asyncio.create_task(stage.leaf()) for _ in range(2)])


async def with_own_wait(stage: Stage) -> None:
    await asyncnb.wait([asyncio.create_task(stage.leaf()) for _ in range(2)])


async def with_wait_for(stage: Stage) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(asyncio.wait_for(asyncio.create_task(stage.leaf()), 3600))


async def with_shield(stage: Stage) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(shielding(stage, asyncio.shield))
        group.create_task(shielding(stage, asyncnb.shield))


async def shielding(stage: Stage, shield: Any) -> None:
    await shield(asyncio.create_task(stage.leaf()))


async def with_as_completed(stage: Stage) -> None:
    for ended in asyncio.as_completed([stage.leaf(), stage.leaf()]):
        await ended


async def with_own_as_completed(stage: Stage) -> None:
    async for _ in asyncnb.as_completed([stage.leaf() for _ in range(2)], limit=2):
        pass


async def with_limited_gather(stage: Stage) -> None:
    await asyncnb.gather(*(stage.leaf() for _ in range(5)), limit=2)


async def with_eager_tasks(stage: Stage) -> None:
    kept = [asyncnb.create_task(stage.leaf(), eager_start=True) for _ in range(2)]
    await asyncio.gather(*kept)


async def with_anyio(stage: Stage) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(stage.leaf, name="a")
        group.start_soon(stage.leaf, name="b")


async def with_a_thread(stage: Stage) -> None:
    loop = asyncio.get_running_loop()

    def threadsafe() -> None:
        made = [asyncio.run_coroutine_threadsafe(stage.leaf(), loop) for _ in range(2)]
        with contextlib.suppress(BaseException):
            made[0].result()

    await asyncio.to_thread(threadsafe)


WAYS = [
    with_create_task,
    with_wait,
    with_own_wait,
    with_wait_for,
    with_shield,
    with_as_completed,
    with_own_as_completed,
    with_limited_gather,
    with_eager_tasks,
    with_anyio,
    with_a_thread,
]
#: Where a child makes the tasks and nothing waits for each: Python does not know what made them.
FLAT = {with_create_task, with_a_thread, with_as_completed}


def leaves(found: dict[str, Any]) -> int:
    return sum(leaves(below) if below else 1 for below in found.values())


@pytest.mark.parametrize("way", WAYS)
def test_tasks_are_inside_however_they_are_made(way: Any) -> None:
    task = Stage(2).launch(way)
    assert leaves(tree(look_inside(), task.info().id)) == 2


@pytest.mark.parametrize("way", [way for way in WAYS if way not in FLAT])
def test_what_a_child_waits_for_is_inside_the_child(way: Any) -> None:
    async def outer(stage: Stage) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(way(stage), name="child")

    task = Stage(2).launch(outer)
    found = tree(look_inside(), task.info().id)
    assert list(found) == ["child"] and leaves(found) == 2


def test_a_handler_of_a_server_is_inside_the_task_that_serves() -> None:
    async def outer(stage: Stage) -> None:
        async def handle(request: web.BaseRequest) -> web.Response:
            await stage.leaf()
            return web.Response()

        server = web.Server(handle)
        socket = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        async with socket, aiohttp.ClientSession() as session:
            try:
                url = "http://{}:{}".format(*socket.sockets[0].getsockname())
                await session.get(url)
            finally:
                await server.shutdown(0)

    task = Stage(1).launch(outer)
    children = look_inside().children(task.info().id)
    assert "RequestHandler.start" in {child.get_coro().__qualname__ for child in children}


def test_tasks_that_outlive_their_launched_task_stay_inside_it() -> None:
    kept: list[asyncio.Task[Any]] = []

    async def leaves_one(stage: Stage) -> None:
        kept.append(asyncio.create_task(stage.leaf(), name="late"))

    task = Stage(1).launch(leaves_one)
    assert task.done()
    assert tree(look_inside(), task.info().id) == {"late": {}}
    assert asyncnb.tasks("crawl/late") == kept
    clear_ended()
    assert asyncnb.cancel("crawl/late") == kept


def test_other_launched_tasks_are_not_inside_by_being_awaited() -> None:
    async def outer(stage: Stage) -> None:
        await asyncio.gather(asyncnb.launch(stage.leaf(), name="launched"), other)

    other = asyncnb.launch(asyncio.Event().wait(), name="other")
    task = Stage(1).launch(outer)
    inner = look_inside()
    assert not inner.children(task.info().id) and not inner.has_children(other.info().id)


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
    async def one(stage: Stage) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.leaf(), name="apart", context=contextvars.Context())

    async def outer(stage: Stage) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(one(stage), name="child")
            await one(stage)

    task = Stage(2).launch(outer)
    assert tree(look_inside(), task.info().id) == {"apart": {}, "child": {"apart": {}}}


@pytest.mark.parametrize("group", [asyncio.TaskGroup, asyncnb.TaskGroup])
def test_the_failures_that_a_group_is_about_to_raise_are_counted(group: type[Any]) -> None:
    async def cleans_up(stage: Stage) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await stage.leaf()

    async def fails() -> None:
        raise ValueError

    async def outer(stage: Stage) -> None:
        async with group() as g:
            g.create_task(cleans_up(stage))
            await asyncio.sleep(0)
            g.create_task(fails())

    task = Stage(1).launch(outer)
    assert str(look_inside().counts(task.info().id)) == "1 running, 1 failed"


def test_a_path_names_children_and_each_star_one_name() -> None:
    async def outer(stage: Stage) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(by_group(stage, asyncio.TaskGroup), name="http://site/a")
            group.create_task(stage.leaf(), name="b")

    Stage(3).launch(outer, "crawl/B")

    def named(path: str) -> list[str]:
        return sorted(each.task.get_name() for each in find_inside(path))

    assert named("crawl/B/b") == ["b"]
    assert named("crawl/B/http://site/a") == ["http://site/a"]
    assert named("crawl/B/http://site/a/page 9") == ["page 9"]
    assert named("crawl/B/*") == ["b", "http://site/a"]
    assert named("crawl*/*/page 1?") == ["page 10"]
    assert named("crawl/B/") == named("crawl/B") == named("b") == []
