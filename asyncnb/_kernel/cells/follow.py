"""``--after`` and ``--follow``: what a cell starts after, and cells that run again with it."""

from __future__ import annotations

import argparse
import contextvars
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from asyncnb._core.base.errors import CommandError, did_you_mean
from asyncnb._core.base.text import one_line
from asyncnb._core.launched.after import After, is_waiting, on_launch, prerequisites

if TYPE_CHECKING:
    from asyncnb._core.launched.record import TaskRecord
    from asyncnb._kernel.output.router import OutputRouter

#: Launches a cell once more, as the run after the one of the given record.
Launch = Callable[["TaskRecord"], object]


class _Follower:
    """A cell that follows others: its newest run, and what launches the next one."""

    __slots__ = ("after", "context", "launch", "record")

    def __init__(
        self, record: TaskRecord, after: After, launch: Launch, context: contextvars.Context
    ) -> None:
        self.record = record
        self.after = after
        self.launch = launch
        #: The context of the cell, in which the next run is launched, too.
        self.context = context


class Followers:
    """The cells that run again whenever a task or group that they follow is launched again.

    Each is known by the name of its task; what runs is the cell that was last run under that name.
    """

    def __init__(self, output: OutputRouter) -> None:
        self._output = output
        self._by_name: dict[str, _Follower] = {}
        #: What is due, in each thread that launches tasks: a chain of a thousand is no recursion.
        self._due = threading.local()
        self._end_observing: Callable[[], None] | None = None

    def after(self, args: argparse.Namespace) -> After | None:
        """Return what the options say that the cell starts after, or None; nothing has started.

        Raises UsageError for options that make no sense together, for unknown names, and for a cell
        that would wait for itself.
        """
        magic, names = args.magic, args.after or args.after_any
        if not names:
            for option, given in (
                ("--follow", args.follow),
                ("--even-if-failed", args.even_if_failed),
            ):
                if given:
                    raise UsageError(
                        f"{magic} {option}: after which task? Write --after NAME as well."
                    )
            return None
        if args.after and args.after_any:
            raise UsageError(
                f"{magic}: --after waits for all of its names, --after-any for the first one that "
                "is done; give one of the two."
            )
        if args.follow and args.name is None:
            raise UsageError(
                f"{magic} --follow: the cell needs a name, by which later runs of it are known: "
                f"{magic} NAME --after {','.join(names)} --follow"
            )
        option = "--after" if args.after else "--after-any"
        try:
            return prerequisites(
                names,
                name=args.name,
                group=args.group,
                first=bool(args.after_any),
                even_if_failed=args.even_if_failed,
                follows=args.follow,
                further=self.followed_by,
            )
        except CommandError as exc:
            raise UsageError(f"{magic} {option}: {exc}") from None

    def followed_by(self, name: str) -> Sequence[str]:
        """Return the names that the cell ``name`` follows."""
        follower = self._by_name.get(name)
        return () if follower is None else follower.after.names

    def note_run(self, name: str, record: TaskRecord, launch: Launch) -> None:
        """Note that the cell ``name`` was run: it follows others if its ``record`` says so.

        ``launch`` launches it again, in a copy of the running context.
        """
        before = self._by_name.pop(name, None)
        if before is not None:
            before.after.follows = False  # of the earlier run
            before.record.changed()
        after: After | None = record.after
        if after is None or not after.follows:
            return
        self._by_name[name] = _Follower(record, after, launch, contextvars.copy_context())
        if self._end_observing is None:
            self._end_observing = on_launch(self._launched)

    def unfollow(self, names: Iterable[str] | None) -> str:
        """End the following of the cells with these names, or of all; their runs continue.

        Raises CommandError for a cell that follows nothing, with nothing changed.
        """
        names = list(self._by_name if names is None else dict.fromkeys(names))
        if not names:
            return "no cell follows another one"
        for name in names:
            if name not in self._by_name:
                known = f" These do: {', '.join(self._by_name)}." if self._by_name else ""
                hint = did_you_mean(name, self._by_name) or known
                raise CommandError(f"{name!r} follows no other task.{hint}")
        done = []
        for name in names:
            follower = self._by_name.pop(name)
            follower.after.follows = False
            follower.record.changed()
            followed = ", ".join(map(one_line, follower.after.names))
            done.append(f"{name} no longer follows {followed}")
        return "\n".join(done)

    def clear(self) -> None:
        """Stop all cells from following others."""
        self._by_name.clear()
        if self._end_observing is not None:
            self._end_observing()
            self._end_observing = None

    # New runs of what is followed. The thread that launches them, before their first step.

    def _launched(self, record: TaskRecord) -> None:
        wanted = {record.name, record.group}
        followers = list(self._by_name.items())
        due = [name for name, follower in followers if wanted.intersection(follower.after.names)]
        queue: deque[tuple[str, TaskRecord]] | None = getattr(self._due, "queue", None)
        if queue is not None:  # this is the new run of a follower, below in the stack
            queue.extend((name, record) for name in due)
            return
        # A cell that launches both launches the follower itself.
        due = [name for name in due if not _same_cell(self._by_name.get(name), record)]
        if not due:
            return
        self._due.queue = queue = deque((name, record) for name in due)
        cleared: list[Any] = []
        try:
            while queue:
                self._run_again(*queue.popleft(), cleared)
        finally:
            del self._due.queue

    def _run_again(self, name: str, followed: TaskRecord, cleared: list[Any]) -> None:
        """Launch the cell ``name`` again, unless a run of it waits for ``followed`` anyway."""
        follower = self._by_name.get(name)
        if follower is None or follower.record.id > followed.id or is_waiting(follower.record):
            return
        follower.context.copy().run(self._launch, name, follower, cleared)

    def _launch(self, name: str, follower: _Follower, cleared: list[Any]) -> None:
        origin = follower.record.origin
        if origin.message is not None:
            self._output.enter(origin.message)
        try:
            if not any(origin is each for each in cleared):
                cleared.append(origin)
                self._output.clear_cell(origin)
            follower.launch(follower.record)
        except UsageError as exc:
            print(f"asyncnb: {name} did not run again: {exc}", file=sys.stderr)
        except Exception as exc:
            # The task that is followed must not fail because of this.
            print(f"asyncnb: {name} could not run again: {exc!r}", file=sys.stderr)


def _same_cell(follower: _Follower | None, followed: TaskRecord) -> bool:
    """Return whether the same cell launched both."""
    cell = None if follower is None else follower.record.cell
    if cell is None or cell.id is None or followed.cell is None:
        return False
    return cell.id == followed.cell.id
