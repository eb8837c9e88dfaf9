"""The options of asyncnb, each declared once: name, default, what it takes, meaning, effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncnb._core.base.sizes import OFFLOAD_LIMIT
from asyncnb._core.config import config
from asyncnb._core.launched import registry as _registry
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._kernel.magics.settings import SIZE, SWITCH, Option, amount, count, one_of
from asyncnb._kernel.output import headless as _headless
from asyncnb._kernel.output import progress as _progress
from asyncnb._kernel.output import task_output as _kept


def options(
    *,
    autoawait: Callable[[bool], object],
    one_loop: Callable[[bool], object],
    dashboard_rate: Callable[[float], object],
    keep_alive: Callable[[bool], object],
    offload_limit: Callable[[int], object],
) -> list[Option]:
    """Return the options; what is not a constant of a module is handed in."""
    return [
        Option(
            "autoawait",
            True,
            SWITCH,
            "cells with await run on the embedded loop, not on the kernel's own",
            autoawait,
        ),
        Option(
            "one_loop",
            True,
            SWITCH,
            "cells without await, and widget callbacks, see the embedded loop as the running one, "
            "not the kernel's",
            one_loop,
        ),
        Option(
            "loop",
            "auto",
            one_of("auto", "asyncio", "uvloop", "winloop"),
            "what the embedded loop is built on; auto is the fast one if installed. Chosen when "
            "asyncnb is imported, so that ASYNCNB_LOOP alone can say it",
            fixed="the loop is chosen when asyncnb is imported. Set ASYNCNB_LOOP in the kernel's "
            "environment, and restart it.",
        ),
        Option(
            "watchdog",
            config.watchdog_threshold,
            amount("seconds", lowest=0.02, highest=3600, off=True),
            "a step that takes longer is said to block the loop",
            _watch,
        ),
        Option(
            "history",
            _registry.HISTORY,
            count(),
            "ended tasks that stay listed; older ones are forgotten",
            _keep,
        ),
        Option(
            "results",
            _registry.RESULTS,
            count(),
            "ended tasks, the newest, whose results and exceptions are kept although no code holds "
            "the task; those bound with -o are kept by their variable alone",
            _keep_results,
        ),
        Option(
            "output_tail",
            _kept.TAIL,
            count(1),
            "characters of a task's output, displays too, that are kept for showing it again; "
            f"at most {_kept.MAX_ITEMS:,} prints and displays",
            _setter(_kept, "TAIL"),
        ),
        Option(
            "shutdown",
            config.shutdown_seconds,
            amount("seconds", highest=60),
            "time that cleanup may take when the kernel ends; Jupyter itself kills after some 5 s",
            _setter(config, "shutdown_seconds"),
        ),
        Option(
            "progress_interval",
            _progress.INTERVAL,
            amount("seconds", lowest=0.02, highest=60),
            "time between two updates of a progress bar",
            _setter(_progress, "INTERVAL"),
        ),
        Option(
            "dashboard_rate",
            10.0,
            amount("updates a second", lowest=0.1, highest=10),
            "updates of an open dashboard, at most",
            dashboard_rate,
        ),
        Option(
            "keep_alive",
            False,
            SWITCH,
            "living tasks keep the server from culling this kernel as idle",
            keep_alive,
        ),
        Option(
            "late_items",
            _headless.MAX_ITEMS,
            count(1),
            "in runs without a person: late outputs kept for a cell, the newest",
            _setter(_headless, "MAX_ITEMS"),
        ),
        Option(
            "record",
            False,
            SWITCH,
            "the steps of every task launched from now on are recorded, as with --trace",
            _setter(config, "record_all"),
        ),
        Option(
            "offload_limit",
            OFFLOAD_LIMIT,
            SIZE,
            "what a task may take with it when it is sent elsewhere",
            offload_limit,
        ),
    ]


def _setter(module: Any, name: str) -> Callable[[Any], None]:
    return lambda value: setattr(module, name, value)


def _watch(seconds: float) -> None:
    config.watchdog_threshold = seconds
    loop = running_embedded_loop()
    if loop is not None:
        loop.watch(seconds)


def _keep(number: int) -> None:
    _registry.registry.keep(number)


def _keep_results(number: int) -> None:
    _registry.registry.keep_results(number)
