"""Options: declared once, set by ``%asyncnb option``, traitlets config or the environment.

In this order of precedence: ``%asyncnb option`` (or ``%config AsyncNB``), the configuration
(``c.AsyncNB.history = 50``, ``--AsyncNB.history=50``), the environment (``ASYNCNB_HISTORY=50``),
the default. A bad value in the configuration or the environment is reported in one sentence, and
the value of the next source is used.
"""

from __future__ import annotations

import functools
import html
import math
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from IPython.core.error import UsageError
from traitlets import TraitError, TraitType
from traitlets.config import Configurable

from asyncnb._core.base.errors import did_you_mean
from asyncnb._core.base.sizes import parse_size
from asyncnb._core.base.text import terminal_columns
from asyncnb._kernel.undo import UndoStack

ENVIRONMENT, CONFIG, SET = "environment", "config", "set"


class Kind:  # a NamedTuple, here and below, would take as long as the rest of this file
    """What values an option takes: a description, how to read one, how to write one.

    ``read`` takes a value or its text and raises ValueError for a bad one.
    """

    __slots__ = ("read", "says", "words", "write")

    def __init__(
        self,
        says: str,
        read: Callable[[Any], Any],
        write: Callable[[Any], str] = str,
        words: tuple[str, ...] = (),
    ) -> None:
        self.says = says
        self.read = read
        self.write = write
        self.words = words  # to choose from


class Option:
    """One option. ``apply`` makes a value take effect; without it, the code that needs it reads it.

    ``fixed`` is set if the option cannot change in a running kernel, and says what to do instead.
    """

    __slots__ = ("apply", "default", "fixed", "kind", "meaning", "name")

    def __init__(
        self,
        name: str,
        default: Any,
        kind: Kind,
        meaning: str,
        apply: Callable[[Any], object] | None = None,
        fixed: str = "",
    ) -> None:
        self.name = name
        self.default = default
        self.kind = kind
        self.meaning = meaning
        self.apply = apply
        self.fixed = fixed

    @property
    def variable(self) -> str:
        """The environment variable that sets the option."""
        return f"ASYNCNB_{self.name.upper()}"


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("on", "true", "yes", "1"):
        return True
    if word in ("off", "false", "no", "0"):
        return False
    raise ValueError(value)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    number = float(value)
    if math.isnan(number):
        raise ValueError(value)
    return number


SWITCH = Kind("on or off", _switch, lambda value: "on" if value else "off", ("on", "off"))


def whole_number(lowest: int = 0) -> Kind:
    """Take a whole number, ``lowest`` or more."""

    def read(value: Any) -> int:
        number = _number(value)
        if number < lowest or number != int(number):
            raise ValueError(value)
        return int(number)

    return Kind(f"a whole number, {lowest} or more", read)


def amount(unit: str, *, lowest: float = 0.0, highest: float = 1e6, off: bool = False) -> Kind:
    """Take a number of ``unit`` from ``lowest`` to ``highest``; with ``off``, 0 or "off" too."""
    above = f"{lowest:g} or more" if highest == 1e6 else f"{lowest:g} to {highest:g}"

    def read(value: Any) -> float:
        if off and str(value).strip().lower() in ("off", "0", "0.0", "false"):
            return 0.0
        number = _number(value)
        if not lowest <= number <= highest:
            raise ValueError(value)
        return number

    def write(value: float) -> str:
        return "off" if off and not value else f"{value:g}"

    return Kind(
        f"{unit}, {above}" + (", or off" if off else ""), read, write, ("off",) if off else ()
    )


