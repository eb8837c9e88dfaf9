"""The sampler, with real tasks on the real loop: what runs, what waits, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import asyncnb
from asyncnb._core.base.errors import CommandError
from asyncnb._core.loop.current import shutdown
from asyncnb._core.profiling import sampler as sampler_module
from asyncnb._core.profiling.counts import RUNNING, WAITING
from asyncnb._core.profiling.sampler import sampler

NAME = "asyncnb profiler"


def spin(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def f(seconds):
    spin(seconds)


def g(seconds):
    spin(seconds)


async def busy():
    """Four times as long in f as in g, until it is cancelled."""
    while True:
        f(0.012)
        g(0.003)
        await asyncio.sleep(0)


@contextmanager
def launched(coro, name) -> Iterator[asyncnb.Task]:
    task = asyncnb.launch(coro, name=name)
    try:
        yield task
    finally:
        task.cancel()
        with pytest.raises(asyncnb.CancelledError):
            task.join(20)


def until(condition, seconds=20.0):
    """Wait for something that the sampler's thread does; it has no event to wait for."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def share(samples, kind, function):
    chosen = [each for each in samples if each.kind == kind]
    hit = [each for each in chosen if function in {at.function for at in each.stack}]
    return sum(each.seconds for each in hit) / sum(each.seconds for each in chosen)


def profiler_threads():
    return [each for each in threading.enumerate() if each.name == NAME]


@pytest.fixture(autouse=True)
def _nothing_left():
    before = sys.getswitchinterval()
    yield
    until(lambda: not profiler_threads())
    assert not sampler.sessions()
    assert sys.getswitchinterval() == before


def test_running_time_goes_to_the_functions_that_took_it():
    with launched(busy(), "busy"):
        with asyncnb.profile("busy") as profile:
            until(lambda: profile.looks >= 150)
    assert {each.task for each in profile.samples} == {"busy"}
    assert 0.6 < share(profile.samples, RUNNING, "f()") < 0.95
    assert 0.05 < share(profile.samples, RUNNING, "g()") < 0.4
    lines = profile.text().splitlines()
    assert "while time.thread_time() < until:" in lines[2] or "pass" in lines[2]


def test_steps_far_shorter_than_the_switch_interval_of_python_are_seen():
    async def short():
        while True:
            spin(0.001)
            await asyncio.sleep(0.001)

    with launched(short(), "short"), asyncnb.profile() as profile:
        until(lambda: profile.looks >= 150)
    ran = sum(each.seconds for each in profile.samples if each.kind == RUNNING)
    assert ran > 0.3 * profile.facts.cpu


def test_a_listing_that_had_to_wait_for_the_processor_does_not_put_off_the_next_one(monkeypatch):
    living = sampler_module.registry.living

    def slowly():
        time.sleep(0.05)  # as on a machine that has much else to do
        return living()

    monkeypatch.setattr(sampler_module.registry, "living", slowly)
    looks = sampler_module._Looks()
    now = time.monotonic()
    looks.look(())
    looks.end()
    assert looks._next_listing - now < 10  # 0.05 s of work would put it off by 25 s


def test_waiting_time_goes_to_what_was_awaited():
    async def consumer(queue):
        await queue.get()

    with launched(consumer(asyncio.Queue()), "consumer") as task:
        until(lambda: task.info().state == "waiting")  # not in its first step, which is running
        with asyncnb.profile() as profile:
            until(lambda: profile.looks >= 20)
    [waits] = [each for each in profile.samples if each.task == "consumer"]
    assert (waits.kind, waits.waits_for) == (WAITING, "Queue.get")
    assert waits.at.source == "await queue.get()"
    assert 0.5 * profile.seconds < waits.seconds <= profile.seconds + 0.1


def test_a_task_that_a_launched_one_creates_counts_for_it_under_its_own_name():
    async def page(gate):
        await gate.wait()

    async def crawl():
        gate = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(page(gate), name="page 1")
            group.create_task(page(gate))

    with launched(crawl(), "crawl"), asyncnb.profile("crawl") as profile:
        until(lambda: len({each.task for each in profile.samples}) >= 3)
    named = {each.task: each.waits_for for each in profile.samples}
    inner = next(name for name in named if name.endswith("page()"))
    assert named.pop(inner) == "Event.wait" and inner.startswith("crawl/")
    assert named == {"crawl": "TaskGroup", "crawl/page 1": "Event.wait"}


