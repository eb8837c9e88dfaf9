"""Run the benchmark topics named on the command line, or all, each in a separate process."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import subprocess
import sys
import time

import tests.benchmarks as here
from tests.benchmarks import results

TOOLS = {"chart", "check", "page", "results"}


def main() -> None:
    modules = {module.name for module in pkgutil.iter_modules(here.__path__)}
    topics = sorted(name for name in modules - TOOLS if name[0] != "_")
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("topics", nargs="*", help=f"of: {', '.join(topics)}; default: all")
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--row", default="", help="only rows whose name contains this")
    parser.add_argument("--quick", action="store_true", help="only 7 rounds")
    parser.add_argument("--write", action="store_true", help="commit each topic to results.json")
    options = parser.parse_args()
    if unknown := set(options.topics) - set(topics):
        parser.error(f"unknown topic {', '.join(sorted(unknown))}; there are {', '.join(topics)}")
    rounds = 7 if options.quick else options.rounds
    chosen = options.topics or topics
    if len(chosen) == 1:
        measure(chosen[0], rounds, options.row)
        if options.write:
            results.commit()
        return
    # What one leaves behind, a million records or a busy loop, is no part of the next one.
    rest = ["--rounds", str(rounds), "--row", options.row, *(["--write"] if options.write else [])]
    command = [sys.executable, "-m", "tests.benchmarks"]
    failed = [each for each in chosen if subprocess.run([*command, each, *rest]).returncode]
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


def measure(topic: str, rounds: int, only: str) -> None:
    started = time.monotonic()
    module = importlib.import_module(f"tests.benchmarks.{topic}")
    if hasattr(module, "run"):
        module.run(rounds, only)
    else:
        here.run_topic(topic, module.rows(), rounds, only)
    print(f"{topic}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
