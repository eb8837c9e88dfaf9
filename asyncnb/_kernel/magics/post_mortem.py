"""``%tasks debug``: IPython's debugger with the frames of a failed task, in the cell that asks."""

from __future__ import annotations

import contextlib
import sys
import types
from pdb import Restart
from typing import Any, NamedTuple

from IPython.core.display_trap import DisplayTrap

from asyncnb._core.base.errors import CommandError, format_exception_line
from asyncnb._core.base.frames import is_asyncio_frame, joined
from asyncnb._core.base.text import count, escape_control_chars
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.introspection.leaves import task_of
from asyncnb._core.introspection.places import cell_of, place
from asyncnb._core.launched.record import TaskRecord, current_record
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._kernel.ipykernel.parents import is_headless
from asyncnb._kernel.output.tracebacks import user_frames

#: Errors of a group that are listed when the debugger starts, and at most by ``exceptions``.
MAX_FIRST, MAX_LISTED = 10, 200


class Error(NamedTuple):
    """One exception that the debugger can show: a leaf of a group, or the cause of an error."""

    exc: BaseException
    #: How it led to the one above it: empty for a leaf.
    role: str = ""

    def describe(self) -> str:
        """Return type and message, the task of a leaf if known, and the user's innermost line."""
        text = escape_control_chars(format_exception_line(self.exc), 70)
        frames = inspected_frames(self.exc.__traceback__)
        while frames is not None and frames.tb_next is not None:
            frames = frames.tb_next
        where = "no frames"
        if frames is not None:
            at = place(frames.tb_frame, frames.tb_lineno)
            where = f"{at.where}, line {at.line}"
        if (task := task_of(self.exc)) is not None:
            where = f"{escape_control_chars(task, 40)}, {where}"
        return f"{text}  ({where}{self.role and f'; {self.role}'})"


def errors_of(exc: BaseException) -> list[Error]:
    """Return what can be debugged, by its number; 0 is a group itself, which has the first place.

    An error that is no group has number 1, as the first leaf of a group has.
    """
    found = [Error(exc, "the group")]
    seen: set[int] = set()
    # Not by recursion: a chain may be as long as a loop that failed again and again has made it.
    waiting = [(exc, "")]
    while waiting:
        error, role = waiting.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        if error.__cause__ is not None:
            waiting.append((error.__cause__, "its cause"))
        elif error.__context__ is not None and not error.__suppress_context__:
            waiting.append((error.__context__, "being handled when the one above was raised"))
        if isinstance(error, BaseExceptionGroup):
            waiting += [(member, role) for member in reversed(error.exceptions)]
        else:
            found.append(Error(error, role))
    return found


def inspected_frames(tb: types.TracebackType | None) -> types.TracebackType | None:
    """Return ``tb`` without the frames of asyncnb and asyncio, unless there are no others."""
    tb = rest = user_frames(tb)
    kept = []
    while rest is not None:
        if not is_asyncio_frame(rest.tb_frame):
            kept.append(rest)
        rest = rest.tb_next
    return joined(kept) if kept else tb


def debug(ip: Any, name: str, number: int | None, parent: dict[str, Any]) -> None:
    """Run the debugger with the frames of the failed task named ``name``, until the user quits.

    ``number`` chooses one of several errors; ``parent`` is the request of the cell that asks. The
    loop and the tasks keep running. Raises CommandError if there is nothing to debug, and where no
    user can answer: in headless runs, and in code that runs on the loop's thread.
    """
    record = registry.find(name)
    exc = _failure(record)
    errors = errors_of(exc)
    first, last = 0 if _is_group(exc) else 1, len(errors) - 1
    if number is not None and not first <= number <= last:
        raise CommandError(
            f"{name!r} has no error number {number}; its numbers are from {first} to {last}."
        )
    _refuse_without_person(name, parent)
    _interact(ip, name, errors, 1 if number is None else number)


def _is_group(exc: BaseException) -> bool:
    return isinstance(exc, BaseExceptionGroup)


