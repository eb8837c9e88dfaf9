"""What is refused is refused with one sentence, and its coroutine closed."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb._core.base.errors import CommandError
from asyncnb._core.launched import named_groups as _named_groups
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.time_limit import set_limit
from asyncnb._core.loop.current import shutdown
from asyncnb.testing import clear_ended
from asyncnb.widgets._commands import Commands

#: What is no time, and what the refusal says of it.
NO_TIME: dict[str, tuple[Any, type[Exception], str]] = {
    "negative": (-1, ValueError, "must be 0 or more seconds, not -1."),
    "nan": (float("nan"), ValueError, "must be 0 or more seconds, not nan."),
    "minus infinity": (float("-inf"), ValueError, "must be 0 or more seconds, not -inf."),
    "too large": (10**400, ValueError, "must be 0 or more seconds, not a number that large."),
    "too large to write out": (10**5000, ValueError, "not a number that large."),
    "a bool": (True, TypeError, "must be a number of seconds or None, not True."),
    "a str": ("5", TypeError, "must be a number of seconds or None, not '5'."),
    "an object": ([], TypeError, "must be a number of seconds or None, not list."),
    "a complex": (1j, TypeError, "must be a number of seconds or None, not complex."),
}

closed = asyncio.new_event_loop()
closed.close()


async def work() -> str:
    return "done"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    asyncnb.cancel("*")
    for group in _named_groups.open_groups():
        group.cancel()
        group.join(5)
    shutdown()
    clear_ended()


def in_group(coro: Any, **kwargs: Any) -> Any:
    return asyncnb.open_group("group").create_task(coro, **kwargs)


def inside(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes the call where a loop runs."""

    def outside(coro: Any, **kwargs: Any) -> None:
        async def main() -> None:
            found = call(coro, **kwargs)
            if asyncio.iscoroutine(found):
                await found

        asyncio.run(main())

    return outside


async def in_task_group(coro: Any, **kwargs: Any) -> None:
    async with asyncnb.TaskGroup() as group:
        try:
            group.create_task(coro, **kwargs)
        except BaseException as exc:
            refusal = exc
    raise refusal


