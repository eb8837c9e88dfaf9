"""Compare a run of the benchmarks with the committed results: ``python -m tests.benchmarks.check``.

Without options it takes the newest report of each topic in ``.artifacts/bench/`` made with this
Python, lists each row of asyncnb's whose ratio to its yardstick is more than 15 % above the one in
``results.json``, and fails if there is any. ``--write`` commits the reports instead, ``--goals``
lists the committed rows that miss their goals.

``--short`` measures for itself, for at most a minute, a few rows that need no kernel and whose
ratios hold on a loaded machine: both contenders' CPU time, in neighbouring rounds. Its bound is
half as much again as the committed ratio, and a row over it is measured twice more.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from tests.benchmarks import Row, gate, measure, primitives, results

WORSE = 1.15
GENEROUS = 1.5
#: The rows of ``primitives`` that the short check takes; of ``gate`` it takes all.
SHORT = (
    "create_task, as is",
    "gather, C tasks",
    "wait for all, C tasks",
    "as_completed, C tasks",
    "TaskGroup of 100, C tasks",
    "timeout, empty block",
    "wait_for a coroutine",
    "shield, C task",
    "memory of a waiting task",
)


def ratios_of(topics: dict[str, dict[str, object]]) -> dict[str, float]:
    """Return asyncnb's ratio of each row in which it is what counts, by "topic: row"."""
    return {
        f"{topic}: {name}": ratio
        for topic, found in sorted(topics.items())
        for name, row in found["rows"].items()
        if results.is_ratio(row) and (ratio := results.ratio_of(row)) is not None
    }


def committed(version: str) -> dict[str, float]:
    """Return the committed ratios of this Python; for rows that it lacks, of the nearest one."""
    known = results.load()
    here = int(version.partition(".")[2])

    def distance(other: str) -> tuple[int, int]:
        # Of two as near the newer: asyncio's own wait_for() got five times as fast in 3.12.
        minor = int(other.partition(".")[2])
        return abs(minor - here), -minor

    found: dict[str, float] = {}
    for other in sorted(known, key=distance, reverse=True):
        found |= ratios_of(known[other])
    return found


def compare(version: str) -> int:
    """Print the regressions and return how many there are."""
    expected, found = committed(version), ratios_of(results.reported(version))
    shared = expected.keys() & found.keys()
    worse = sorted(name for name in shared if found[name] > WORSE * expected[name])
    for name in worse:
        print(f"{name}: {found[name]:.2f}, was {expected[name]:.2f}")
    print(f"{len(shared)} rows compared, {len(worse)} regressions over {WORSE - 1:.0%}")
    return len(worse)


def missed() -> None:
    """Print the committed rows that miss their goals."""
    for version, topics in results.load().items():
        for topic, found in topics.items():
            for name, row in found["rows"].items():
                if row.get("reached") is False:
                    median, ratio = row["contenders"][results.ours_of(row)]
                    value = f"{median:g} {row['unit']}" + (
                        "" if ratio is None else f", {ratio:.2f}"
                    )
                    print(f"{version}  {topic}: {name}: {value}, goal {row['goal']}")


def short() -> int:
    """Measure a few rows and return how many are far over their committed ratio."""
    print(f"Python {sys.version.split()[0]}")
    expected = committed(results.VERSION)
    bad = 0
    for topic in (primitives, gate):
        for row in topic.rows():
            name = f"{topic.__name__.rpartition('.')[2]}: {row.name}"
            if name not in expected or (topic is primitives and row.name not in SHORT):
                continue
            bound = GENEROUS * expected[name]
            taken = [_ratio(row)]
            while taken[-1] > bound and len(taken) < 3:
                taken.append(_ratio(row))
            ratio = min(taken)  # what disturbs a measurement makes it slower, never faster
            verdict = "too slow" if ratio > bound else "ok"
            print(f"{row.name:<34} {ratio:6.2f}  bound {bound:.2f}  {verdict}", flush=True)
            bad += ratio > bound
    return bad


def _ratio(row: Row) -> float:
    pair = dict(list(row.contenders.items())[:2])
    few = Row(row.name, pair, row.count, row.goal, row.wall, row.rounds, row.unit)
    return statistics.median(measure(few, 15).ratios["asyncnb"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.check")
    parser.add_argument("--write", action="store_true", help="commit the newest reports")
    parser.add_argument("--short", action="store_true", help="measure a few rows, bounds generous")
    parser.add_argument(
        "--goals", action="store_true", help="list the committed rows that miss theirs"
    )
    options = parser.parse_args()
    if options.write:
        print(f"committed: {', '.join(results.commit())}")
    elif options.goals:
        missed()
    elif short() if options.short else compare(results.VERSION):
        sys.exit(1)


if __name__ == "__main__":
    main()
