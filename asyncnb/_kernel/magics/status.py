"""The status text that ``%asyncnb`` prints: loop, tasks, options and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import threading
import time
from collections.abc import Sequence
from typing import Any

import IPython

from asyncnb._core.base.text import count, duration
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import running_or_starting_loop
from asyncnb._core.loop.embedded import EmbeddedLoop
from asyncnb._core.loop.slow_steps import SlowStep
from asyncnb._kernel.magics.settings import Settings
from asyncnb._kernel.output.blocked import lag_label, step_text
from asyncnb._kernel.output.blocked import status as blocked_status


def status(settings: Settings) -> str:
    """Return the status text that ``%asyncnb`` prints."""
    lines = [f"asyncnb {_version('asyncnb')}"]
    loop = running_or_starting_loop()
    if loop is None:
        lines.append("embedded loop  not running; the next launch starts one")
    else:
        facts = loop.statistics()
        lines.append(
            f"embedded loop  {facts.kind} {_version(facts.kind)}".rstrip()
            + f", up {facts.uptime:.1f} s, {_lag(loop)}, {count(facts.tasks, 'task')}"
            + ("" if facts.ready is None else f", {facts.ready} ready")
        )
        lines += blocked_status(loop.blocked)
        if highest := lag_label(facts.highest_lag):
            lines.append(f"highest lag    in the last minute {highest}")
        if facts.longest_steps:
            lines += _longest(facts.longest_steps)
        elif facts.slowest is not None:
            lines.append(f"slowest step   {facts.slowest.seconds:.1f} s, {facts.slowest.name}")
    records = registry.records()
    ended = sum(record.state() in ENDED for record in records)
    lines.append(f"launched tasks {len(records) - ended} living, {ended} ended")
    lines.append(f"autoawait      {settings.written('autoawait')}")
    lines.append(f"watchdog       {settings.written('watchdog')}")
    if changed := settings.changed():
        lines.append(f"options        {', '.join(changed)}; the others have their defaults")
    lines.append(
        f"versions       Python {platform.python_version()}, IPython {IPython.__version__}, "
        f"ipykernel {_version('ipykernel') or 'none'}"
    )
    return "\n".join(lines)


def _longest(steps: Sequence[SlowStep]) -> list[str]:
    """Return a line for each of the longest steps, which blocked the loop, and when that was."""
    ago = [duration(max(0.0, time.time() - step.ended)) for step in steps]
    lines = [
        f"{duration(step.seconds)}, {step_text(step)}; {passed} ago"
        for step, passed in zip(steps, ago, strict=True)
    ]
    return [f"{'' if i else 'longest steps':15}{line}" for i, line in enumerate(lines)]


def versions() -> dict[str, str]:
    """Return the versions that other programs may have to know."""
    return {
        "asyncnb": _version("asyncnb"),
        "python": platform.python_version(),
        "ipykernel": _version("ipykernel"),
    }


def kernel_facts() -> dict[str, Any]:
    """Return what clients learn of the kernel, besides its tasks.

    The notebook's path is that which jupyter_server (2.0 and later) starts the kernel with: it is
    the old one after a rename.
    """
    return versions() | {"pid": os.getpid(), "notebook": os.environ.get("JPY_SESSION_NAME") or None}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _lag(loop: EmbeddedLoop) -> str:
    """Measure how long the loop takes to answer; wait a quarter of a second at most."""
    if loop.blocked is not None:
        return "blocked"
    if loop.is_own_thread():
        return "lag not measured from its own thread"
    answered = threading.Event()
    asked = time.perf_counter()
    loop.call_soon_threadsafe(answered.set)
    if answered.wait(0.25):
        return f"lag now {1000 * (time.perf_counter() - asked):.1f} ms"
    return "blocked for more than 250 ms by a task that does not await"
