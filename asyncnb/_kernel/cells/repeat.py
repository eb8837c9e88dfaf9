"""``--every``, ``--at``, ``--cron``, ``--retry``: runs a cell at times, and shows its rounds."""

from __future__ import annotations

import argparse
import functools
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.errors import safe_str
from asyncnb._core.base.text import duration
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.primitives.timeouts import timeout
from asyncnb._core.repeating.repeat import RunCounts, run_periodically, run_with_retries
from asyncnb._kernel.output.router import OutputRouter
from asyncnb._kernel.output.tracebacks import user_frames

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Tracebacks of different failures that one task shows; further ones are only counted.
MAX_SHOWN = 10

Start = Callable[[], Coroutine[Any, Any, Any]]


def repeated(
    record: TaskRecord,
    start: Start,
    args: argparse.Namespace,
    ip: InteractiveShell,
    output: OutputRouter,
) -> Start:
    """Return a call that runs ``start`` when and as often as the options say.

    These are ``--every``, ``--at``, ``--cron`` and ``--retry``. With ``--at`` and ``--cron`` the
    time limit is that of each run, with all its attempts.
    """
    rounds = record.rounds = RunCounts(repeats=args.every is not None or args.cron is not None)
    if args.retry is not None:
        start = _with_retries(args.retry, start, rounds)
    reporter = RoundReporter(record, ip, output)
    if args.every is not None:
        return lambda: run_periodically(
            args.every, start, rounds, on_result=reporter.on_result, on_error=reporter.on_error
        )
    if args.at is None and args.cron is None:
        return start
    from asyncnb._core.repeating import at_times  # seldom needed

    if args.timeout is not None:
        start = _limited(args.timeout, start)
    if args.at is not None:
        return lambda: at_times.run_at(
            args.at, start, rounds, on_next=record.changed, on_late=_report_late
        )
    return lambda: at_times.run_on_schedule(
        args.cron,
        start,
        rounds,
        on_result=reporter.on_result,
        on_error=reporter.on_error,
        on_next=record.changed,
        on_late=_report_late,
    )


def _limited(seconds: float, start: Start) -> Start:
    async def run() -> Any:
        limit = timeout(seconds)
        try:
            async with limit:
                return await start()
        except TimeoutError as exc:
            if not limit.expired():
                raise
            # With the cell's own frames, without the one above.
            cause = exc.__cause__ or exc.__context__
            if cause is not None:
                cause.__traceback__ = user_frames(cause.__traceback__)
            raise TimeoutError(f"The run did not finish within {seconds:.10g} s.") from cause

    return run


def _report_late(when: float, late: float) -> None:
    from asyncnb._core.repeating.local_time import clock_text

    print(
        f"asyncnb: due at {clock_text(when)}, and {duration(late)} late: this machine slept, its "
        "clock was set, or the task was paused.",
        file=sys.stderr,
    )


def _with_retries(times: int, start: Start, rounds: RunCounts) -> Start:
    def report(exc: Exception, delay: float) -> None:
        print(f"{rounds.last_error}. Retrying in {delay:g} s.", file=sys.stderr)

    return lambda: run_with_retries(times, start, rounds, on_retry=report)


class RoundReporter:
    """Reports the end of a round: shows its plots, binds its result, shows a failure once."""

    def __init__(self, record: TaskRecord, ip: InteractiveShell, output: OutputRouter) -> None:
        self._record = record
        self._ip = ip
        self._output = output
        self._shown: set[tuple[object, ...]] = set()

    async def on_result(self, value: Any) -> None:
        if self._record.request.bind is not None:
            self._ip.user_ns[self._record.request.bind] = value
        await self._show_figures()

    async def on_error(self, exc: BaseException) -> None:
        await self._show_figures()
        where = [(f.f_code.co_filename, line) for f, line in traceback.walk_tb(exc.__traceback__)]
        failure = (type(exc), safe_str(exc), *where[-1:])
        if failure in self._shown or len(self._shown) > MAX_SHOWN:
            return
        self._shown.add(failure)
        if len(self._shown) > MAX_SHOWN:
            print(
                f"{self._record.name} keeps failing with different errors; %tasks counts them and "
                "shows the last one.",
                file=sys.stderr,
            )
            return
        await self._output.show_off_loop(functools.partial(self._output.show_error, exc))

    async def _show_figures(self) -> None:
        if self._output.figures.has_figures(self._record):
            show = functools.partial(self._output.figures.show, self._record)
            await self._output.show_off_loop(show)
