"""The sources of events: how each kind of object reports, and how it is restored.

traitlets, ipywidgets and comm are never imported: an object of theirs can be passed only where they
are imported already. What a source calls is public, except for the two callbacks of a comm, which
has one of each and no way to read it (its ``close()`` calls neither, so that is replaced, too),
and the lists of callbacks of a widget, since no public call removes a callback from them while they
are iterated.
"""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from asyncnb._core import frontend
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.text import one_line
from asyncnb._core.events.occurrence import (
    Disconnect,
    Emit,
    Lost,
    Occurrence,
    occurrence,
)

# Held while observers are added and removed: neither traitlets nor ipywidgets has a lock for that.
_lock = fork_safe_lock()


#: Where an object keeps its hubs while something waits for it; a plain attribute.
_HUBS = "_asyncnb_hubs"


class Source(ABC):
    """One object whose events are awaited. Creating it touches nothing."""

    #: Whether only the latest of several occurrences that has not been read yet is of interest.
    latest = False

    def __init__(self, of: Any) -> None:
        self.of = of

    @abstractmethod
    def connect(self, emit: Emit, lost: Lost) -> Disconnect:
        """Report to ``emit`` from now on; return what ends that, any number of times, anywhere."""

    @abstractmethod
    def describe(self) -> str:
        """Return what is awaited, as text: ``click of Button 'Go'``."""

    def current(self) -> tuple[Any, ...]:
        """Return the occurrences that describe the current state; none for most sources."""
        return ()

    def closed(self) -> str | None:
        """Return why no event can come, or None."""
        return None


class _Hub:
    """The callbacks that asyncnb has attached to one object, for any number of waiters.

    One set for all: adding and removing a callback takes ipywidgets and traitlets longer the more
    there are, and ten thousand waiters a minute.
    """

    def __init__(self) -> None:
        self.listeners: dict[object, Emit] = {}
        #: Those that have not reported yet that the object is closed; each reports it once.
        self.unaware: dict[object, Lost] = {}
        self.undo: list[Callable[[], object]] = []
        self.reason: str | None = None

    def emit(self, found: Occurrence) -> None:
        for emit in list(self.listeners.values()):
            emit(found)

    def lose(self, reason: str) -> None:
        self.reason = self.reason or reason
        for token in list(self.unaware):
            lost = self.unaware.pop(token, None)
            if lost is not None:
                lost(self.reason)

    def detach(self) -> None:
        while self.undo:
            self.undo.pop()()


class _OfObject(Source):
    """A source that calls back; its callbacks are attached for the first waiter, until the last."""

    def connect(self, emit: Emit, lost: Lost) -> Disconnect:
        of, key, token = self.of, self._key(), object()
        with _lock:
            hubs: dict[object, _Hub] = vars(of).setdefault(_HUBS, {})
            hub = hubs.get(key)
            if hub is None:
                hub = hubs[key] = _Hub()
            hub.listeners[token], hub.unaware[token] = emit, lost

        def disconnect() -> None:
            with _lock:
                hub.unaware.pop(token, None)
                if hub.listeners.pop(token, None) is None or hub.listeners:
                    return
                del hubs[key]
                if not hubs:
                    del vars(of)[_HUBS]
                hub.detach()

        try:
            with _lock:
                if not hub.undo:
                    self._attach(hub)
        except BaseException:
            disconnect()
            raise
        if hub.reason is not None:  # it was lost before this listener came
            hub.lose(hub.reason)
        return disconnect

    def _key(self) -> object:
        return type(self)

    @abstractmethod
    def _attach(self, hub: _Hub) -> None:
        """Register callbacks with the object, each with its removal in ``hub.undo``."""


def ipywidgets() -> Any:
    """Return ipywidgets' Widget class if it is imported, else an empty tuple; for isinstance."""
    return getattr(sys.modules.get("ipywidgets"), "Widget", ())


def has_traits() -> Any:
    """Return traitlets' HasTraits class if it is imported, else an empty tuple; for isinstance."""
    return getattr(sys.modules.get("traitlets"), "HasTraits", ())


def comms() -> Any:
    """Return comm's BaseComm class if it is imported, else an empty tuple; for isinstance."""
    return getattr(sys.modules.get("comm.base_comm"), "BaseComm", ())


def label(of: Any) -> str:
    """Return a widget as the user knows it: its class, and the text on it."""
    text = ""
    if isinstance(of, has_traits()):
        for name in ("description", "placeholder"):
            found = getattr(of, name, "")
            if isinstance(found, str) and found:
                text = f" {one_line(found, 30)!r}"
                break
    return f"{type(of).__name__}{text}"


class _OfWidget(_OfObject):
    """A source that is a widget, or another object with traits: notices that it is closed."""

    def closed(self) -> str | None:
        if isinstance(self.of, ipywidgets()) and self.of.comm is None:
            return f"{label(self.of)} is closed"
        return None

    def _attach(self, hub: _Hub) -> None:
        self._listen(hub.emit, hub.undo)
        if isinstance(self.of, ipywidgets()):
            _note_closing(self.of, hub.lose, hub.undo)

    @abstractmethod
    def _listen(self, emit: Emit, undo: list[Callable[[], object]]) -> None: ...


def _note_closing(widget: Any, lost: Lost, undo: list[Callable[[], object]]) -> None:
    def on_comm(change: Any) -> None:  # close() sets it to None
        if change["new"] is None:
            lost(f"{label(widget)} was closed")

    widget.observe(on_comm, "comm")
    undo.append(lambda: _unobserve(widget, on_comm, "comm"))
    comm = widget.comm
    if comm is None:
        lost(f"{label(widget)} was closed")
        return
    undo.append(frontend.current.comm_awaited(comm.comm_id))
    if isinstance(comm, comms()):
        # The page closes a comm without the widget noticing.
        undo.append(_tap(comm, "_close_callback", lambda _: lost(f"{label(widget)} was closed")))


