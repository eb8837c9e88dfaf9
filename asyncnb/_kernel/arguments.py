"""Parses and checks the option lines of the magics; refuses bad ones with a helpful message."""

from __future__ import annotations

import argparse
import functools
import math
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from IPython.core.error import UsageError

from asyncnb._core.base.errors import did_you_mean
from asyncnb._core.launched.names import invalid_name_reason


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are UsageErrors that suggest the nearest option."""

    def __init__(self, magic: str, usage: str) -> None:
        super().__init__(prog=magic, usage=usage, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of exiting the interpreter."""
        if "not allowed with argument" in message:  # argparse's words for a group of options
            message = "--every, --at and --cron each say when to run; give one of them"
        end = "" if message.endswith(("?", ".")) else "."
        raise UsageError(f"{self.prog}: {message}{end}\nUsage: {self.usage}")

    def options(self) -> list[str]:
        """Return all option strings."""
        return [o for action in self._actions for o in action.option_strings]

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse ``words``; raise UsageError for anything unknown."""
        try:
            found, rest = self.parse_known_args(list(words))
        except argparse.ArgumentError as exc:
            self.error(str(exc))
        for word in rest:
            if word.startswith("-"):
                self.error(f"there is no option {word!r}.{did_you_mean(word, self.options())}")
            self.error(f"unexpected argument {word!r}; a name with a space needs quotes")
        for action in self._actions:
            # argparse gives this for `-g--` and `-- -g --` up to 3.12, where two dashes separate.
            if action.nargs in (None, "?") and vars(found)[action.dest] == []:
                what = "/".join(action.option_strings) or action.dest
                self.error(f"argument {what}: takes a value, not '--'")
        return found


def comment_start(line: str) -> int | None:
    """Return where a trailing comment starts: a ``#`` between words, outside of quotes.

    A ``#`` inside a word, as in ``page#3``, belongs to the word. None without a comment.
    """
    quote, between = "", True
    characters = iter(enumerate(line))
    for at, char in characters:
        if char == "#" and between and not quote:
            return at
        if char == "\\" and quote != "'":
            next(characters, None)  # the next character is literal
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        between = char in " \t\r\n"
    return None


def without_comment(line: str) -> str:
    """Return ``line`` up to its trailing comment."""
    return line[: comment_start(line)]


def words(line: str, magic: str) -> list[str]:
    """Split an option line as a shell would; raise UsageError for an unclosed quote."""
    try:
        return shlex.split(line)
    except ValueError as exc:
        raise UsageError(f"{magic}: {exc} in {line!r}.") from None


def seconds(text: str) -> float:
    """Return a number of seconds; for argparse."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"takes seconds, such as 2.5 or 60, not {text!r}"
        ) from None
    if math.isnan(value) or value < 0:
        raise argparse.ArgumentTypeError(f"takes 0 or more seconds, not {text!r}")
    return value


def limit(text: str) -> tuple[float | None, bool]:
    """Return a time limit and whether to add it: ``30``, ``+30`` or ``none``; for argparse."""
    if text.lower() == "none":
        return None, False
    try:
        return seconds(text.removeprefix("+")), text.startswith("+")
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"takes seconds from now such as 30, seconds more such as +30, or none, not {text!r}"
        ) from None


def variable(text: str) -> str:
    """Return the name of a variable; for argparse."""
    import keyword

    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"takes the name of a variable, not {text!r}")
    return text