def _failure(record: TaskRecord) -> BaseException:
    """Return the exception of the task, with its frames; CommandError if there is none."""
    name, state = record.name, record.state()
    if state != "failed":
        more = ""
        if state not in ENDED:
            more = f" `%tasks stack {name}` shows where it is."
        elif state == "cancelled":
            more = " A cancellation leaves no error to debug."
        raise CommandError(f"{name!r} has not failed: its state is {state}.{more}")
    exc = record.error_with_frames()
    if record.kind not in ("loop", "thread", "kernel"):
        raise CommandError(
            f"{name!r} failed in another process ({record.kind}), and only its traceback came "
            f"back, without variables: `%tasks output {name}` shows it. To debug it, run the cell "
            "in this process: omit --on."
        )
    if exc is None or all(error.exc.__traceback__ is None for error in errors_of(exc)):
        raise CommandError(
            f"The frames of {name!r} are no longer kept ({record.error()}). They are kept for the "
            "newest task that failed, and while a variable holds the task. `%asyncnb option "
            "frames 20` keeps those of 20 tasks from now on."
        )
    return exc


def _refuse_without_person(name: str, parent: dict[str, Any]) -> None:
    if is_headless(parent):
        raise CommandError(
            f"%tasks debug reads commands from a person, and this is a headless run. `%tasks "
            f"output {name}` shows the traceback."
        )
    loop = running_embedded_loop()
    if current_record.get() is not None or (loop is not None and loop.is_own_thread()):
        raise CommandError(
            "%tasks debug waits for your commands, and this code runs on the loop's thread, where "
            f"that would block all tasks. Run `%tasks debug {name}` in a cell without `await`."
        )


def _interact(ip: Any, name: str, errors: list[Error], number: int) -> None:
    debugger = _debugger_class(ip.debugger_cls)(nosigint=True)
    print(f"{name!r} failed. q ends the debugger; the tasks keep running meanwhile.")
    traced = sys.gettrace()
    try:
        # As for IPython's own %debug: values are shown as pdb shows them, not as Out[n].
        with DisplayTrap(hook=sys.__displayhook__):
            debugger.reset()
            debugger.examine(errors, number)
    finally:
        if sys.gettrace() is not traced:  # q and c of pdb remove it
            sys.settrace(traced)


def _debugger_class(base: Any) -> Any:
    """Return IPython's debugger, a class of the shell's choice, with ``exceptions`` of a task."""

    class PostMortem(base):  # type: ignore[misc]
        """IPython's debugger: one at a time, any error of a failed task."""

        errors: list[Error]
        number: int

        def examine(self, errors: list[Error], number: int) -> None:
            """Show the frames of one error, and read commands until the user ends it."""
            self.errors = errors
            if len(errors) > 2:
                self.number = number
                self._list(MAX_FIRST)
            self.number = number
            frames = inspected_frames(errors[number].exc.__traceback__)
            self.message(format_exception_line(errors[number].exc))
            with contextlib.suppress(Restart):  # `run`, which restarts a program, here ends it
                self.interaction(None, frames)

        def do_exceptions(self, arg: str) -> None:
            """exceptions [number]

            List the errors of the failed task, or choose one: the leaves of an exception group,
            each followed by its causes. 0 is the group itself.
            """
            if not arg:
                self._list(MAX_LISTED)
                return
            first = 0 if _is_group(self.errors[0].exc) else 1
            if not arg.isdecimal() or not first <= int(arg) < len(self.errors):
                self.error(f"takes a number from {first} to {len(self.errors) - 1}")
                return
            frames = inspected_frames(self.errors[int(arg)].exc.__traceback__)
            if frames is None:
                self.error("this exception has no frames")
                return
            self.number = int(arg)
            self.setup(None, frames)
            self.message(format_exception_line(self.errors[self.number].exc))
            self.print_stack_entry(self.stack[self.curindex])

        do_exception = do_exceptions

        def _list(self, most: int) -> None:
            is_group = _is_group(self.errors[0].exc)
            for n, error in enumerate(self.errors[: most + 1]):
                if n or is_group:
                    self.message(f"{'>' if n == self.number else ' '} {n:>3} {error.describe()}")
            if len(self.errors) > most + 1:
                self.message(f"      {count(len(self.errors) - most - 1, 'more error')}")
            self.message("`exceptions NUMBER` chooses another one.")

        def format_stack_entry(self, frame_lineno: Any, *args: Any, **kwargs: Any) -> str:
            """Return a frame as IPython's debugger shows it, with ``In[3]`` for a cell's file."""
            text: str = super().format_stack_entry(frame_lineno, *args, **kwargs)
            file = frame_lineno[0].f_code.co_filename
            cell = cell_of(file)
            return text if cell is None else text.replace(file, cell, 1)

    return PostMortem
