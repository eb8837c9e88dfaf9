"""Benchmarks: ``python -m tests.benchmarks [TOPIC ...] [--rounds N] [--quick]``.

Each module of this package is a topic with a function ``rows()`` that yields ``Row`` objects, or
with a function ``run(rounds, only)`` that measures and prints in its own way. All
contenders of a row run in the same process, each in alternating rounds with the row's first one;
the table shows medians, the range, and the median over the rounds of the ratio to that first one.
Times are of the running thread's CPU unless a row asks for the wall clock, so that other work on
the machine counts as little as possible.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

#: Whose releases a report names, of those installed beside what is measured.
NAMED = (
    "uvloop",
    "winloop",
    "trio",
    "anyio",
    "nest-asyncio2",
    "loky",
    "distributed",
    "ipyparallel",
)
#: The same of the environment that `.ci/peers` makes for this Python, and its interpreter.
NAMED_PEERS = ("async-kernel", "aiomonitor")
ENVIRONMENTS = Path(__file__).parents[2] / ".venvs"
PEERS = ENVIRONMENTS / f"py3{sys.version_info.minor}-peers" / "bin" / "python"

#: Takes a clock and a count, does the work that many times, returns the time it took.
Contender = Callable[[Callable[[], float], int], float]


@dataclass(frozen=True)
class Row:
    """One thing measured, done in several ways; the first way is the yardstick."""

    name: str
    contenders: dict[str, Contender]
    count: int = 1000
    goal: float | None = None  # ratio that the second contender should not exceed
    wall: bool = False
    rounds: int | None = None  # where one round takes long
    unit: str = "us"  # or "bytes", which contenders then return instead of seconds


@dataclass
class Result:
    row: Row
    seconds: dict[str, list[float]] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)

    def median(self, who: str) -> float:
        return statistics.median(self.seconds[who])

    def ratio(self, who: str) -> float:
        """Median over the rounds of the ratio within a round: drift of the machine cancels out."""
        return statistics.median(self.ratios[who]) if who in self.ratios else 1.0

    @property
    def scale(self) -> float:
        return 1e6 if self.row.unit == "us" else 1.0

    def reached(self) -> bool | None:
        """Whether the second contender reaches the goal; None without one."""
        if self.row.goal is None:
            return None
        return self.ratio(list(self.seconds)[1]) <= self.row.goal

    def as_json(self) -> dict[str, Any]:
        return {
            "row": self.row.name,
            "goal": "" if self.row.goal is None else f"<= {self.row.goal:.2f}",
            "reached": self.reached(),
            "unit": self.row.unit,
            "contenders": {
                who: {
                    "median": self.median(who) * self.scale,
                    "lowest": min(times) * self.scale,
                    "highest": max(times) * self.scale,
                    "ratio": self.ratio(who),
                }
                for who, times in self.seconds.items()
            },
        }


def measure(row: Row, rounds: int) -> Result:
    """Run each contender of ``row`` in rounds that alternate with the first; seconds per count.

    Many short rounds, not few long ones: the clock speed of a shared machine drifts within
    seconds, and a ratio is right only between neighbours. In pairs, so that none of them is
    always the one that finds the caches filled by a third.
    """
    clock = time.perf_counter if row.wall else time.thread_time
    rounds = min(rounds, row.rounds or rounds)
    (first, yardstick), *others = row.contenders.items()
    result = Result(row, {who: [] for who in row.contenders}, {who: [] for who, _ in others})
    gc.collect()
    gc.disable()
    try:
        for who, contender in others:
            pair = [(first, yardstick), (who, contender)]
            for number in range(-1, rounds):
                took = {}
                for name, run in pair if number % 2 else reversed(pair):
                    took[name] = run(clock, row.count) / row.count
                if number >= 0:  # the first round warms up
                    result.ratios[who].append(took[who] / took[first])
                    for name, seconds in took.items():
                        result.seconds[name].append(seconds)
                if number % 10 == 9:
                    gc.collect()
    finally:
        gc.enable()
    return result


def show(result: Result) -> None:
    """Print one row of the table per contender."""
    goal, unit, scale = result.row.goal, result.row.unit, result.scale
    first = True
    for number, who in enumerate(result.seconds):
        times = result.seconds[who]
        ratio = result.ratio(who)
        verdict = ""
        if number == 1 and goal is not None:
            verdict = f"<= {goal:.2f} {'yes' if ratio <= goal else 'NO'}"
        print(
            f"{result.row.name if first else '':<34} {who:<10} {result.median(who) * scale:9.2f}"
            f" {unit:<5} {min(times) * scale:8.2f} .. {max(times) * scale:8.2f}"
            f"  {ratio:6.2f}  {verdict}"
        )
        first = False


def run_topic(topic: str, rows: Iterable[Row], rounds: int, only: str = "") -> None:
    """Measure and print one topic, and write it to ``.artifacts/bench/``."""
    print(f"\n{topic}: {describe_machine()}")
    print(f"{'':<34} {'':<10} {'median':>12}    {'range':>20}  {'ratio':>6}")
    results = []
    for row in rows:
        if only not in row.name:
            continue
        result = measure(row, rounds)
        show(result)
        sys.stdout.flush()
        results.append(result.as_json())
    write_report(topic, rounds, results, only)


def write_report(topic: str, rounds: int, rows: list[dict[str, Any]], only: str = "") -> None:
    """Write what was measured to ``.artifacts/bench/``; ``only`` is what chose a part of it."""
    target = Path(".artifacts/bench")
    target.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    path = target / f"{topic}-{version}-{stamp}.json"
    report = {
        "topic": topic,
        "when": stamp,
        "rounds": rounds,
        "only": only,
        **machine(),
        "rows": rows,
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")


def machine() -> dict[str, Any]:
    versions = {}
    for name in ("asyncnb", "ipykernel", "ipython", *NAMED):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if PEERS.exists():
        code = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
        asked = subprocess.run([PEERS, "-c", code, *NAMED_PEERS], capture_output=True, check=True)
        versions |= dict(zip(NAMED_PEERS, asked.stdout.decode().split(), strict=True))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load": load,
        "versions": versions,
    }


def describe_machine() -> str:
    facts = machine()
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    load = "" if facts["load"] is None else f", load {facts['load']:.1f}"
    return f"Python {facts['python']}, {facts['system']}, {facts['cpus']} CPUs{load}" + (
        f", {versions}" if versions else ""
    )