def refused(call: Callable[..., Any], **kwargs: Any) -> BaseException:
    """Return what ``call`` raises for a coroutine, which must not be left behind unawaited."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        coro = work()
        with pytest.raises(Exception) as caught:
            call(coro, **kwargs)
        error = caught.value
        del coro, caught
        error.__traceback__ = error.__context__ = None
        gc.collect()
    assert [str(each.message) for each in told if "never awaited" in str(each.message)] == []
    return error


TIMED = {
    "launch": asyncnb.launch,
    "run": asyncnb.run,
    "create_task": inside(asyncnb.create_task),
    "a group's create_task": in_group,
    "launch elsewhere": lambda coro, timeout: asyncnb.launch(coro, on="process", timeout=timeout),
}


@pytest.mark.parametrize("call", TIMED)
@pytest.mark.parametrize("value", NO_TIME)
def test_an_invalid_timeout_is_refused_with_one_sentence(call: str, value: str) -> None:
    given, kind, sentence = NO_TIME[value]
    error = refused(TIMED[call], timeout=given)
    assert type(error) is kind and str(error).endswith(sentence)
    assert str(error).startswith("timeout ") or value == "too large to write out"
    assert all(task.done() for task in asyncnb.tasks())


@pytest.mark.parametrize("value", NO_TIME)
def test_a_groups_timeout_and_the_dashboards_are_checked_by_the_same_rule(value: str) -> None:
    given, kind, sentence = NO_TIME[value]
    with pytest.raises(kind) as caught:
        asyncnb.open_group("limited", timeout=given)
    assert str(caught.value).endswith(sentence)
    with pytest.raises(CommandError) as said:
        Commands().parse({"c": "timeout", "id": 1, "seconds": given})
    assert str(said.value).endswith(sentence)


@pytest.mark.parametrize("seconds", [59.5, 60, 1e20, 1e300, float("inf")])
def test_any_other_number_of_seconds_is_a_limit(seconds: float) -> None:
    assert asyncnb.launch(work(), timeout=seconds).join(5) == "done"
    assert asyncnb.run(work(), timeout=seconds) == "done"
    assert in_group(work(), timeout=seconds).join(5) == "done"
    group = asyncnb.open_group("limited", timeout=seconds)
    task: Any = group.create_task(work())
    assert task.join(5) == "done"
    waits = asyncnb.launch(asyncio.sleep(60))
    assert set_limit(waits._record, seconds) == seconds  # type: ignore[arg-type]
    waits.cancel()


@pytest.mark.parametrize("value", [True, "5", float("nan")])
def test_join_refuses_an_invalid_timeout_and_accepts_an_expired_one(value: Any) -> None:
    task = asyncnb.launch(asyncio.sleep(60))
    with pytest.raises((TypeError, ValueError), match="timeout must be"):
        task.join(value)
    with pytest.raises(TimeoutError):
        task.join(-1)


REFUSALS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "launch: name": (asyncnb.launch, {"name": 5}),
    "launch: group": (asyncnb.launch, {"group": 5}),
    "launch: on": (asyncnb.launch, {"on": "nowhere"}),
    "run: loop_factory": (asyncnb.run, {"loop_factory": 5}),
    "run: on the loop": (lambda c: asyncnb.launch(_runs(c)).join(5), {}),
    "group: context": (in_group, {"context": 5}),
    "group: unknown": (in_group, {"unknown": 5}),
    "group: add": (lambda c: asyncnb.open_group("group").add(c), {}),
    "create_task: no loop": (asyncnb.create_task, {}),
    "create_task: context": (inside(asyncnb.create_task), {"context": 5}),
    "create_task: eager context": (
        inside(asyncnb.create_task),
        {"context": 5, "eager_start": True},
    ),
    "create_task: unknown": (inside(asyncnb.create_task), {"unknown": 5}),
    "Task: no loop": (asyncnb.Task, {}),
    "Task: context": (inside(asyncnb.Task), {"context": 5}),
    "Task: unknown": (inside(asyncnb.Task), {"unknown": 5}),
    "Task: closed loop": (asyncnb.Task, {"loop": closed}),
    "TaskGroup: not entered": (lambda c: asyncnb.TaskGroup().create_task(c), {}),
    "TaskGroup: context": (inside(in_task_group), {"context": 5}),
    "TaskGroup: unknown": (inside(in_task_group), {"unknown": 5}),
    "ensure_future: no loop": (asyncnb.ensure_future, {}),
    "ensure_future: closed loop": (asyncnb.ensure_future, {"loop": closed}),
    "shield: no loop": (lambda c: asyncnb.shield(c), {}),
    "gather: no loop": (lambda c: asyncnb.gather(c), {}),
    "gather: limit": (inside(lambda c, **k: asyncnb.gather(c, **k)), {"limit": 0}),
    "gather: no limit": (inside(lambda c, **k: asyncnb.gather(c, **k)), {"limit": "x"}),
    "as_completed: limit": (inside(lambda c, **k: asyncnb.as_completed([c], **k)), {"limit": 0}),
    "wait: a coroutine": (inside(lambda c: asyncnb.wait([c])), {}),
    "wait: return_when": (inside(lambda c, **k: asyncnb.wait([c], **k)), {"return_when": 3}),
    "wait_for: a str": (inside(asyncnb.wait_for), {"timeout": "5"}),
    "wait_for: nan": (inside(asyncnb.wait_for), {"timeout": float("nan")}),
    "wait_for: too large": (inside(asyncnb.wait_for), {"timeout": 10**400}),
    "run_coroutine_threadsafe: closed": (asyncnb.run_coroutine_threadsafe, {"loop": closed}),
    "run_coroutine_threadsafe: no loop": (asyncnb.run_coroutine_threadsafe, {"loop": 5}),
    "Runner: context": (lambda c, **k: _runner(c, **k), {"context": 5}),
    "offload: a coroutine": (asyncnb.offload, {}),
}


async def _runs(coro: Any) -> None:
    asyncnb.run(coro)


def _runner(coro: Any, **kwargs: Any) -> None:
    with asyncnb.Runner() as runner:
        runner.run(coro, **kwargs)


@pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_coroutine_is_closed(case: str) -> None:
    call, kwargs = REFUSALS[case]
    refused(call, **kwargs)


# --- the keywords of an open group's create_task -----------------------------------------------

number: contextvars.ContextVar[int] = contextvars.ContextVar("number")


def test_a_groups_task_runs_in_the_context_that_was_given() -> None:
    async def step() -> int:
        number.set(number.get(0) + 1)
        await asyncio.sleep(0)
        return number.get()

    context = contextvars.Context()
    group = asyncnb.open_group("group")
    tasks: list[Any] = [group.create_task(step(), context=context) for _ in range(3)]
    assert max(task.join(5) for task in tasks) == 3  # one after the other, in the same one
    assert context[number] == 3 and number.get(None) is None
    assert all(task.get_context() is context for task in tasks)


def test_tasks_of_one_context_are_started_while_others_of_it_run() -> None:
    context = contextvars.copy_context()
    group = asyncnb.open_group("group")

    async def steps() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    tasks: list[Any] = [group.create_task(steps(), context=context) for _ in range(200)]
    for task in tasks:
        task.join(10)
    assert {record.state() for record in registry.records()} == {"done"}


def test_a_groups_task_has_the_time_limit_that_was_given() -> None:
    group = asyncnb.open_group("limited", on_error="continue")
    task: Any = group.create_task(asyncio.sleep(60), name="slow", timeout=0.01)
    with pytest.raises(TimeoutError, match="'slow' did not finish within"):
        task.join(5)


def test_eager_start_is_accepted_from_code_written_for_any_group() -> None:
    task: Any = in_group(work(), eager_start=True)
    assert task.join(5) == "done"