def _unobserve(of: Any, handler: Any, names: Any) -> None:
    with contextlib.suppress(ValueError):  # the user's unobserve_all() has removed it already
        of.unobserve(handler, names)


def _drop(widget: Any, name: str, register: Callable[..., Any], callback: Any) -> None:
    """Remove ``callback`` from the dispatcher ``name`` of a widget."""
    dispatcher: Any = getattr(widget, name, None)
    if isinstance(getattr(dispatcher, "callbacks", None), list):
        # A new list: the thread in which the click arrived goes through the old one, and would skip
        # the user's callback behind this one.
        dispatcher.callbacks = [each for each in dispatcher.callbacks if each is not callback]
    else:
        register(callback, remove=True)


class ClickSource(_OfWidget):
    """The clicks of a button."""

    def _listen(self, emit: Emit, undo: list[Callable[[], object]]) -> None:
        button = self.of

        def on_click(_: Any) -> None:
            emit(occurrence(button, "click", button))

        button.on_click(on_click)
        undo.append(lambda: _drop(button, "_click_handlers", button.on_click, on_click))

    def describe(self) -> str:
        return f"click of {label(self.of)}"


class MessageSource(_OfWidget):
    """The custom messages that the front end's half of a widget sends."""

    def _listen(self, emit: Emit, undo: list[Callable[[], object]]) -> None:
        widget = self.of

        def on_msg(_: Any, content: Any, buffers: Any) -> None:
            emit(occurrence(widget, "message", content, buffers=buffers))

        widget.on_msg(on_msg)
        undo.append(lambda: _drop(widget, "_msg_callbacks", widget.on_msg, on_msg))

    def describe(self) -> str:
        return f"message of {label(self.of)}"


class TraitSource(_OfWidget):
    """Changes of traits: of a widget, or of any other object with traits."""

    latest = True

    def __init__(self, of: Any, names: Sequence[str]) -> None:
        super().__init__(of)
        self.names = list(names)

    def _listen(self, emit: Emit, undo: list[Callable[[], object]]) -> None:
        of, names = self.of, self.names

        def on_change(change: Any) -> None:
            emit(occurrence(of, "change", change["new"], name=change["name"]))

        of.observe(on_change, names)
        undo.append(lambda: _unobserve(of, on_change, names))

    def _key(self) -> object:
        return tuple(self.names)

    def current(self) -> tuple[Any, ...]:
        of = self.of
        return tuple(occurrence(of, "change", getattr(of, name), name=name) for name in self.names)

    def describe(self) -> str:
        what = f"new {self.names[0]}" if len(self.names) == 1 else "change"
        return f"{what} of {label(self.of)}"


class CommSource(_OfObject):
    """The messages of a comm; its value is the data of the message."""

    def closed(self) -> str | None:
        return f"{self._label()} is closed" if self.of._closed else None

    def _attach(self, hub: _Hub) -> None:
        comm = self.of

        def on_msg(message: Any) -> None:
            data, buffers = message["content"].get("data"), message.get("buffers")
            hub.emit(occurrence(comm, "message", data, buffers=buffers))

        def on_close(*_: Any, **__: Any) -> None:
            hub.lose(f"{self._label()} closed")

        hub.undo.append(_tap(comm, "_msg_callback", on_msg))
        hub.undo.append(_tap(comm, "_close_callback", on_close))  # by the page
        hub.undo.append(_tap(comm, "close", on_close))  # by code here
        if comm._closed:  # since the call that was given it
            on_close()
        hub.undo.append(frontend.current.comm_awaited(comm.comm_id))

    def _label(self) -> str:
        return f"comm {self.of.target_name!r}"

    def describe(self) -> str:
        return f"message of {self._label()}"


class _Tap:
    """Replaces a callback or a method of a comm: calls it, and then the listeners."""

    def __init__(self, original: Any, is_own: bool) -> None:
        self.original = original
        #: Whether the comm itself has it, not its class.
        self.is_own = is_own
        self.listeners: tuple[Callable[..., object], ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.original(*args, **kwargs) if self.original is not None else None
        finally:
            for listener in self.listeners:
                listener(*args, **kwargs)


def _tap(comm: Any, name: str, listener: Callable[..., object]) -> Callable[[], object]:
    """Call ``listener`` with what the callback or method ``name`` of ``comm`` receives."""
    tap = getattr(comm, name)
    if not isinstance(tap, _Tap):
        tap = _Tap(tap, name in vars(comm))
        setattr(comm, name, tap)
    tap.listeners += (listener,)

    def undo() -> None:
        tap.listeners = tuple(each for each in tap.listeners if each is not listener)
        if not tap.listeners and getattr(comm, name) is tap:  # else it was replaced meanwhile
            if tap.is_own:
                setattr(comm, name, tap.original)
            else:
                delattr(comm, name)

    return undo


class ShellSource(Source):
    """The events of IPython: a cell begins, a cell has ended."""

    def connect(self, emit: Emit, lost: Lost) -> Disconnect:
        name = self.of

        def on_event(value: Any = None) -> None:
            emit(occurrence(name, "ipython", value, name=name))

        return frontend.current.observe_shell(name, on_event)

    def describe(self) -> str:
        return f"IPython's {self.of}"
