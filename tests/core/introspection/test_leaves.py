"""The sentence that names what failed in an exception group, and whose task it was."""

from __future__ import annotations

import asyncio
import sys

import pytest

import asyncnb
from asyncnb._core.introspection.leaves import format_failure, leaves, note_task, watch_groups


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.fixture(autouse=True)
def watched():
    """As while the extension is loaded; without effect on 3.11."""
    end = watch_groups()
    yield
    end()


def group(*members, message="unhandled errors in a TaskGroup"):
    return BaseExceptionGroup(message, members)


async def fails(exc):
    raise exc


async def error_of(awaitable):
    try:
        await awaitable
    except BaseExceptionGroup as exc:
        return exc
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    ("exc", "sentence"),
    [
        (ConnectionError("host unreachable"), "ConnectionError: host unreachable"),
        (group(ConnectionError("host unreachable")), "ConnectionError: host unreachable"),
        (group(ValueError("a"), KeyError("b")), "ValueError: a (1 of 2)"),
        (group(group(ValueError("a"), KeyError("b")), OSError("c")), "ValueError: a (1 of 3)"),
        (group(TimeoutError(), TimeoutError()), "TimeoutError (1 of 2)"),
        (group(ValueError("two\nlines")), "ValueError: two"),
        (group(Mute()), "Mute: <its __str__ raised RuntimeError>"),
        (group(*map(ValueError, range(1000))), "ValueError: 0 (1 of 1,000)"),
    ],
)
def test_a_group_is_named_by_its_first_leaf_and_their_number(exc, sentence):
    assert format_failure(exc) == sentence


@pytest.mark.parametrize("kind", [asyncio.TaskGroup, asyncnb.TaskGroup])
def test_a_leaf_has_the_name_of_the_task_of_a_group_that_raised_it(kind):
    async def crawl():
        async with kind() as pages:
            for n in range(20):
                pages.create_task(fails(ConnectionError("host unreachable")), name=f"page {n}")

    exc = asyncnb.run(error_of(crawl()))
    assert format_failure(exc) == "ConnectionError: host unreachable (page 0, 20 of 20 failed)"
    assert [names for _, names in leaves(exc)] == [(f"page {n}",) for n in range(20)]


@pytest.mark.parametrize("kind", [asyncio.TaskGroup, asyncnb.TaskGroup])
def test_one_failure_among_many_tasks_says_how_many_there_were(kind):
    async def page(n):
        await asyncio.sleep(0)
        if n == 7:
            raise ConnectionError("host unreachable")
        await asyncio.sleep(600)

    async def crawl():
        async with kind() as pages:
            for n in range(20):
                pages.create_task(page(n), name=f"page {n}")

    exc = asyncnb.run(error_of(crawl()))
    assert format_failure(exc) == "ConnectionError: host unreachable (page 7, 1 of 20)"


@pytest.mark.parametrize("kind", [asyncio.TaskGroup, asyncnb.TaskGroup])
def test_a_task_that_fails_while_it_is_cancelled_is_named_too(kind):
    async def stubborn():
        try:
            await asyncio.sleep(600)
        finally:
            raise KeyError("cleanup")

    async def crawl():
        async with kind() as pages:
            pages.create_task(stubborn(), name="stubborn")
            await asyncio.sleep(0)
            pages.create_task(fails(ValueError("first")), name="page")

    exc = asyncnb.run(error_of(crawl()))
    assert [(type(leaf), *names) for leaf, names in leaves(exc)] == [
        (ValueError, "page"),
        (KeyError, "stubborn"),
    ]


@pytest.mark.parametrize("kind", [asyncio.TaskGroup, asyncnb.TaskGroup])
def test_the_error_of_a_groups_body_has_no_task(kind):
    async def crawl():
        async with kind() as pages:
            pages.create_task(fails(ValueError("page")), name="page")
            try:
                await asyncio.sleep(600)
            finally:
                raise KeyError("body")

    exc = asyncnb.run(error_of(crawl()))
    assert [names for _, names in leaves(exc)] == [("page",), ()]


def test_a_nested_leaf_has_the_names_of_all_the_tasks_it_came_through():
    async def crawl():
        async with asyncnb.TaskGroup() as pages:
            pages.create_task(fails(ValueError("bad")), name="page 7")

    async def crawls():
        async with asyncnb.TaskGroup() as group:
            group.create_task(crawl(), name="crawl B")

    exc = asyncnb.run(error_of(crawls()))
    assert format_failure(exc) == "ValueError: bad (crawl B/page 7)"


def test_a_default_name_and_an_exception_of_no_task_say_nothing():
    async def crawl():
        async with asyncio.TaskGroup() as pages:
            pages.create_task(fails(ValueError("bad")))

    assert format_failure(asyncnb.run(error_of(crawl()))) == "ValueError: bad"


def test_a_future_that_a_group_has_adopted_has_no_name():
    exc = ValueError("bad")
    note_task(exc, object())
    assert format_failure(group(exc)) == "ValueError: bad"


def test_the_facts_of_a_failed_task_name_the_leaf_before_and_after_it_is_freed():
    async def crawl():
        async with asyncio.TaskGroup() as pages:
            pages.create_task(fails(ValueError("bad")), name="page 7")

    task = asyncnb.launch(crawl(), name="crawl")
    with pytest.raises(BaseExceptionGroup):
        task.join(10)
    assert task.info().error == "ValueError: bad (page 7)"
    del task
    assert asyncnb.task("crawl").info().error == "ValueError: bad (page 7)"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
def test_watching_ends_and_leaves_the_tool_ids_free():
    before = [sys.monitoring.get_tool(n) for n in range(6)]
    end = watch_groups()
    assert before != [sys.monitoring.get_tool(n) for n in range(6)]
    end()
    end()
    assert before == [sys.monitoring.get_tool(n) for n in range(6)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
def test_children_that_succeed_are_reported_once():
    async def crawl(number):
        async with asyncio.TaskGroup() as pages:
            for _ in range(number):
                pages.create_task(asyncio.sleep(0))

    seen = []
    asyncio.run(crawl(2))  # which the interpreter has reported, line by line
    tool = [sys.monitoring.get_tool(n) for n in range(6)].index("asyncnb")
    report = sys.monitoring.register_callback(tool, sys.monitoring.events.LINE, None)

    def counted(*args):
        seen.append(args)
        return report(*args)

    sys.monitoring.register_callback(tool, sys.monitoring.events.LINE, counted)
    asyncio.run(crawl(100))
    assert not seen
