"""The magics. Each parses its line and makes one call."""

from __future__ import annotations

import ast
import functools
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

if TYPE_CHECKING:
    from asyncnb._kernel.cells.background import BackgroundCells
    from asyncnb._kernel.magics.settings import OptionTable, Settings
    from asyncnb._kernel.magics.verbs import Verb

ASYNCNB_USAGE = (
    "%asyncnb | %asyncnb restart | %asyncnb autoawait on|off | %asyncnb option [NAME [VALUE]]"
)

#: What other programs call a verb of ``%tasks``, and the terminal's `asyncnb logs`.
_MEANT = {"stop": "cancel", "kill": "cancel", "logs": "output", "log": "output"}

#: Modules whose frames lie between a magic and the code that calls it, whose variables it may use.
_NOT_THE_USERS = (__name__, "IPython.core.interactiveshell")


@magics_class
class AsyncMagics(Magics):
    """``%%atask``, ``%atask``, ``%%agroup``, ``%tasks`` and ``%asyncnb``."""

    def __init__(
        self,
        shell: Any,
        *,
        background: Callable[[], BackgroundCells],
        status: Callable[[], str],
        restart: Callable[[], str],
        settings: Settings,
        tasks_verbs: Callable[[], tuple[Verb, dict[str, Verb]]],
    ) -> None:
        super().__init__(shell)
        self._background = background
        self._status = status
        self._restart = restart
        self._settings = settings
        self._tasks_verbs = tasks_verbs
        #: The words of ``%asyncnb``, and what each takes after the words given; for completion.
        self.commands: dict[str, Callable[[Sequence[str]], Iterable[str]]] = {
            "restart": lambda given: (),
            "autoawait": lambda given: () if given else ("on", "off"),
            "option": settings.complete,
        }

    @functools.cached_property
    def _made_verbs(self) -> tuple[Verb, dict[str, Verb]]:
        # When first needed: what they import is a tenth of loading.
        return self._tasks_verbs()

    @property
    def table(self) -> Verb:
        """What ``%tasks`` without a verb does."""
        return self._made_verbs[0]

    @property
    def verbs(self) -> dict[str, Verb]:
        """The verbs of ``%tasks``, by name."""
        return self._made_verbs[1]

    def _expanded(self, line: str) -> str:
        """Return ``line`` without its comment, with ``$name`` and ``{expression}`` expanded.

        IPython itself would expand the comment as well, and expand nothing at all if the comment
        contains an unknown name. A ``#`` in an expanded value does not start a comment.
        """
        from asyncnb._kernel.arguments import without_comment

        frame, depth = sys._getframe(), 0
        while frame.f_back is not None and frame.f_globals.get("__name__") in _NOT_THE_USERS:
            frame, depth = frame.f_back, depth + 1
        shell: Any = self.shell
        return str(shell.var_expand(without_comment(line), depth))

    @no_var_expand
    @cell_magic
    def atask(self, line: str, cell: str) -> None:
        """Run this cell in the background, as a task on the embedded loop.

        %%atask [NAME] [-g GROUP] [-t SECONDS] [-o VAR]
                [--on loop|thread|process|kernel|EXECUTOR] [--in A,B]
                [--every SECONDS | --at TIME | --cron LINE] [--retry N]
                [--after NAMES | --after-any NAMES] [--even-if-failed] [--follow]
                [--again replace|keep|skip|error] [--wait] [--notify] [--show] [--trace]
                [--profile] [--quiet]

        A cell with top-level await runs on the loop. A cell without await runs in a worker thread,
        so that blocking code never blocks the loop. --on chooses another place. The cell returns
        immediately; everything it prints, displays or raises later appears under it. The value of
        its last expression is the task's result, and -o binds it to a variable. -g adds the task
        to a group, whose tasks are cancelled when one of them fails. -t sets a timeout in seconds.
        --wait keeps the cell busy until the task has ended. --trace records the steps of the task
        and of the tasks it creates, for %tasks timeline. --profile shows under the cell, when the
        task ends, where its time went. --show displays the task as one live line. --notify shows a
        notification in the browser when the task ends. --quiet hides the result. Running the cell
        again replaces its task if that is still running; --again keep, skip or error changes that.
        --every repeats the cell every SECONDS, and skips rounds for which it is too slow; a round
        that fails is shown and counted. --retry runs it again if it fails, up to N times and after
        a longer pause each time: use it only for work that may be done twice.

        --after load,fetch starts the cell when these tasks, or all tasks of these groups, are done;
        -t counts from then on. If one of them fails or is cancelled, the cell does not run, and
        says why; with --even-if-failed it runs when all of them have ended. --after-any starts it
        when the first of them is done. --follow runs the cell again whenever one of them is run
        again; %tasks unfollow ends that, %tasks graph draws it.

        --at 09:00 runs the cell once, when the clock shows this time next; "2026-12-01 09:00", in
        quotes, names a date. --cron "0 9 * * MON-FRI" repeats it as cron would (minute, hour, day
        of month, month, day of week; or @hourly, @daily, @weekly, @monthly); it needs the package
        cronsim, which asyncnb[cron] installs. Times are local. -t is then the limit of each run.
        If the machine was asleep then, or an earlier run took too long, one run makes up for all
        that were missed; a restart of the kernel ends the wait. %tasks shows the next run.

        --on process runs the cell in a worker process. --on VAR runs it on the executor in that
        variable: an executor of threads or processes, a dask client or an ipyparallel view. The
        variables that the cell reads are sent with it, or only those that --in names; -o a,b names
        the variables to bring back. Cancelling the task stops the work. --on kernel runs the cell
        as a task on the kernel's own loop.

            %%atask fetch -t 60
            pages = [await client.get(u) for u in urls]
            len(pages)

            %%atask load -o table         # no await: runs in a thread; the result is in `table`
            pandas.read_csv("big.csv")

            %%atask watch --every 30 --quiet
            await check(server)

            %%atask clean --after load --follow
            clean = table.dropna()
        """
        # Here, as in the other magics, and not above: loading does not wait for the parsers.
        from asyncnb._kernel.arguments import atask_parser, task_name, words

        args = atask_parser("%%atask").parse(words(self._expanded(line), "%%atask"))
        if args.name is not None:
            task_name(args.name, "%%atask")
        self._background().launch_cell(f"%%atask {line}".rstrip(), cell, args)

    @no_var_expand
    @line_magic("atask")  # type: ignore[arg-type]  # IPython types the decorator without a name
    def atask_line(self, line: str) -> Any:
        """Start an awaitable in the background and return its Task.

        %atask [NAME] [options of %%atask] EXPRESSION

            t = %atask fetch("https://example.org")
            await t                       # in this cell or any other
            %atask ticker -t 60 tick_forever()
            %atask -g downloads fetch("https://example.org/large")
        """
        from asyncnb._kernel.arguments import atask_parser, task_name

        before, expression = _split_expression(line)
        args = atask_parser("%atask").parse(before)
        if args.name is not None:
            task_name(args.name, "%atask")
        return self._background().launch_expression(expression, args)

    @no_var_expand
    @cell_magic
    def agroup(self, line: str, cell: str) -> None:
        """Run this cell in the background, inside a task group that other cells can add to.

        %%agroup NAME [-t SECONDS] [--on-error cancel|continue] [--wait] [--notify] [--show]
        [--trace] [--quiet]

        The cell is the body of `async with TaskGroup() as NAME` on the embedded loop. It ends when
        all tasks of the group have ended; until then `%%atask -g NAME` adds a task to the group.
        The first failure cancels the other tasks, and the cell fails with all failures;
        with --on-error continue the other tasks keep running. -t sets a timeout for the whole
        group, in seconds.

            %%agroup downloads -t 60
            for url in urls:
                downloads.create_task(fetch(url), name=url)

            %atask -g downloads fetch(one_more)      # from another cell
            %tasks wait -g downloads
            %tasks cancel -g downloads
        """
        from asyncnb._kernel.arguments import agroup_parser, words

        args = agroup_parser().parse(words(self._expanded(line), "%%agroup"))
        self._background().launch_group(f"%%agroup {line}".rstrip(), cell, args)

    @no_var_expand
    @cell_magic
    def amap(self, line: str, cell: str) -> None:
        """Run this cell for each item, many at a time, in the background, as one task.

        %%amap [NAME] ITEM in EXPRESSION [--limit N] [--rate 60/min] [--retry N] [-t SECONDS]
               [--save FILE] [-o VAR] [--on loop|thread|process|EXECUTOR]
               [--on-error continue|cancel] [-g GROUP] [--again replace|keep|skip|error]
               [--after NAMES | --after-any NAMES] [--even-if-failed] [--follow]
               [--wait] [--notify] [--show] [--trace] [--profile] [--quiet]

        The cell is a function of ITEM: it sees the variables of the notebook, what it assigns is
        local to each item, and its last expression is the item's result. With top-level await the
        items run on the loop, without it in worker threads. The expression is evaluated at once and
        yields the items: a list, a generator or an async generator. Several names, as in `k, v in
        pairs`, unpack each item. The cell returns immediately; what items print appears under it,
        below one progress bar.

        --limit sets how many items run at a time, --rate how many start per second, minute or hour.
        --retry runs an item again if it fails, up to N times and after a longer pause each time; a
        variable may hold an asyncnb.Retry. -t limits each call, in seconds. --save writes each
        result to FILE as it ends: run the cell again after an interrupt or a restart of the kernel,
        and it continues where it stopped; a variable may hold an asyncnb.Save. -o binds the list of
        results to a variable, with an exception in place of each item that failed, and binds it
        again after %tasks retry NAME. NAME is bound to the run: use NAME.failed, NAME.retry() and
        NAME.counts(); await NAME gives the results. An item that fails does not stop the others,
        unless --on-error cancel is given; the failures are shown together at the end. The other
        options are those of %%atask. With --after, the expression is evaluated when the cell
        starts, so it may use what the other cells assign; with --follow, it is evaluated again for
        each run. To repeat a run (--every, --at, --cron), write a %%atask cell that awaits
        asyncnb.map(function, items).

            %%amap pages url in urls --limit 20 --rate 60/min --retry 3 -t 30 -o texts
            await client.get(url)

            %%amap n in range(1000) -o squares      # no await: runs in threads
            n * n

            %%amap sizes text in texts --after pages --follow --notify
            len(text)

        %tasks shows the run in one row, and %tasks NAME/ its items in progress; %tasks limit NAME
        5, rate, pause and cancel control it.
        """
        from asyncnb._kernel.cells.map_cell import launch_map
        from asyncnb._kernel.map_arguments import parse_line

        parsed = parse_line(line, self._expanded)
        launch_map(self._background(), f"%%amap {line}".rstrip(), cell, parsed)

    @no_var_expand
    @line_magic
    def tasks(self, line: str) -> Any:
        """Show, cancel, pause, wait for, rename and clear background tasks.

        %tasks                        show a table of the tasks
        %tasks [--all] [--failed] [--json] [-g GROUP] [PATTERN]
                                      filtered; --json: as JSON, for programs (`found = %tasks
                                      --json` has all tasks, a cell shows at most 1,000)
        %tasks NAME/                  show the tasks that a task made: with create_task(), in a
                                      TaskGroup, a gather; NAME/CHILD names one of them, here and
                                      for cancel, pause, resume, stack and wait
        %tasks live                   show the dashboard
        %tasks cancel PATTERN...      cancel by name or glob pattern; or -g GROUP, or --all;
                                      -m MESSAGE: the message of its CancelledError
        %tasks wait [PATTERN...] [-g GROUP] [-t SECONDS]   Ctrl-C ends the wait, not the tasks
        %tasks timeout NAME 30        set its timeout to 30 s from now; +30 adds 30 s, none removes
                                      the timeout
        %tasks limit NAME 5           let a run of asyncnb.map make 5 calls at a time
        %tasks rate NAME 30/min       let it start 30 calls a minute; or 5/s, 1000/h; none: no limit
        %tasks retry NAME             run its failed items again, once it has ended
        %tasks pause NAME             pause it; --pause-timeouts pauses asyncnb's timeouts as well
        %tasks resume NAME            continue a paused task
        %tasks notify NAME            notify you in the browser when it ends; --off: do not
        %tasks background             move the cell that is currently awaiting to the background.
                                      In another cell this would have to wait its turn, so use the
                                      dashboard's Background button, a subshell console that you
                                      opened before, or the first line of the cell itself
        %tasks output NAME            show here what it printed
        %tasks timeline [PATTERN]     show which task ran when, and which one it waited for
        %tasks graph [PATTERN]        draw which task starts after which, and which one waits now
        %tasks unfollow NAME... | --all
                                      stop a cell from running again after those it follows
        %tasks deadlocks              search now for tasks that wait for each other
        %tasks profile [NAME] [-g GROUP] [SECONDS]   show where the time of the next 5 s goes: by
                                      task, cell and line; Ctrl-C ends it early
        %tasks stack NAME             show where it is, what it waits for and what waits for it
        %tasks debug NAME             post-mortem of a failed task: pdb with its frames; for a
                                      group, NUMBER chooses the error
        %tasks leaks                  show what cells left behind: coroutines never awaited, tasks
                                      without a reference, servers and clients left open
        %tasks rename OLD NEW         rename it
        %tasks clear                  forget the tasks that have ended

            %tasks --all "fetch*"     # includes tasks that were not launched, by name
            %tasks stack pages
            %tasks "pages/page 1*"    # some of the tasks inside pages
            %tasks cancel "fetch*" -m "too slow"
            %tasks wait pages -t 60
        """
        from asyncnb._kernel.arguments import words

        given = words(self._expanded(line), "%tasks")
        if given and given[0] in self.verbs:
            return self.verbs[given[0]](given[1:])
        if len(given) > 1 and (verb := did_you_mean(_MEANT.get(given[0], given[0]), self.verbs)):
            usage = "\n       ".join(v.usage for v in (self.table, *self.verbs.values()))
            raise UsageError(f"%tasks: unknown command {given[0]!r}.{verb}\nUsage: {usage}")
        return self.table(given)

    @no_var_expand
    @line_magic
    def asyncnb(self, line: str) -> OptionTable | None:
        """Show the state of the embedded loop, or change how cells run.

        %asyncnb                    show the status: loop, versions, lag, options
        %asyncnb restart            cancel all tasks and start a new loop
        %asyncnb autoawait on|off   run cells with await on the embedded loop, or as IPython does
        %asyncnb option [NAME]      show the options: name, value, default, source, meaning
        %asyncnb option NAME VALUE  set an option, as in: %asyncnb option watchdog off

            %asyncnb
            %asyncnb option watchdog off
            %asyncnb autoawait off        # to compare with IPython's own behaviour
            %asyncnb restart              # when a library has left the loop in a bad state
        """
        from asyncnb._kernel.arguments import words

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
                raise UsageError(
                    f"%asyncnb: unknown command {word!r}.{hint}\nUsage: {ASYNCNB_USAGE}"
                )
        return None


def _split_expression(line: str) -> tuple[list[str], str]:
    """Split the line of ``%atask`` into the words before the expression, and the expression."""
    rest, before = line.strip(), []
    flags = {"--wait", "--notify", "--show", "--trace", "--profile", "--quiet", "--follow"}
    flags.add("--even-if-failed")
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
            "%atask needs an expression that returns an awaitable, such as "
            "`%atask fetch(url)`. For a whole cell use %%atask."
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