def _size(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError(value)
    return parse_size(value)


def _write_size(value: int) -> str:
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


#: A number of bytes, with or without a unit.
SIZE = Kind("bytes, such as 500000000, 500MB or 2GB", _size, _write_size)


def one_of(*names: str) -> Kind:
    """Take one of ``names``."""

    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(value)
        return str(value)

    return Kind(f"{', '.join(names[:-1])} or {names[-1]}", read, words=names)


class _Trait(TraitType[Any, Any]):
    """An option as a trait, which reads values and refuses them as ``%asyncnb option`` does."""

    def __init__(self, option: Option, check: Callable[[Option, Any, str], Any]) -> None:
        super().__init__(option.default, help=option.meaning)
        self.info_text = option.kind.says
        self._option = option
        self._check = check

    def validate(self, obj: object, value: Any) -> Any:
        try:
            return self._check(self._option, value, f"AsyncNB.{self._option.name}")
        except ValueError as exc:
            raise TraitError(str(exc)) from None

    def from_string(self, s: str) -> Any:
        return s  # validate() reads text


def _read(option: Option, value: Any, what: str) -> Any:
    try:
        return option.kind.read(value)
    except (ValueError, TypeError, OverflowError):
        shown = repr(str(value)) if isinstance(value, str) else repr(value)
        raise ValueError(f"{what} takes {option.kind.says}, not {shown}.") from None


class Settings:
    """The options of one shell and their values."""

    def __init__(self, ip: Any, options: Sequence[Option]) -> None:
        self.ip = ip
        self.options = {option.name: option for option in options}
        self._sources: dict[str, str] = {}
        #: Whether the values given at startup are in effect; from then on fixed options stay.
        self._taken = False
        traits: dict[str, Any] = {
            name: _Trait(option, self._check).tag(config=True)
            for name, option in self.options.items()
        }
        doc = "Options of asyncnb: see `%asyncnb option`."
        # Made here and not in a class statement, so that each option is declared in one place only.
        self.traits: Any = type("AsyncNB", (Configurable,), {"__doc__": doc, **traits})()

    def install(self) -> None:
        """Apply the values of config and environment, and make ``%config AsyncNB`` work."""
        for option in self.options.values():
            self._take(option)
            self[option.name]  # a trait makes, and checks, its default on first access
        self._taken = True
        self._warn_of_unknown()
        self.traits.observe(self._changed, names=list(self.options))
        self.ip.configurables.append(self.traits)

    def uninstall(self) -> None:
        """Restore the defaults."""
        undo = UndoStack()
        for option in self.options.values():
            if self[option.name] != option.default:
                undo.push(functools.partial(self._apply, option, option.default))
        self.traits.unobserve_all()
        if self.traits in self.ip.configurables:
            self.ip.configurables.remove(self.traits)
        undo.unwind()

    def __getitem__(self, name: str) -> Any:
        return getattr(self.traits, name)

    def source(self, name: str) -> str:
        """Return the source of its value: ``default``, ``environment``, ``config`` or ``set``."""
        return self._sources.get(name, "default")

    def set(self, name: str, text: str) -> None:
        """Set an option from text; raise UsageError, with nothing changed, for a bad one."""
        option = self.find(name)
        try:
            value = self._check(option, text, f"%asyncnb option {name}")
        except ValueError as exc:
            raise UsageError(str(exc)) from None
        setattr(self.traits, name, value)
        self._sources[name] = SET

    def _check(self, option: Option, value: Any, what: str) -> Any:
        """Read ``value``; raise ValueError for a bad one, and for a change of a fixed option."""
        value = _read(option, value, what)
        if option.fixed and self._taken and value != self[option.name]:
            raise ValueError(f"{what}: {option.fixed}")
        return value

    def complete(self, given: Sequence[str]) -> Sequence[str]:
        """Return what can follow the words ``given``: a name, then a value."""
        if not given:
            return list(self.options)
        option = self.options.get(given[0])
        return option.kind.words if option is not None and len(given) == 1 else ()

    def find(self, name: str) -> Option:
        """Return the option ``name``; raise UsageError with similar names."""
        if name not in self.options:
            hint = did_you_mean(name, self.options) or f" Known names: {', '.join(self.options)}."
            raise UsageError(f"%asyncnb option: no option named {name!r}.{hint}")
        return self.options[name]

    def written(self, name: str) -> str:
        """Return the value of an option as the user would write it."""
        return self.options[name].kind.write(self[name])

    def changed(self) -> list[str]:
        """Return ``name=value`` of each option that differs from its default."""
        return [
            f"{name}={self.written(name)}"
            for name, option in self.options.items()
            if self[name] != option.default
        ]

    def table(self, *names: str) -> OptionTable:
        """Return the options as a table."""
        found = [self.find(name) for name in names] or list(self.options.values())
        return OptionTable(
            [
                (
                    o.name,
                    self.written(o.name),
                    o.kind.write(o.default),
                    self.source(o.name),
                    f"{o.meaning} ({o.kind.says})",
                )
                for o in found
            ]
        )

    def _take(self, option: Option) -> None:
        for source, value in self._given(option):
            name = option.variable if source == ENVIRONMENT else f"c.AsyncNB.{option.name}"
            try:
                value = _read(option, value, name)
            except ValueError as exc:
                _warn(str(exc))
                continue
            self._sources[option.name] = source
            if value != option.default:
                setattr(self.traits, option.name, value)
                self._apply(option, value)
            return

    def _given(self, option: Option) -> Iterator[tuple[str, Any]]:
        section = self.ip.config.get("AsyncNB", {})
        if option.name in section:
            value = section[option.name]
            if option.fixed:
                _warn(f"c.AsyncNB.{option.name}: {option.fixed}")
            else:
                yield CONFIG, str(value) if isinstance(value, str) else value
        text = os.environ.get(option.variable, "").strip()
        if text:
            yield ENVIRONMENT, text

    def _warn_of_unknown(self) -> None:
        for name in self.ip.config.get("AsyncNB", {}):
            if name not in self.options:
                _warn(f"c.AsyncNB: no option named {name!r}.{did_you_mean(name, self.options)}")

    def _changed(self, change: Any) -> None:
        # By %asyncnb option, by %config, or by code that holds the object.
        self._sources[change.name] = SET
        self._apply(self.options[change.name], change.new)

    def _apply(self, option: Option, value: Any) -> None:
        if option.apply is not None:
            option.apply(value)


def _warn(sentence: str) -> None:
    print(f"asyncnb: {sentence}", file=sys.stderr)


class OptionTable:
    """The table that ``%asyncnb option`` returns."""

    HEAD = ("option", "value", "default", "source", "meaning")

    def __init__(self, rows: Sequence[tuple[str, ...]]) -> None:
        self.rows = list(rows)

    def __repr__(self) -> str:
        lines = [self.HEAD, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = []
        for *facts, meaning in lines:
            before = (
                "  ".join(f"{cell:<{w}}" for cell, w in zip(facts, widths, strict=False)) + "  "
            )
            room = max(30, (terminal_columns() or 1000) - len(before))
            for part in textwrap.wrap(meaning, room):
                text.append(before + part)
                before = " " * len(before)
        return "\n".join(text)

    def _repr_html_(self) -> str:
        left = "text-align:left;vertical-align:top"
        head = "".join(f'<th scope="col" style="{left}">{name}</th>' for name in self.HEAD)
        rows = "".join(
            "<tr>"
            + "".join(f'<td style="{left}">{html.escape(cell)}</td>' for cell in row)
            + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
