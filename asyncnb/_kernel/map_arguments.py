"""Parses the line of ``%%amap``: a name, ``ITEM in EXPRESSION``, and options on either side."""

from __future__ import annotations

import argparse
import ast
import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from IPython.core.error import UsageError

from asyncnb._core.base.errors import did_you_mean
from asyncnb._kernel.arguments import (
    Parser,
    one_of,
    period,
    target,
    task_names,
    variable,
    without_comment,
    words,
)

MAGIC = "%%amap"
USAGE = (
    "%%amap [NAME] ITEM in EXPRESSION [--limit N] [--rate 60/min] [--retry N] [-t SECONDS] "
    "[--save FILE] [-o VAR] [--on loop|thread|process|EXECUTOR] [--on-error continue|cancel] "
    "[--after NAMES | --after-any NAMES] [--even-if-failed] [--follow] "
    "[-g GROUP] [--again replace|keep|skip|error] [--wait] [--notify] [--show] [--trace] "
    "[--profile] [--quiet]"
)
#: Options of ``%%atask`` that it does not have.
_TIMES = ("--every", "--at", "--cron")

_OPTION = re.compile(r"\s(?=-(?:[a-z]|-[a-z][a-z-]*)(?:[\s=]|$))")
_IN = re.compile(r"\sin(?=[\s(\[{\"'])")


class MapLine(NamedTuple):
    """``target`` is assigned each item of what ``expression`` gives."""

    target: ast.expr
    expression: str
    options: argparse.Namespace


def calls(text: str) -> int:
    """Return a number of calls at a time; for argparse."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(
            f"takes a whole number of calls at a time, 1 or more, not {text!r}"
        )
    return int(text)


def retries(text: str) -> int | str:
    """Return how often to retry, or the name of a variable with a policy; for argparse."""
    if text.isdecimal():
        return int(text)
    if text.isidentifier():
        return text
    raise argparse.ArgumentTypeError(
        f"takes a number of times, or a variable that holds an asyncnb.Retry, not {text!r}"
    )


@functools.cache
def map_parser() -> Parser:
    """Return the parser for the options of ``%%amap``."""
    parser = Parser(MAGIC, USAGE)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--limit", dest="calls", type=calls, metavar="N")
    parser.add_argument("--rate", dest="pace", metavar="60/min")
    parser.add_argument("--retry", type=retries, metavar="N")
    parser.add_argument("-t", "--timeout", type=period, metavar="SECONDS")
    parser.add_argument("--save", metavar="FILE")
    parser.add_argument("-o", "--out", type=variable, metavar="VAR")
    parser.add_argument("--on", type=target)
    parser.add_argument("--on-error", type=one_of("continue", "cancel"), default="continue")
    parser.add_argument("-g", "--group")
    parser.add_argument(
        "--again", type=one_of("replace", "keep", "skip", "error"), default="replace"
    )
    parser.add_argument("--after", type=task_names, metavar="NAMES")
    parser.add_argument("--after-any", type=task_names, metavar="NAMES")
    for flag in ("--even-if-failed", "--follow", "--wait", "--notify"):
        parser.add_argument(flag, action="store_true")
    for flag in ("--show", "--trace", "--profile", "--quiet"):
        parser.add_argument(flag, action="store_true")
    parser.set_defaults(magic=MAGIC)
    return parser


def parse_line(line: str, expand: Callable[[str], str]) -> MapLine:
    """Parse the line of ``%%amap``. ``expand`` expands ``$name`` in options, as other magics do.

    Raises UsageError that says what to write. Evaluates nothing else.
    """
    line = without_comment(line).strip()
    outside = _outside(line)
    found = _IN.search(outside)
    if found is None:
        raise _refuse(f"expected ITEM in EXPRESSION, as in `%%amap url in urls`{_no_in(line)}")
    head, rest = line[: found.start()], line[found.end() :]
    end = _OPTION.search(outside, found.end())
    expression = line[found.end() : end.start()] if end else rest
    after = line[end.start() :] if end else ""
    before, item = _split_head(head)
    given = words(f"{expand(before)} {expand(after)}", MAGIC)
    for word in given:
        if (option := word.partition("=")[0]) in _TIMES:
            raise _refuse(
                f"there is no {option} for many items. Write a cell that begins with `%%atask NAME "
                f"{option} ...` and calls `await asyncnb.map(function, items)`, where the function "
                "is called for each item"
            )
    options = map_parser().parse(given)
    expression = expression.strip()
    _check_expression(expression)
    return MapLine(item, expression, options)


def _split_head(head: str) -> tuple[str, ast.expr]:
    """Split what is before ``in`` into name and options, and the target of the items."""
    starts = [0, *(m.end() for m in re.finditer(r"\s+", _outside(head)))]
    for start in starts:
        item = head[start:].strip()
        if not item or item.startswith("-"):
            continue
        try:
            loop: Any = ast.parse(f"for {item} in _: pass").body[0]
        except SyntaxError:
            continue
        if not isinstance(loop, ast.For) or not _assigns_names_only(loop.target):
            break
        return head[:start], loop.target
    item = head.rsplit(maxsplit=1)[-1] if head.split() else ""
    raise _refuse(
        f"what is before `in` is the variable for an item, or several with commas, not {item!r}"
    )


def _assigns_names_only(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple | ast.List):
        return all(map(_assigns_names_only, node.elts))
    if isinstance(node, ast.Starred):
        return _assigns_names_only(node.value)
    return isinstance(node, ast.Name)


def _check_expression(expression: str) -> None:
    if not expression:
        raise _refuse("after `in` comes what gives the items, as in `%%amap url in urls`")
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError as exc:
        hint = ""
        if re.search(r"\s-", expression):
            hint = ". Put an expression with spaces and minus signs in parentheses"
        if found := re.search(r"--?\w+", expression):
            known = map_parser().options()
            option = did_you_mean(found.group(), known)
            hint = f".{option}" if option else hint
        raise _refuse(f"{expression!r} is not an expression: {exc.msg}{hint}") from None
    if any(isinstance(node, ast.Await) for node in ast.walk(tree)):
        raise _refuse(
            "the expression after `in` is evaluated before the run starts, and cannot "
            "await. Await it in a cell above, and name the variable here"
        )


def _no_in(line: str) -> str:
    return ", or %%atask for a cell that runs once" if not line else f", not {line!r}"


def _refuse(message: str) -> UsageError:
    end = "" if message.endswith("?") else "."
    return UsageError(f"{MAGIC}: {message}{end}\nUsage: {USAGE}")


def _outside(text: str) -> str:
    """Return ``text`` with all that is inside quotes and brackets as underscores."""
    found, quote, depth, skip = [], "", 0, False
    for char in text:
        inside = bool(quote or depth)
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth = max(0, depth - 1)
            inside = False
        found.append("_" if inside else char)
    return "".join(found)
