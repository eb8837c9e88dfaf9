"""Run the benchmark topics named on the command line, or all."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import time

import tests.benchmarks as here

TOOLS = {"chart", "check", "page", "results"}


def main() -> None:
    modules = {module.name for module in pkgutil.iter_modules(here.__path__)}
    topics = sorted(name for name in modules - TOOLS if name[0] != "_")
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("topics", nargs="*", help=f"of: {', '.join(topics)}; default: all")
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--row", default="", help="only rows whose name contains this")
    parser.add_argument("--quick", action="store_true", help="only 7 rounds")
    options = parser.parse_args()
    if unknown := set(options.topics) - set(topics):
        parser.error(f"unknown topic {', '.join(sorted(unknown))}; there are {', '.join(topics)}")
    rounds = 7 if options.quick else options.rounds
    for topic in options.topics or topics:
        started = time.monotonic()
        module = importlib.import_module(f"tests.benchmarks.{topic}")
        if hasattr(module, "run"):
            module.run(rounds, options.row)
        else:
            here.run_topic(topic, module.rows(), rounds, options.row)
        print(f"{topic}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