def test_a_profile_of_one_task_has_nothing_of_another():
    with launched(busy(), "busy"), launched(asyncio.sleep(60), "asleep") as asleep:
        until(lambda: asleep.info().waiting_on not in (None, "its turn"))
        with asyncnb.profile("asleep") as profile:
            until(lambda: profile.looks >= 30)
    assert {each.task for each in profile.samples} == {"asleep"}
    assert {each.kind for each in profile.samples} == {WAITING}


def test_a_plain_task_can_be_profiled_by_name():
    made = threading.Event()

    async def main():
        task = asyncio.create_task(busy(), name="plain")
        made.set()
        try:
            await task
        except asyncio.CancelledError:
            assert task.cancelled()
            raise

    with launched(main(), "outer"):
        made.wait(20)
        with asyncnb.profile("plain") as profile:
            until(lambda: profile.looks >= 20)
    assert {each.task for each in profile.samples} == {"outer/plain"}


def test_tasks_that_join_a_group_later_belong_to_its_profile():
    group = asyncnb.open_group("pages")
    with asyncnb.profile(group="pages") as profile:
        task = asyncnb.launch(asyncio.sleep(60), name="late", group=group)
        until(lambda: profile.samples)
    task.cancel()
    assert {each.task for each in profile.samples} == {"late"}


def test_two_profiles_at_a_time_are_taken_by_one_thread():
    with launched(busy(), "busy"), asyncnb.profile() as every:
        with asyncnb.profile("busy") as one:
            until(lambda: one.looks >= 10)
            assert len(profiler_threads()) == 1
        before = every.looks
        until(lambda: every.looks >= before + 5)
        assert one.ended and not every.ended
        looks = one.looks
    assert one.looks == looks and every.looks > looks


def test_a_profile_ends_with_the_last_of_its_tasks():
    task = asyncnb.launch(asyncio.sleep(0.05), name="short")
    profile = asyncnb.profile("short")
    profile.start()
    assert profile.wait(20)
    assert task.done() and profile.ended and profile.seconds < 20


def test_a_profile_ends_when_its_seconds_are_over():
    profile = asyncnb.profile()
    profile.start(0.05)
    assert profile.wait(20) and profile.seconds >= 0.05


def test_a_profile_goes_through_a_restart_of_the_loop():
    profile = asyncnb.profile()

    def has_run(name):
        return any((each.task, each.kind) == (name, RUNNING) for each in profile.samples)

    with profile:
        with launched(busy(), "before"):
            until(lambda: has_run("before"))
        shutdown()
        with launched(busy(), "after"):
            until(lambda: has_run("after"))


def test_an_unknown_name_is_answered_with_the_nearest():
    with launched(asyncio.sleep(60), "crawler"):
        with pytest.raises(asyncnb.TaskNotFoundError, match="Did you mean 'crawler'"):
            asyncnb.profile("crawlr")


def test_a_task_that_has_ended_is_refused():
    asyncnb.launch(asyncio.sleep(0), name="ended").join(20)
    with pytest.raises(CommandError, match=r"'ended' has ended.*--profile"):
        asyncnb.profile("ended")


def test_a_profile_is_started_once():
    profile = asyncnb.profile()
    with profile, pytest.raises(RuntimeError, match="started before"):
        profile.start()


def test_the_objects_that_code_uses_are_free_as_soon_as_it_has_ended():
    class Thing:
        pass

    refs = []

    async def main():
        thing = Thing()
        refs.append(weakref.ref(thing))
        spin(0.2)

    gc.disable()  # it would free them sooner or later
    try:
        with asyncnb.profile() as profile:
            asyncnb.launch(main(), name="main").join(20)
            assert any(each.task == "main" for each in profile.samples)
            until(lambda: refs[0]() is None)
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_can_take_a_profile_of_its_own():
    with asyncnb.profile() as profile:
        until(lambda: profile.looks >= 2)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with asyncnb.profile() as own:
                    until(lambda: own.looks >= 2)
                code = 0 if profile.ended and own.ended else 2
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        looks = profile.looks
        until(lambda: profile.looks > looks)
