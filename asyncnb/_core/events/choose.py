"""Choose the source for what ``event``, ``changed`` and ``values`` are given, or refuse it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from asyncnb._core import frontend
from asyncnb._core.base.errors import did_you_mean
from asyncnb._core.base.text import brief_value
from asyncnb._core.events.sources import (
    ClickSource,
    CommSource,
    MessageSource,
    ShellSource,
    Source,
    TraitSource,
    comms,
    has_traits,
    ipywidgets,
    label,
)

#: The traits that say what a widget is about, of which the first that it has is awaited.
MAIN_TRAITS = ("value", "outputs", "selected_index")


def sources_of(call: str, given: Sequence[Any], kind: str | None) -> list[Source]:
    """Return a source for each of ``given``; raise TypeError or ValueError with a sentence.

    ``kind`` is ``"click"``, ``"message"``, the name of a trait or None for what each is about.
    """
    if not given:
        raise TypeError(f"{call}() takes at least one widget, comm or name of an IPython event.")
    if kind is not None and not isinstance(kind, str):
        raise TypeError(
            f"{call}(kind=...) takes 'click', 'message' or the name of a trait, not "
            f"{brief_value(kind)}."
        )
    found = [_source_of(call, each, kind) for each in given]
    for source in found:
        if reason := source.closed():
            raise ValueError(f"{call}(): {reason}, so nothing will happen there any more.")
    return found


def trait_source(call: str, of: Any, name: Any) -> TraitSource:
    """Return the source of the changes of one trait; raise TypeError or ValueError."""
    if not isinstance(of, has_traits()):
        raise TypeError(_refusal(call, of, "a widget or another object with traits"))
    if not isinstance(name, str):
        raise TypeError(
            f"{call}() takes the name of a trait such as 'value', not {brief_value(name)}."
        )
    if not of.has_trait(name):
        raise ValueError(_no_trait(call, of, name))
    return TraitSource(of, [name])


def _source_of(call: str, of: Any, kind: str | None) -> Source:
    if isinstance(of, str):
        return _shell_source(call, of, kind)
    if isinstance(of, comms()):
        if kind not in (None, "message"):
            raise ValueError(f"{call}(): a comm sends messages; omit kind={kind!r}.")
        return CommSource(of)
    if not isinstance(of, has_traits()):
        expected = "a widget, an object with traits, a comm or the name of an IPython event"
        raise TypeError(_refusal(call, of, expected))
    is_widget = isinstance(of, ipywidgets())
    clicks = is_widget and callable(getattr(of, "on_click", None))
    if kind == "click" or (kind is None and clicks):
        if not clicks:
            raise ValueError(f"{call}(): {label(of)} has no on_click.{_ways(of)}")
        return ClickSource(of)
    if kind == "message" and is_widget and not of.has_trait("message"):
        return MessageSource(of)
    if kind is not None:
        if not of.has_trait(kind):
            raise ValueError(_no_trait(call, of, kind))
        return TraitSource(of, [kind])
    for name in MAIN_TRAITS:
        if of.has_trait(name):
            return TraitSource(of, [name])
    if is_widget:
        return MessageSource(of)
    names = of.trait_names()
    if not names:
        raise TypeError(f"{call}(): {label(of)} has no traits, so none can change.")
    return TraitSource(of, names)


def _shell_source(call: str, name: str, kind: str | None) -> Source:
    if kind is not None:
        raise ValueError(f"{call}({name!r}): kind= is for widgets; omit it.")
    known = frontend.current.shell_events()
    if name in known:
        return ShellSource(name)
    if not known:
        raise RuntimeError(
            f"{call}({name!r}): a text names an event of IPython, and asyncnb is loaded into none "
            "here; run `%load_ext asyncnb` in a notebook first."
        )
    raise ValueError(
        f"{call}(): IPython has no event {name!r}.{did_you_mean(name, known)} Known names: "
        f"{', '.join(known)}."
    )


def _no_trait(call: str, of: Any, name: str) -> str:
    names = [each for each in of.trait_names() if not each.startswith("_")]
    return f"{call}(): {label(of)} has no trait {name!r}.{did_you_mean(name, names) or _ways(of)}"


def _ways(of: Any) -> str:
    names = [each for each in of.trait_names() if not each.startswith("_")]
    shown = ", ".join(sorted(names)[:12])
    return f" Its traits: {shown}{', ...' if len(names) > 12 else ''}." if names else ""


def _refusal(call: str, of: Any, expected: str) -> str:
    """Return the sentence for what cannot be a source, with what was probably meant."""
    hint = ""
    if isinstance(of, type) and issubclass(of, has_traits() or ()):
        hint = f" {of.__name__} is a class: pass an instance, such as {of.__name__}()."
    elif isinstance(of, list | tuple | set | frozenset):
        hint = f" Several are passed one by one: {call}(*widgets)."
    elif inspect.isawaitable(of) or hasattr(of, "__aiter__"):
        way = "`await` it" if inspect.isawaitable(of) else "iterate it with `async for`"
        hint = f" It is asynchronous already: {way} without {call}()."
    elif inspect.ismethod(of) and isinstance(of.__self__, has_traits() or ()):
        hint = f" Pass the widget: {call}({label(of.__self__)})."
    elif callable(getattr(of, "wait", None)) and callable(getattr(of, "set", None)):
        hint = " An Event of asyncio is awaited with `await it.wait()`."
    return f"{call}() takes {expected}, not {brief_value(of)}.{hint}"
