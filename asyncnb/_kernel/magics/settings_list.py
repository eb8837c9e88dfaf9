"""The options of asyncnb, each declared once: name, default, values, meaning, effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncnb._core.base.sizes import OFFLOAD_LIMIT
from asyncnb._core.config import FRAMES, HISTORY, RESULTS, Config, config
from asyncnb._core.loop.current import running_or_starting_loop
from asyncnb._kernel.magics.settings import SIZE, SWITCH, Option, amount, one_of, whole_number
from asyncnb._kernel.output.task_output import MAX_ITEMS


def options(
    *,
    autoawait: Callable[[bool], object],
    one_loop: Callable[[bool], object],
    keep_alive: Callable[[bool], object],
    leaks: Callable[[bool], object],
    offload_limit: Callable[[int], object],
) -> list[Option]:
    """Return the options; the arguments apply those that are no setting of the core."""
    return [
        Option(
            "autoawait",
            True,
            SWITCH,
            "run cells with await on the embedded loop, not on the kernel's own",
            autoawait,
        ),
        Option(
            "one_loop",
            True,
            SWITCH,
            "show cells without await, and widget callbacks, the embedded loop as the running loop "
            "instead of the kernel's",
            one_loop,
        ),
        Option(
            "loop",
            "auto",
            one_of("auto", "asyncio", "uvloop", "winloop"),
            "what the embedded loop is built on; auto is the fast one if it is installed. Chosen "
            "when asyncnb is imported, so only ASYNCNB_LOOP can set it",
            fixed="the loop is chosen when asyncnb is imported. Set ASYNCNB_LOOP in the kernel's "
            "environment, and restart it.",
        ),
        Option(
            "watchdog",
            Config.watchdog_threshold,
            amount("seconds", lowest=0.02, highest=3600, off=True),
            "report a task that blocks the loop for longer than this",
            _watch,
        ),
        Option(
            "deadlocks",
            Config.deadlocks,
            SWITCH,
            "report tasks that wait for each other, once none has moved for two seconds",
            _setter("deadlocks"),
        ),
        Option(
            "history",
            HISTORY,
            whole_number(),
            "keep this many ended tasks in the list, the newest",
            _set_history_limit,
        ),
        Option(
            "results",
            RESULTS,
            whole_number(),
            "keep the results and exceptions of this many ended tasks, the newest, even if no code "
            "holds the task; a result bound with -o is kept by its variable only",
            _set_results_limit,
        ),
        Option(
            "frames",
            FRAMES,
            whole_number(),
            "keep the frames of this many failed tasks, the newest, for %tasks debug, with all "
            "that their variables hold",
            _set_frames_limit,
        ),
        Option(
            "output_tail",
            Config.output_tail,
            whole_number(1),
            "keep this many characters of a task's output, with its displays, to show it again; "
            f"at most {MAX_ITEMS:,} prints and displays",
            _setter("output_tail"),
        ),
        Option(
            "shutdown",
            Config.shutdown_seconds,
            amount("seconds", highest=60),
            "time for cleanup when the kernel shuts down; Jupyter itself kills it after about 5 s",
            _setter("shutdown_seconds"),
        ),
        Option(
            "tasks_json",
            Config.tasks_json,
            SWITCH,
            "save the facts in each table of %tasks as JSON, too, for programs; turn it off in a "
            "notebook whose outputs are compared",
            _setter("tasks_json"),
        ),
        Option(
            "progress_interval",
            Config.progress_interval,
            amount("seconds", lowest=0.02, highest=60),
            "time between two updates of a progress bar",
            _setter("progress_interval"),
        ),
        Option(
            "dashboard_rate",
            10.0,
            amount("updates a second", lowest=0.1, highest=10),
            "how often an open dashboard is updated, at most",
            _set_dashboard_rate,
        ),
        Option(
            "notify",
            Config.notify,
            one_of("off", "failures", "all"),
            "which tasks that ran for notify_after seconds send a notification when they end while "
            "the page is hidden; what you asked for by --notify, a bell or asyncnb.notify is "
            "always shown",
            _setter("notify"),
        ),
        Option(
            "notify_after",
            Config.notify_after,
            amount("seconds", highest=86400),
            "how long a task must run for the option notify to apply",
            _setter("notify_after"),
        ),
        Option(
            "keep_alive",
            False,
            SWITCH,
            "while tasks are running, keep the server from culling this kernel as idle",
            keep_alive,
        ),
        Option(
            "leaks",
            False,
            SWITCH,
            "report at the end of a cell what it left behind: coroutines never awaited, servers of "
            "its earlier run; %tasks leaks works without this",
            leaks,
        ),
        Option(
            "late_items",
            Config.late_items,
            whole_number(1),
            "in headless runs: keep this many late outputs of each cell, the newest",
            _setter("late_items"),
        ),
        Option(
            "record",
            False,
            SWITCH,
            "record the steps of every task launched from now on, as --trace does",
            _setter("record_all"),
        ),
        Option(
            "offload_limit",
            OFFLOAD_LIMIT,
            SIZE,
            "how much data may be sent with a task to another process",
            offload_limit,
        ),
    ]


def _setter(name: str) -> Callable[[Any], None]:
    return lambda value: setattr(config, name, value)


def _set_dashboard_rate(rate: float) -> None:
    config.dashboard_interval = 1 / rate


def _watch(seconds: float) -> None:
    config.watchdog_threshold = seconds
    loop = running_or_starting_loop()
    if loop is not None:
        loop.watch(seconds)


def _set_history_limit(number: int) -> None:
    from asyncnb._core.launched.registry import registry  # only if the default is changed

    registry.set_history_limit(number)


def _set_results_limit(number: int) -> None:
    from asyncnb._core.launched.registry import registry  # only if the default is changed

    registry.set_results_limit(number)


def _set_frames_limit(number: int) -> None:
    from asyncnb._core.launched.registry import registry  # only if the default is changed

    registry.set_frames_limit(number)