def one_of(*choices: str) -> Any:
    """Return an argparse type that takes one of ``choices``, or suggests the nearest one."""

    def check(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(
                f"takes {', '.join(choices[:-1])} or {choices[-1]}, not {text!r}."
                f"{did_you_mean(text, choices)}"
            )
        return text

    check.choices = choices  # type: ignore[attr-defined]  # for completion
    return check


def period(text: str) -> float:
    """Return the seconds between two rounds; for argparse."""
    value = seconds(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"takes seconds above 0, such as 0.5 or 60, not {text!r}")
    return value


def moment(text: str) -> float:
    """Return when to run, as ``time.time()``; for argparse."""
    import time

    from asyncnb._core.repeating.local_time import parse_time

    try:
        return parse_time(text, time.time())
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def cron_line(text: str) -> Any:
    """Return the schedule of a line of crontab; for argparse."""
    from asyncnb._kernel.cron import CronSchedule

    try:
        return CronSchedule(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


#: The longest profile that a cell waits for, in seconds.
MAX_PROFILE = 3600.0


def profile_seconds(text: str) -> float:
    """Return for how many seconds to profile; for argparse."""
    value = seconds(text)
    if not 0 < value <= MAX_PROFILE:
        raise argparse.ArgumentTypeError(
            f"takes seconds above 0, {MAX_PROFILE:g} at most, such as 5, not {text!r}"
        )
    return value


def times(text: str) -> int:
    """Return how often to retry; for argparse."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"takes a number of times, 1 or more, not {text!r}")
    return int(text)


def variables(text: str) -> list[str]:
    """Return the names of variables with commas between them; for argparse."""
    return [variable(part.strip()) for part in text.split(",")]


def task_names(text: str) -> list[str]:
    """Return the names of tasks or groups with commas between them; for argparse."""
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(
            f"takes names of tasks or groups with commas between them, such as load,fetch, not "
            f"{text!r}"
        )
    return names


#: Where a cell can run, besides an executor that a variable names.
TARGETS = ("loop", "thread", "kernel", "process")


def target(text: str) -> str:
    """Return one of TARGETS or the name of a variable; for argparse."""
    if text not in TARGETS and not text.isidentifier():
        raise argparse.ArgumentTypeError(
            f"takes {', '.join(TARGETS)} or a variable that holds an executor, a dask client or an "
            f"ipyparallel view, not {text!r}.{did_you_mean(text, TARGETS)}"
        )
    return text


ATASK_USAGE = (
    "%%atask [NAME] [-g GROUP] [-t SECONDS] [-o VAR] [--on loop|thread|process|kernel|EXECUTOR] "
    "[--in A,B] [--every SECONDS] [--at TIME] [--cron LINE] [--retry N] "
    "[--after NAMES | --after-any NAMES] [--even-if-failed] [--follow] "
    "[--again replace|keep|skip|error] [--wait] [--notify] [--show] [--trace] [--profile] "
    "[--quiet]"
)


@functools.cache  # creating it takes longer than a launch, and parsing does not change it
def atask_parser(magic: str) -> Parser:
    """Return the parser for the options of ``%%atask`` and ``%atask``."""
    usage = ATASK_USAGE if magic == "%%atask" else ATASK_USAGE[1:] + " EXPRESSION"
    parser = Parser(magic, usage)
    parser.add_argument("name", nargs="?")
    parser.add_argument("-g", "--group")
    parser.add_argument("-t", "--timeout", type=seconds, metavar="SECONDS")
    parser.add_argument("-o", "--out", type=variables, metavar="VAR")
    parser.add_argument("--on", type=target)
    parser.add_argument("--in", dest="sent", type=variables, metavar="A,B")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--every", type=period, metavar="SECONDS")
    when.add_argument("--at", type=moment, metavar="TIME")
    when.add_argument("--cron", type=cron_line, metavar="LINE")
    parser.add_argument("--retry", type=times, metavar="N")
    parser.add_argument("--after", type=task_names, metavar="NAMES")
    parser.add_argument("--after-any", type=task_names, metavar="NAMES")
    parser.add_argument("--even-if-failed", action="store_true")
    parser.add_argument("--follow", action="store_true")
    parser.set_defaults(magic=magic)
    parser.add_argument(
        "--again", type=one_of("replace", "keep", "skip", "error"), default="replace"
    )
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--notify", action="store_true")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    return parser


AGROUP_USAGE = (
    "%%agroup NAME [-t SECONDS] [--on-error cancel|continue] [--wait] [--notify] [--show] "
    "[--trace] [--quiet]"
)


@functools.cache
def agroup_parser() -> Parser:
    """Return the parser for the options of ``%%agroup``; ``%%atask``'s other ones are set."""
    parser = Parser("%%agroup", AGROUP_USAGE)
    parser.add_argument("name", type=variable)
    parser.add_argument("-t", "--timeout", type=seconds, metavar="SECONDS")
    parser.add_argument("--on-error", type=one_of("cancel", "continue"), default="cancel")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--notify", action="store_true")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    parser.set_defaults(out=None, on="loop", again="replace", group=None, every=None, retry=None)
    parser.set_defaults(profile=False, at=None, cron=None, after=None, after_any=None)
    parser.set_defaults(even_if_failed=False, follow=False)
    return parser


def task_name(text: str, magic: str, *, what: str = "task") -> str:
    """Return ``text`` if it can name a task: it can be typed, and is no pattern or option."""
    if problem := invalid_name_reason(text, what):
        raise UsageError(f"{magic}: {problem}")
    return text
