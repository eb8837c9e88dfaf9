"""``asyncnb.testing``: its check of asyncnb's own state, waiting until idle, forgetting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb._core.launched.registry import registry
from asyncnb._core.primitives import joining
from asyncnb.testing import clear_ended, validate, wait_until_idle


@pytest.fixture
def job() -> Iterator[Any]:
    """A launched task that lives until the test is over."""
    clear_ended()
    task: Any = asyncnb.launch(asyncio.sleep(600), name="job", group="crew")
    asyncnb.run(asyncio.sleep(0))
    yield task
    task.cancel()
    asyncnb.open_group("crew").join(10)
    wait_until_idle()
    clear_ended()
    validate()


@pytest.fixture
def dead_loop() -> asyncnb.EmbeddedLoop:
    loop = asyncnb.EmbeddedLoop()
    loop.start()
    loop.shutdown()
    return loop


# Each does damage while the test looks, and says what is wrong then.


def lost(job: Any, dead: Any, patch: pytest.MonkeyPatch) -> str:
    patch.delitem(registry._records, job._record.id)
    return "'job' runs, but is missing from asyncnb.tasks()"


def ended_too_early(job: Any, dead: Any, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(job._record, "ended", time.time())
    return "'job' is registered as ended but is waiting"


def in_no_state(job: Any, dead: Any, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(job._record, "state", lambda: "asleep")
    return "'job' is in the state 'asleep', which does not exist"


def on_a_dead_loop(job: Any, dead: Any, patch: pytest.MonkeyPatch) -> str:
    is_dead = joining.is_dead
    patch.setattr(joining, "is_dead", lambda loop: loop is job.get_loop() or is_dead(loop))
    return "'job' is alive, but its loop has ended"


def in_an_ended_group(job: Any, dead: Any, patch: pytest.MonkeyPatch) -> str:
    ended = asyncnb.open_group("ended")
    ended.join(10)
    patch.setattr(job._record.group_facts, "group", lambda: ended)
    return "'job' is alive, but its group 'ended' does not wait for it"


def too_many(job: Any, dead: Any, patch: pytest.MonkeyPatch) -> str:
    for n in range(3):
        asyncnb.launch(asyncio.sleep(0), name=f"done{n}")
    asyncnb.run(asyncio.sleep(0))
    patch.setattr(registry, "_history", 1)
    return "3 ended tasks are kept; 1 is the limit"


def group_on_a_dead_loop(job: Any, dead: Any, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(asyncnb.open_group("crew"), "_loop", dead)
    return "the group 'crew' is open, but its loop has ended"


def waiting_thread(job: Any, dead: Any, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(joining, "_joiners", {joining.Joiner(dead)})
    return "1 threads wait in join() for an embedded loop that has ended"


DAMAGE: list[Callable[..., str]] = [
    lost,
    ended_too_early,
    in_no_state,
    on_a_dead_loop,
    in_an_ended_group,
    too_many,
    group_on_a_dead_loop,
    waiting_thread,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_what_does_not_fit_together_is_reported_in_a_sentence(
    job: Any, dead_loop: asyncnb.EmbeddedLoop, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    validate()
    with monkeypatch.context() as patch:
        sentence = damage(job, dead_loop, patch)
        with pytest.raises(AssertionError) as caught:
            validate()
    assert str(caught.value).startswith("The state of asyncnb is inconsistent: ")
    assert sentence in str(caught.value)
    validate()


def test_a_future_of_another_loop_that_waits_for_a_dead_one_is_reported(
    dead_loop: asyncnb.EmbeddedLoop,
) -> None:
    async def main() -> None:
        waiter: Any = asyncio.get_running_loop().create_future()
        joining.register_waiter(dead_loop, waiter)
        with pytest.raises(AssertionError, match="1 futures of other loops wait for an embedded"):
            validate()
        joining.unregister_waiter(dead_loop, waiter)
        validate()

    asyncio.run(main())


def test_the_ended_are_forgotten_and_the_living_stay(job: Any) -> None:
    asyncnb.launch(asyncio.sleep(0), name="done").join(10)
    assert clear_ended() == 1
    assert asyncnb.tasks() == [job]


def test_idle_is_when_the_last_task_has_ended_also_one_launched_meanwhile() -> None:
    clear_ended()
    go_on, waits = threading.Event(), threading.Event()

    async def first() -> None:
        await asyncio.to_thread(go_on.wait, 10)
        asyncnb.launch(second(), name="second")

    async def second() -> None:
        await asyncio.sleep(0)

    def wait() -> None:
        waits.set()
        wait_until_idle(10)

    asyncnb.launch(first(), name="first")
    waiter = threading.Thread(target=wait)
    waiter.start()
    assert waits.wait(10)
    go_on.set()
    waiter.join(10)
    assert not waiter.is_alive()
    assert {t.get_name(): t.done() for t in asyncnb.tasks()} == {"first": True, "second": True}
    clear_ended()


def test_those_that_do_not_end_in_time_are_named(job: Any) -> None:
    with pytest.raises(TimeoutError, match=r"1 tasks have not ended after 0.01 seconds: 'job'"):
        wait_until_idle(0.01)
    with pytest.raises(ValueError, match="timeout must be 0 or more seconds"):
        wait_until_idle(-1)


def test_on_the_loop_itself_waiting_is_refused_with_what_to_write() -> None:
    async def main() -> None:
        with pytest.raises(
            asyncnb.WrongThreadError, match=r"asyncio\.to_thread\(wait_until_idle\)"
        ):
            wait_until_idle()

    asyncnb.run(main())
