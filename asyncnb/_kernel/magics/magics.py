"""The magics: parse, one call, nothing else."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from asyncnb._core.base.errors import did_you_mean
from asyncnb._kernel.arguments import (
    agroup_parser,
    atask_parser,
    task_name,
    without_comment,
    words,
)

if TYPE_CHECKING:
    from asyncnb._kernel.cells.background import BackgroundCells
    from asyncnb._kernel.magics.control import ControlVerbs
    from asyncnb._kernel.magics.settings import OptionTable, Settings
    from asyncnb._kernel.magics.show import LookVerbs

ASYNCNB_USAGE = (
    "%asyncnb | %asyncnb restart | %asyncnb autoawait on|off | %asyncnb option [NAME [VALUE]]"
)

#: Modules between a magic and the code that calls it, whose variables it may use.
_NOT_THE_USERS = (__name__, "IPython.core.interactiveshell")


@magics_class
class AsyncMagics(Magics):
    """``%%atask``, ``%atask``, ``%%agroup``, ``%tasks`` and ``%asyncnb``."""

    def __init__(
        self,
        shell: Any,
        *,
        background: BackgroundCells,
        status: Callable[[], str],
        restart: Callable[[], str],
        settings: Settings,
        control: ControlVerbs,
        look: LookVerbs,
    ) -> None:
        super().__init__(shell)
        self._background = background
        self._status = status
        self._restart = restart
        self._settings = settings
        self.table = look.table
        self.verbs = {**control.verbs, **look.verbs}
        look.all_verbs = self.verbs
        #: The words of ``%asyncnb``: what each takes after the words given, for completion.
        self.commands: dict[str, Callable[[Sequence[str]], Iterable[str]]] = {
            "restart": lambda given: (),
            "autoawait": lambda given: () if given else ("on", "off"),
            "option": settings.complete,
        }

    def _expanded(self, line: str) -> str:
        """Return ``line`` without its comment, with ``$name`` and ``{expression}`` filled in.

        IPython would fill in the comment, too, and nothing at all if a name there is unknown. A
        value that is filled in has no comment to leave out.
        """
        frame, depth = sys._getframe(), 0
        while frame.f_back is not None and frame.f_globals.get("__name__") in _NOT_THE_USERS:
            frame, depth = frame.f_back, depth + 1
        shell: Any = self.shell
        return str(shell.var_expand(without_comment(line), depth))

    @no_var_expand
    @cell_magic
    def atask(self, line: str, cell: str) -> None:
        """Run this cell in the background, as a task of the embedded loop.

        %%atask [NAME] [-g GROUP] [-t SECONDS] [-o VAR]
                [--on loop|thread|process|kernel|EXECUTOR] [--in A,B]
                [--every SECONDS] [--retry N] [--again replace|keep|skip|error] [--wait]
                [--show] [--trace] [--quiet]

        A cell with top-level await runs on the loop, one without in a worker thread, so that
        blocking code never blocks the loop; --on says otherwise. The cell returns at once; what
        it prints, displays and raises stays under it. The value of its last expression is the
        task's result; -o binds it to a variable. -g puts it into a group, whose tasks are cancelled
        when one of them fails. -t cancels it after that many seconds. --wait
        keeps the cell busy until the task has ended. --trace records its steps, and those of the
        tasks it makes, for %tasks timeline. --show displays the task as one live line. --quiet
        shows no result. Running the cell
        again replaces a task that still lives; --again keep, skip or error says otherwise.
        --every runs the cell again and again, and leaves out rounds for which it is too slow; a
        round that fails is shown and counted. --retry tries again, a little later each time, up
        to N times while it fails: only for work that may be done twice.

        --on process runs it in a worker process, --on VAR where a variable says: an executor of
        threads or processes, a dask client, an ipyparallel view. The variables it reads go along,
        or those that --in names; -o a,b names what comes back. Cancelling it stops the work.
        --on kernel runs it as a task of the kernel's own loop.

            %%atask pages -t 60
            pages = [await client.get(u) for u in urls]
            len(pages)

            %%atask load -o table         # no await: in a thread; the result is in `table`
            pandas.read_csv("big.csv")

            %%atask watch --every 30 --quiet
            await check(server)
        """
        args = atask_parser("%%atask").parse(words(self._expanded(line), "%%atask"))
        if args.name is not None:
            task_name(args.name, "%%atask")
        self._background.launch_cell(f"%%atask {line}".rstrip(), cell, args)

    @no_var_expand
    @line_magic("atask")  # type: ignore[arg-type]  # IPython types the decorator without a name
    def atask_line(self, line: str) -> Any:
        """Start an awaitable in the background and return its Task.

        %atask [NAME] [options of %%atask] EXPRESSION

            t = %atask fetch("https://example.org")
            await t                       # in this cell or any other
            %atask ticker -t 60 tick_for_ever()
            %atask -g downloads fetch("https://example.org/large")
        """
        before, expression = _split_expression(line)
        args = atask_parser("%atask").parse(before)
        if args.name is not None:
            task_name(args.name, "%atask")
        return self._background.launch_expression(expression, args)

    @no_var_expand
    @cell_magic
    def agroup(self, line: str, cell: str) -> None:
        """Run this cell in the background, inside of a task group that other cells can add to.

        %%agroup NAME [-t SECONDS] [--on-error cancel|continue] [--wait] [--show]
        [--trace] [--quiet]

        The cell is the body of `async with TaskGroup() as NAME` on the embedded loop. It ends
        when all tasks of the group have; `%%atask -g NAME` adds one meanwhile. The first failure
        cancels the others, and the cell fails with all failures; --on-error continue lets the
        others go on. -t cancels all of it after that many seconds.

            %%agroup downloads -t 60
            for url in urls:
                downloads.create_task(fetch(url), name=url)

            %atask -g downloads fetch(one_more)      # from another cell
            %tasks wait -g downloads
            %tasks cancel -g downloads
        """
        args = agroup_parser().parse(words(self._expanded(line), "%%agroup"))
        self._background.launch_group(f"%%agroup {line}".rstrip(), cell, args)

    @no_var_expand
    @line_magic
    def tasks(self, line: str) -> Any:
        """Show, cancel, wait for, rename and forget background tasks.

        %tasks                        table of the tasks
        %tasks [--all] [--failed] [-g GROUP] [PATTERN]
        %tasks live                   the dashboard
        %tasks cancel PATTERN...      cancel by name or glob; -g GROUP, --all for all of them
        %tasks wait [PATTERN...] [-g GROUP] [-t SECONDS]   Ctrl-C ends the wait, not the tasks
        %tasks timeout NAME 30        30 s from now; +30 for more, none for no limit
        %tasks pause NAME             hold it; --stop-clock holds asyncnb's time limits too
        %tasks resume NAME            let it go on
        %tasks background             let the cell that awaits now go on as a task; in a cell it
                                      waits its turn, so: Background in the dashboard, a subshell
                                      console opened before, or the first line of the cell
        %tasks output NAME            what it printed, here
        %tasks timeline [PATTERN]     who ran when, who waited for whom
        %tasks stack NAME             where it stands, what it waits for, who waits for it
        %tasks rename OLD NEW
        %tasks clear                  forget the ended ones

            %tasks --all "fetch*"     # with tasks that nobody launched, by name
            %tasks stack pages
            %tasks cancel "fetch*" -m "too slow"
            %tasks wait pages -t 60
        """
        given = words(self._expanded(line), "%tasks")
        if given and given[0] in self.verbs:
            return self.verbs[given[0]](given[1:])
        if len(given) > 1 and (verb := did_you_mean(given[0], self.verbs)):
            usage = "\n       ".join(v.usage for v in (self.table, *self.verbs.values()))
            raise UsageError(f"%tasks has no verb {given[0]!r}.{verb}\nUsage: {usage}")
        return self.table(given)

    @no_var_expand
    @line_magic
    def asyncnb(self, line: str) -> OptionTable | None:
        """Show the state of the embedded loop, or change how cells run.

        %asyncnb                    status: loop, versions, lag, options
        %asyncnb restart            cancel all tasks and start a new loop
        %asyncnb autoawait on|off   cells with await: on the embedded loop, or IPython's own way
        %asyncnb option [NAME]      the options: name, value, default, where it is from, meaning
        %asyncnb option NAME VALUE  set one, as in: %asyncnb option watchdog off

            %asyncnb
            %asyncnb option watchdog off
            %asyncnb autoawait off        # to compare with IPython's own behaviour
            %asyncnb restart              # when a library has left the loop in a bad state
        """
        given = words(self._expanded(line), "%asyncnb")
        match given:
            case []:
                print(self._status())
            case ["restart"]:
                print(self._restart())
            case ["autoawait"]:
                print(f"autoawait is {self._settings.written('autoawait')}")
            case ["autoawait", ("on" | "off") as wanted]:
                self._settings.set("autoawait", wanted)
            case ["option"]:
                return self._settings.table()
            case ["option", name]:
                return self._settings.table(name)
            case ["option", name, value]:
                self._settings.set(name, value)
            case ["option", *_]:
                usage = "%asyncnb option [NAME [VALUE]]"
                raise UsageError(f"%asyncnb option takes a name and one value.\nUsage: {usage}")
            case ["autoawait", *rest]:
                raise UsageError(f"%asyncnb autoawait takes on or off, not {' '.join(rest)!r}.")
            case [word, *_]:
                hint = did_you_mean(word, ("restart", "autoawait", "option"))
                raise UsageError(f"%asyncnb does not know {word!r}.{hint}\nUsage: {ASYNCNB_USAGE}")
        return None


def _split_expression(line: str) -> tuple[list[str], str]:
    """Split the line of ``%atask`` into the words of its options and the expression."""
    rest, before = line.strip(), []
    flags = {"--wait", "--show", "--trace", "--quiet"}
    named = False
    while rest and not rest.startswith("#"):
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
    if not rest or rest.startswith("#"):
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
