"""The magics: parse, one call, nothing else."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from asyncnb._core import _launch
from asyncnb._core._errors import TaskNotFoundError, near
from asyncnb._core._info import ENDED
from asyncnb._core._registry import TaskRecord
from asyncnb._kernel._options import Parser, atask_parser, seconds, task_name, words
from asyncnb._kernel._table import TaskTable

if TYPE_CHECKING:
    from asyncnb._kernel._background import BackgroundCells

TASKS_USAGE = """%tasks [--all] [--failed] [PATTERN]
       %tasks cancel PATTERN... | --all  [-m MESSAGE]
       %tasks wait [PATTERN...] [-t SECONDS]
       %tasks output NAME
       %tasks rename OLD NEW
       %tasks clear"""

ASYNCNB_USAGE = "%asyncnb | %asyncnb restart | %asyncnb autoawait on|off"


@magics_class
class AsyncMagics(Magics):
    """``%%atask``, ``%atask``, ``%tasks`` and ``%asyncnb``."""

    def __init__(
        self,
        shell: Any,
        *,
        background: BackgroundCells,
        status: Callable[[], str],
        restart: Callable[[], str],
        autoawait: Callable[[bool | None], bool],
        deliver: Callable[[], None],
        show_output: Callable[[TaskRecord], None],
    ) -> None:
        super().__init__(shell)
        self._background = background
        self._status = status
        self._restart = restart
        self._autoawait = autoawait
        self._deliver = deliver
        self._show_output = show_output
        self._verbs: dict[str, Callable[[list[str]], Any]] = {
            "cancel": self._cancel,
            "wait": self._wait,
            "output": self._output,
            "rename": self._rename,
            "clear": self._clear,
        }

    @cell_magic
    def atask(self, line: str, cell: str) -> None:
        """Run this cell in the background, as a task of the embedded loop.

        %%atask [NAME] [-t SECONDS] [-o VAR] [--on loop|thread]
                [--again replace|keep|skip|error] [--wait] [--quiet]

        A cell with top-level await runs on the loop, one without in a worker thread, so that
        blocking code never blocks the loop; --on says otherwise. The cell returns at once; what
        it prints, displays and raises stays under it. The value of its last expression is the
        task's result; -o binds it to a variable. -t cancels it after that many seconds. --wait
        keeps the cell busy until the task has ended. --quiet shows no result. Running the cell
        again replaces a task that still lives; --again keep, skip or error says otherwise.

            %%atask pages -t 60
            pages = [await client.get(u) for u in urls]
            len(pages)
        """
        args = atask_parser("%%atask").parse(words(line, "%%atask"))
        if args.name is not None:
            task_name(args.name, "%%atask")
        self._background.launch_cell(f"%%atask {line}".rstrip(), cell, args)

    @no_var_expand
    @line_magic("atask")  # type: ignore[arg-type]  # IPython types the decorator without a name
    def atask_line(self, line: str) -> Any:
        """Start an awaitable in the background and return its Task.

        %atask [NAME] [options of %%atask] EXPRESSION

            t = %atask fetch("https://example.org")
            %atask ticker -t 60 tick_for_ever()
        """
        before, expression = _split_expression(line)
        args = atask_parser("%atask").parse(before)
        if args.name is not None:
            task_name(args.name, "%atask")
        return self._background.launch_expression(expression, args)

    @line_magic
    def tasks(self, line: str) -> Any:
        """Show, cancel, wait for, rename and forget background tasks.

        %tasks                        table of the tasks
        %tasks [--all] [--failed] [PATTERN]
        %tasks cancel PATTERN...      cancel by name or glob; --all for all of them
        %tasks wait [PATTERN...] [-t SECONDS]   Ctrl-C ends the wait, not the tasks
        %tasks output NAME            what it printed, here
        %tasks rename OLD NEW
        %tasks clear                  forget the ended ones
        """
        given = words(line, "%tasks")
        if given and given[0] in self._verbs:
            return self._verbs[given[0]](given[1:])
        if len(given) > 1 and (verb := near(given[0], self._verbs)):
            raise UsageError(f"%tasks has no verb {given[0]!r}.{verb}\nUsage: {TASKS_USAGE}")
        parser = Parser("%tasks", TASKS_USAGE)
        parser.add_argument("pattern", nargs="?", default="*")
        parser.add_argument("--all", action="store_true")
        parser.add_argument("--failed", action="store_true")
        args = parser.parse(given)
        found = list(_launch.registry.match(args.pattern))
        if args.pattern != "*" and not found:
            verb = near(args.pattern, self._verbs)
            if verb:
                raise UsageError(
                    f"%tasks has no verb {args.pattern!r}, and no task is called so.{verb}"
                )
            raise UsageError(_launch.registry.nothing_matches(args.pattern))
        infos = [record.info() for record in found]
        if args.failed:
            infos = [info for info in infos if info.state == "failed"]
        if args.all:
            infos += self._background.other_tasks()
        return TaskTable(infos, empty="No failed tasks." if args.failed else "No tasks.")

    def _cancel(self, given: list[str]) -> None:
        parser = Parser("%tasks cancel", "%tasks cancel PATTERN... | --all  [-m MESSAGE]")
        parser.add_argument("patterns", nargs="*")
        parser.add_argument("--all", action="store_true")
        parser.add_argument("-m", "--message")
        args = parser.parse(given)
        if args.all:
            if args.patterns:
                parser.error("--all means every task, so it takes no names")
            asked = _launch.cancel_records(_launch.registry.living(), args.message)
        elif not args.patterns:
            parser.error("it takes the names of tasks, or --all")
        else:
            with _as_usage_error():
                asked = _launch.cancel(*args.patterns, msg=args.message)
        print(_count(len(asked), "task") + (" asked to cancel" if asked else " to cancel"))

    def _wait(self, given: list[str]) -> None:
        parser = Parser("%tasks wait", "%tasks wait [PATTERN...] [-t SECONDS]")
        parser.add_argument("patterns", nargs="*")
        parser.add_argument("-t", "--timeout", type=seconds)
        args = parser.parse(given)
        with _as_usage_error():
            records = (
                self._records(args.patterns)
                if args.patterns
                else _launch.registry.failed_unseen() + _launch.registry.living()
            )
        try:
            self._background.wait(records, args.timeout)
        finally:
            self._deliver()

    def _records(self, patterns: list[str]) -> list[TaskRecord]:
        found: dict[int, TaskRecord] = {}
        for pattern in patterns:
            matching = list(_launch.registry.match(pattern))
            if not matching:
                raise TaskNotFoundError(_launch.registry.nothing_matches(pattern))
            # A name that was used before means the task that has it now.
            living = [r for r in matching if r.state() not in ENDED]
            found |= {r.id: r for r in living or matching[-1:]}
        return list(found.values())

    def _output(self, given: list[str]) -> None:
        parser = Parser("%tasks output", "%tasks output NAME")
        parser.add_argument("name")
        args = parser.parse(given)
        with _as_usage_error():
            record = _launch.registry.find(args.name)
        self._show_output(record)

    def _rename(self, given: list[str]) -> None:
        parser = Parser("%tasks rename", "%tasks rename OLD NEW")
        parser.add_argument("old")
        parser.add_argument("new")
        args = parser.parse(given)
        task_name(args.new, "%tasks rename")
        with _as_usage_error():
            record = _launch.registry.find(args.old)
        if any(r is not record for r in _launch.registry.match(args.new) if r.state() not in ENDED):
            raise UsageError(f"%tasks rename: another living task is called {args.new!r}.")
        record.task.set_name(args.new)

    def _clear(self, given: list[str]) -> None:
        Parser("%tasks clear", "%tasks clear").parse(given)
        print(f"{_count(_launch.registry.forget_ended(), 'ended task')} forgotten")

    @line_magic
    def asyncnb(self, line: str) -> None:
        """Show the state of the embedded loop, or change how cells run.

        %asyncnb                    status: loop, versions, lag, options
        %asyncnb restart            cancel all tasks and start a new loop
        %asyncnb autoawait on|off   cells with await: on the embedded loop, or IPython's own way
        """
        given = words(line, "%asyncnb")
        match given:
            case []:
                print(self._status())
            case ["restart"]:
                print(self._restart())
            case ["autoawait"]:
                print(f"autoawait is {'on' if self._autoawait(None) else 'off'}")
            case ["autoawait", ("on" | "off") as wanted]:
                self._autoawait(wanted == "on")
            case ["autoawait", *rest]:
                raise UsageError(f"%asyncnb autoawait takes on or off, not {' '.join(rest)!r}.")
            case [word, *_]:
                hint = near(word, ("restart", "autoawait"))
                raise UsageError(f"%asyncnb does not know {word!r}.{hint}\nUsage: {ASYNCNB_USAGE}")


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


class _as_usage_error:
    """Turns a name that matches nothing into the one-line error of a magic."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None:
        if isinstance(exc, TaskNotFoundError):
            raise UsageError(str(exc)) from None


def _split_expression(line: str) -> tuple[list[str], str]:
    """Split the line of ``%atask`` into the words of its options and the expression."""
    rest, before = line.strip(), []
    flags = {"--wait", "--quiet"}
    named = False
    while rest:
        word, _, after = rest.partition(" ")
        if word.startswith("-") and not _is_expression(rest):
            before.append(word)
            rest = after.strip()
            if word not in flags and "=" not in word:
                value, _, rest = rest.partition(" ")
                before.append(value)
                rest = rest.strip()
        elif not named and not _is_expression(rest) and _is_expression_after_options(after):
            named = True
            before.append(word)
            rest = after.strip()
        else:
            break
    if not rest:
        raise UsageError(
            "%atask: it takes an expression that gives an awaitable, such as "
            "`%atask fetch(url)`; for a whole cell write %%atask."
        )
    return before, rest


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return False
    return True


def _is_expression_after_options(text: str) -> bool:
    return bool(text.strip()) and (text.strip().startswith("-") or _is_expression(text))
