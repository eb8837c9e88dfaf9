"""Blocks a cell until tasks have ended: ``%tasks wait``, ``%%atask --wait``."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from asyncnb._core.base.errors import TasksFailedError, WrongThreadError
from asyncnb._core.base.text import count
from asyncnb._core.introspection.leaves import format_failure
from asyncnb._core.primitives.futures import join_future

if TYPE_CHECKING:
    from asyncnb._core.launched.inside import InnerTask
    from asyncnb._core.launched.open_group import OpenGroup
    from asyncnb._core.launched.record import TaskRecord


def wait(
    records: Sequence[TaskRecord | InnerTask], seconds: float | None, group: OpenGroup | None = None
) -> None:
    """Block until all of ``records`` have ended and their output has been shown.

    With ``group``, also until none of its other tasks is left: those that it adopted, and those
    that are added meanwhile. It is not closed. Raises TasksFailedError if any failed, TimeoutError
    after ``seconds``, UsageError on a loop's own thread. Ctrl-C ends only the wait.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    failed: dict[Any, str] = {}
    waited_for: set[Any] = set()
    for task in _all_of(records, group, waited_for):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        record: TaskRecord | None = getattr(task, "_record", None)
        try:
            if isinstance(task, concurrent.futures.Future):
                task.result(left)
            else:
                join_future(task, left)
        except WrongThreadError:
            raise _refused(task, group) from None
        except BaseException as exc:
            if not task.done() and isinstance(exc, TimeoutError):
                raise _still_running([*(r.task for r in records), task], seconds) from None
            # Not the end of the task but an interrupt of the user's, perhaps at the same moment.
            stop = isinstance(exc, KeyboardInterrupt)
            if not task.done() or (stop and (task.cancelled() or exc is not task.exception())):
                raise
            if not task.cancelled():
                failed[task] = _failure(task, exc, record)
        if record is not None:
            record.wait_shown(None if left is None else max(left, 1.0))
    if failed:
        raise TasksFailedError(_failures(list(failed.values()), len(waited_for)), failed)
    if group is not None and (sentence := group.failures()):
        raise TasksFailedError(f"Group {group.name!r} failed: {sentence}.")


def _all_of(
    records: Sequence[TaskRecord | InnerTask], group: OpenGroup | None, seen: set[Any]
) -> Iterator[Any]:
    """Yield the tasks of ``records``, then those of ``group`` until it has no others."""
    for record in records:
        seen.add(record.task)
        yield record.task
    while group is not None and (others := [t for t in group.members() if t not in seen]):
        seen.add(others[0])
        yield others[0]


def _refused(task: Any, group: OpenGroup | None) -> UsageError:
    name = _name(task)
    if getattr(task, "_record", None) is None and group is not None:
        return UsageError(
            f"%tasks wait blocks, and {name!r} of group {group.name!r} runs on the loop that it "
            f"would block. Write `await {group.name}`."
        )
    return UsageError(
        "%tasks wait blocks, and a cell with await runs on the loop that it would block. "
        f"Write `await asyncnb.task({name!r})`, or wait in a cell without await."
    )


def _name(task: Any) -> str:
    name = getattr(task, "get_name", None)
    return type(task).__name__ if name is None else str(name())


def _still_running(tasks: Sequence[Any], seconds: float | None) -> TimeoutError:
    names = ", ".join(dict.fromkeys(_name(task) for task in tasks if not task.done()))
    return TimeoutError(f"Still running after {seconds:g} s: {names}. They keep running.")


def _failure(task: Any, exc: BaseException, record: TaskRecord | None) -> str:
    if record is None:
        return f"{_name(task)}: {format_failure(exc).partition(chr(10))[0].rstrip('.')}"
    info = record.info()
    where = f" ({info.cell})" if info.cell is not None and str(info.cell) else ""
    return f"{info.name}{where}: {(info.error or '').rstrip('.')}"


def _failures(failed: Sequence[str], of: int) -> str:
    parts = list(failed[:5])
    if len(failed) > 5:
        parts.append(f"and {len(failed) - 5} more")
    return (
        f"{len(failed)} of {count(of, 'task')} failed: {'; '.join(parts)}. "
        "Each traceback appears under the cell that launched the task."
    )
