"""event, changed, values: awaited widgets, traits and comms, in plain Python without a kernel."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
from typing import Any

import ipywidgets
import pytest
import traitlets
from comm.base_comm import BaseComm

import asyncnb
from asyncnb._core.events import values as values_module
from asyncnb.testing import run_virtual


class Comm(BaseComm):
    """A comm whose front end is this test."""

    def publish_msg(self, *args: Any, **kwargs: Any) -> None:
        pass

    def receive(self, data: Any, buffers: Any = ()) -> None:
        self.handle_msg({"content": {"data": data}, "buffers": list(buffers)})


class Model(traitlets.HasTraits):
    """Something with traits that is no widget."""

    count = traitlets.Int()
    name = traitlets.Unicode()


def observers(of: Any) -> dict[str, list[Any]]:
    """All that is called back when something happens to ``of``, apart from empty lists."""
    found: dict[str, list[Any]] = {}
    for name, kinds in getattr(of, "_trait_notifiers", {}).items():
        found |= {f"{name} {kind}": list(each) for kind, each in kinds.items() if each}
    for name in ("_click_handlers", "_msg_callbacks"):
        if callbacks := getattr(getattr(of, name, None), "callbacks", None):
            found[name] = list(callbacks)
    comm = of if isinstance(of, BaseComm) else getattr(of, "comm", None)
    for name in ("_msg_callback", "_close_callback"):
        if (callback := getattr(comm, name, None)) is not None:
            found[name] = [callback]
    if "close" in vars(comm or object):
        found["close"] = [comm.close]
    return found


async def begun(awaitable: Any) -> asyncio.Task[Any]:
    """Start a task that waits, and return it when it does."""
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0)
    assert not task.done(), task
    return task


async def listed(stream: Any, most: int) -> list[Any]:
    found = []
    async for each in stream:
        found.append(each)
        if len(found) == most:
            break
    return found


def make_tab() -> Any:
    return ipywidgets.Tab([ipywidgets.Text(), ipywidgets.Text()])


def make_dropdown() -> Any:
    return ipywidgets.Dropdown(options="ab")


# What happens.


def test_a_click_ends_the_wait_and_says_which_button_it_was():
    yes, no = ipywidgets.Button(description="Yes"), ipywidgets.Button(description="No")

    async def main() -> asyncnb.Occurrence:
        waiting = await begun(asyncnb.event(yes, no))
        no.click()
        yes.click()
        return await waiting

    found = run_virtual(main())
    assert (found.source, found.kind, found.value) == (no, "click", no)


@pytest.mark.parametrize(
    ("make", "act", "kind", "value"),
    [
        (ipywidgets.Button, lambda w: w.click(), "click", ipywidgets.Button),
        (ipywidgets.IntSlider, lambda w: w.set_trait("value", 5), "change", 5),
        (ipywidgets.Text, lambda w: w.set_trait("value", "a"), "change", "a"),
        (make_dropdown, lambda w: setattr(w, "index", 1), "change", "b"),
        (ipywidgets.Output, lambda w: w.append_stdout("x"), "change", tuple),
        (make_tab, lambda w: setattr(w, "selected_index", 1), "change", 1),
        (ipywidgets.HBox, lambda w: w._handle_custom_msg({"a": 1}, [b"b"]), "message", {"a": 1}),
        (Model, lambda m: setattr(m, "name", "x"), "change", "x"),
        (Comm, lambda c: c.receive({"a": 1}, [b"b"]), "message", {"a": 1}),
    ],
    ids=["Button", "IntSlider", "Text", "Dropdown", "Output", "Tab", "message", "Traits", "Comm"],
)  # fmt: skip
def test_each_kind_of_source_has_its_event_and_is_left_as_it_was(make, act, kind, value):
    source = make()
    before = observers(source)

    async def main() -> asyncnb.Occurrence:
        waiting = await begun(asyncnb.event(source))
        assert observers(source) != before
        act(source)
        return await waiting

    found = run_virtual(main())
    assert (found.source, found.kind) == (source, kind)
    assert found.value == value or isinstance(found.value, value)
    assert found.buffers == ((b"b",) if kind == "message" else ())
    assert observers(source) == before


def test_kind_chooses_what_a_widget_is_awaited_for():
    button, slider = ipywidgets.Button(), ipywidgets.IntSlider()

    async def main() -> list[Any]:
        waiting = [
            await begun(asyncnb.event(button, kind="description")),
            await begun(asyncnb.event(slider, kind="message")),
        ]
        button.description, slider.value = "x", 3
        slider._handle_custom_msg("m", [])
        return [(found.kind, found.name, found.value) for found in await asyncio.gather(*waiting)]

    assert run_virtual(main()) == [("change", "description", "x"), ("message", "", "m")]


def test_changed_returns_the_new_value_of_any_trait():
    model = Model()

    async def main() -> Any:
        waiting = await begun(asyncnb.changed(model, "count"))
        model.name = "other"
        model.count = 7
        return await waiting

    assert run_virtual(main()) == 7


def test_an_event_of_another_thread_wakes_a_waiter_on_any_loop():
    button = ipywidgets.Button()

    async def main() -> Any:
        waiting = await begun(asyncnb.event(button))
        await asyncnb.to_thread(button.click)
        return (await waiting).value

    assert asyncio.run(main()) is button


def test_ten_thousand_clicks_from_threads_all_arrive():
    button = ipywidgets.Button()

    async def main() -> int:
        async with asyncnb.values(button) as clicks:
            threads = [
                threading.Thread(target=lambda: [button.click() for _ in range(2500)])
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            found = await listed(clicks, 10_000)
            for thread in threads:
                thread.join()
            assert clicks.dropped == 0
            return len(found)

    assert asyncio.run(main()) == 10_000
    assert observers(button).keys() == observers(ipywidgets.Button()).keys()


@pytest.mark.parametrize(
    ("make", "act", "register"),
    [
        (ipywidgets.Button, lambda w: w.click(), "on_click"),
        (ipywidgets.HBox, lambda w: w._handle_custom_msg({}, []), "on_msg"),
    ],
    ids=["click", "message"],
)
def test_a_wait_that_ends_meanwhile_costs_no_other_callback_its_call(make, act, register):
    widget, heard, ended = make(), [], threading.Event()

    def waits_for_the_end(*_: Any) -> None:
        heard.append(ended.wait(30))

    async def main() -> None:
        waiting = await begun(asyncnb.event(widget))
        waiting.add_done_callback(lambda _: ended.set())
        for callback in (waits_for_the_end, lambda *_: heard.append("last")):
            getattr(widget, register)(callback)
        await asyncnb.to_thread(act, widget)
        await waiting

    asyncio.run(main())
    assert heard == [True, "last"]


def test_a_slow_reader_gets_the_present_value_and_then_the_latest():
    slider = ipywidgets.IntSlider(value=1)

    async def main() -> list[Any]:
        found = []
        async for value in asyncnb.values(slider):
            found.append(value)
            if value == 9:
                return found
            for each in range(value + 1, value + 5):
                slider.value = each
        raise AssertionError

    assert run_virtual(main()) == [1, 5, 9]


def test_of_two_sliders_the_latest_value_of_each_is_kept():
    one, two = ipywidgets.IntSlider(), ipywidgets.IntSlider()

    async def main() -> list[Any]:
        async with asyncnb.values(one, two, initial=False) as stream:
            one.value, two.value, one.value = 1, 2, 3
            return [(each.source, each.value) for each in await listed(stream, 2)]

    assert run_virtual(main()) == [(one, 3), (two, 2)]


def test_a_buffer_keeps_that_many_and_counts_what_it_drops():
    slider = ipywidgets.IntSlider()

    async def main() -> Any:
        async with asyncnb.values(slider, initial=False, buffer=2) as stream:
            for value in (1, 2, 3, 4):
                slider.value = value
            return await listed(stream, 2), stream.dropped

    assert run_virtual(main()) == ([3, 4], 2)


def test_events_that_nothing_reads_are_bounded_and_said(monkeypatch, caplog):
    monkeypatch.setattr(values_module, "MAX_WAITING", 3)
    button = ipywidgets.Button()

    async def main() -> Any:
        async with asyncnb.values(button) as clicks:
            for _ in range(5):
                button.click()
            return clicks.dropped

    assert run_virtual(main()) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "asyncnb.values(): more than 3 events wait to be read; the oldest are dropped"
    ]


# How it ends: nothing is left behind.


@pytest.mark.parametrize("way", ["break", "cancel", "fail", "aclose", "async with", "never begun"])
def test_no_observer_is_left_however_a_stream_ends(way):
    slider = ipywidgets.IntSlider()
    before = observers(slider)

    async def reads(stream: Any) -> None:
        async for _ in stream:
            if way == "break":
                break
            if way == "fail":
                raise LookupError

    async def main() -> None:
        if way == "never begun":
            stream = asyncnb.values(slider)
            assert observers(slider) == before
            del stream
        elif way == "async with":
            async with asyncnb.values(slider) as stream:
                assert await anext(stream) == 0
                assert observers(slider) != before
            assert [each async for each in stream] == []
        elif way == "aclose":
            stream = asyncnb.values(slider)
            task = asyncio.create_task(reads(stream))
            await asyncio.sleep(0)
            assert observers(slider) != before
            await stream.aclose()
            await task
        else:
            task = asyncio.create_task(reads(asyncnb.values(slider)))
            await asyncio.sleep(0)
            if way == "cancel":
                assert observers(slider) != before
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            del task

    run_virtual(main())
    gc.collect()
    assert observers(slider) == before


@pytest.mark.parametrize("way", ["cancel", "timeout", "never begun", "the loop ends"])
def test_no_observer_is_left_however_a_wait_ends(way):
    button = ipywidgets.Button()
    before = observers(button)

    async def main() -> None:
        if way == "never begun":
            asyncnb.event(button).close()
        elif way == "timeout":
            with pytest.raises(TimeoutError, match=r"^no click of Button within 1\.00 s$"):
                await asyncnb.event(button, timeout=1)
        else:
            task = await begun(asyncnb.event(button))
            assert observers(button) != before
            if way == "cancel":
                task.cancel()
                await asyncio.wait([task])

    run_virtual(main())
    assert observers(button) == before


def test_no_observer_is_left_when_a_loop_is_closed_under_a_wait():
    button = ipywidgets.Button()
    before = observers(button)
    loop = asyncio.new_event_loop()
    waiting = [asyncnb.event(button), anext(asyncnb.values(button))]
    tasks = [loop.create_task(begun(each)) for each in waiting]
    waiting = [loop.run_until_complete(each) for each in tasks]
    assert observers(button) != before
    loop.close()
    for task in waiting:
        task._log_destroy_pending = False
    del task, tasks, waiting
    button.click()  # reaches nothing; up to then the button keeps the tasks
    gc.collect()
    assert observers(button) == before


def test_a_widget_that_is_closed_meanwhile_ends_the_wait_with_a_sentence():
    button, slider = ipywidgets.Button(description="Go"), ipywidgets.IntSlider()

    async def main() -> None:
        waiting = await begun(asyncnb.event(button))
        stream = asyncnb.values(slider)
        assert await anext(stream) == 0
        reading = await begun(anext(stream))
        both = await begun(asyncnb.event(button, ipywidgets.Text()))
        button.close()
        slider.close()
        sentence = r"^Button 'Go' was closed; there is no further click of Button 'Go'\.$"
        with pytest.raises(asyncnb.SourceClosedError, match=sentence):
            await waiting
        with pytest.raises(asyncnb.SourceClosedError, match="IntSlider was closed"):
            await reading
        await asyncio.sleep(1)
        assert not both.done()  # the other widget is there
        both.cancel()

    run_virtual(main())
    with pytest.raises(ValueError, match=r"^event\(\): Button 'Go' is closed"):
        asyncnb.event(button).close()


def test_the_callbacks_of_a_comm_are_called_too_and_come_back():
    heard: list[Any] = []
    comm = Comm()
    comm.on_msg(lambda message: heard.append(message["content"]["data"]))
    before = observers(comm)

    async def main() -> list[Any]:
        one, two = await begun(asyncnb.event(comm)), await begun(asyncnb.event(comm))
        comm.receive("a")
        found = [(await each).value for each in (one, two)]
        closing = await begun(asyncnb.event(comm))
        comm.handle_close({})
        with pytest.raises(asyncnb.SourceClosedError, match="comm 'comm' closed"):
            await closing
        return found

    assert run_virtual(main()) == ["a", "a"]
    assert heard == ["a"]
    assert observers(comm) == before


@pytest.mark.parametrize("when", ["while it waits", "before it waits", "by asyncnb.values"])
def test_a_comm_that_code_in_the_kernel_closes_ends_the_wait(when):
    comm = Comm()
    before = observers(comm)

    async def main() -> None:
        wait = anext(asyncnb.values(comm)) if "values" in when else asyncnb.event(comm)
        if when == "before it waits":
            comm.close()
        task = asyncio.ensure_future(wait)
        await asyncio.sleep(0)
        comm.close(data={"a": 1})
        with pytest.raises(asyncnb.SourceClosedError, match="comm 'comm' closed"):
            await task

    run_virtual(asyncio.wait_for(main(), 60))
    assert observers(comm) == before


@pytest.mark.parametrize("kind", [ipywidgets.Button, Comm])
def test_of_two_sources_one_that_is_closed_before_the_wait_begins_does_not_end_it(kind):
    def happens(source: Any) -> None:
        if kind is Comm:
            source.receive("x")
        else:
            source.click()

    async def main() -> None:
        gone, here = kind(), kind()
        waits = [asyncnb.event(gone, here), anext(asyncnb.values(gone, here))]
        gone.close()
        tasks = [await begun(each) for each in waits]
        await asyncio.sleep(1)
        happens(here)
        assert [(await each).source for each in tasks] == [here, here]

    run_virtual(main())


def test_a_callback_that_the_user_sets_meanwhile_stays():
    comm = Comm()

    async def main() -> None:
        waiting = await begun(asyncnb.event(comm))
        comm.on_msg(print)
        waiting.cancel()
        await asyncio.wait([waiting])

    run_virtual(main())
    assert comm._msg_callback is print


def test_ten_thousand_waiters_share_the_callbacks_of_an_object():
    button = ipywidgets.Button()
    before = observers(button)

    async def main() -> None:
        async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
            waiting = [group.create_task(asyncnb.event(button)) for _ in range(10_000)]
            await asyncio.sleep(0)
            assert len(observers(button)["_click_handlers"]) == 1
            for task in waiting[::2]:
                task.cancel()
            await asyncio.sleep(0)
            button.click()

    run_virtual(main())
    assert observers(button) == before
    assert not [name for name in vars(button) if "asyncnb" in name]


def test_unobserve_all_does_not_break_the_end_of_a_wait():
    slider = ipywidgets.IntSlider()

    async def main() -> None:
        waiting = await begun(asyncnb.event(slider))
        slider.unobserve_all("value")
        slider.observe(print, "value")
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()

    run_virtual(main())


def test_two_tasks_cannot_share_a_stream():
    async def main() -> None:
        stream = asyncnb.values(ipywidgets.Button())
        first = await begun(anext(stream))
        with pytest.raises(RuntimeError, match=r"call asyncnb\.values\(\) once for each task"):
            await anext(stream)
        first.cancel()

    run_virtual(main())


def test_a_task_that_was_woken_displaces_no_other_reader_of_its_stream():
    button = ipywidgets.Button()

    async def main() -> None:
        stream = asyncnb.values(button)
        first = await begun(anext(stream))
        button.click()
        assert await anext(stream) is button  # before the first, which is woken, has run
        second = asyncio.ensure_future(anext(stream))
        ends = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        assert [type(task.exception()) for task in ends[0]] == [RuntimeError]
        button.click()
        assert [await task for task in ends[1]] == [button]

    run_virtual(asyncio.wait_for(main(), 60))


# Bad input is refused at the call.


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ((), TypeError, "takes at least one widget"),
        ((5,), TypeError, r"takes a widget, .* not 5 \(int\)\."),
        ((ipywidgets.Button,), TypeError, r"Button is a class: pass an instance, such as Butto"),
        (([ipywidgets.Button()],), TypeError, r"one by one: event\(\*widgets\)"),
        ((ipywidgets.Button().on_click,), TypeError, r"Pass the widget: event\(Button\)"),
        ((asyncio.Event(),), TypeError, r"`await it\.wait\(\)`"),
        (("post_run_cell",), RuntimeError, "%load_ext asyncnb"),
    ],
)  # fmt: skip
def test_what_is_no_source_is_refused_with_a_sentence(given, error, sentence):
    with pytest.raises(error, match=sentence):
        asyncnb.event(*given).close()
    with pytest.raises(error, match=sentence.replace("event", "values")):
        asyncnb.values(*given)


def test_unknown_traits_kinds_and_limits_are_refused_with_a_sentence():
    slider, comm = ipywidgets.IntSlider(), Comm()
    with pytest.raises(ValueError, match=r"IntSlider has no trait 'valu'\. Did you mean 'value'\?"):
        asyncnb.changed(slider, "valu").close()
    with pytest.raises(ValueError, match=r"has no trait 'zzz'\. Its traits: "):
        asyncnb.event(slider, kind="zzz").close()
    with pytest.raises(ValueError, match="IntSlider has no on_click"):
        asyncnb.event(slider, kind="click").close()
    with pytest.raises(ValueError, match="a comm sends messages; omit kind='value'"):
        asyncnb.event(comm, kind="value").close()
    with pytest.raises(TypeError, match="takes the name of a trait such as 'value', not 5"):
        asyncnb.changed(slider, 5).close()  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a widget or another object with traits, not 5"):
        asyncnb.changed(5).close()
    for timeout, error in (("x", TypeError), (-1, ValueError), (math.nan, ValueError)):
        with pytest.raises(error, match="timeout must be"):
            asyncnb.event(slider, timeout=timeout).close()  # type: ignore[arg-type]
    for buffer, error in (("x", TypeError), (True, TypeError), (0, ValueError)):
        with pytest.raises(error, match="buffer must be"):
            asyncnb.values(slider, buffer=buffer)  # type: ignore[arg-type]
