"""What the gate measures of launching and loading: in a minute, without a kernel, by CPU time.

The page shows the same things as a kernel has them; these rows are here because their ratios hold
on a loaded machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from tests.benchmarks import Contender, Row, _prices
from tests.kernel.driver import ROOT

_LOAD = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.process_time()
shell.run_line_magic("load_ext", sys.argv[1])
print(time.process_time() - start)
"""


def loading(extension: str) -> Contender:
    """Seconds of CPU, of all threads, in which a new IPython loads ``extension``."""

    def run(clock: Callable[[], float], count: int) -> float:
        command = (sys.executable, "-c", _LOAD, extension)
        # The first round writes what it compiles, and users pay for that once.
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env = kept | {"PYTHONPATH": str(ROOT)}
        took = (
            float(subprocess.run(command, check=True, capture_output=True, env=env).stdout)
            for _ in range(count)
        )
        return sum(took)

    return run


def priced(price: Callable[[int], float]) -> Contender:
    """Seconds for ``count`` tasks at that price."""
    return lambda clock, count: 1e-6 * price(count) * count


def rows() -> Iterator[Row]:
    plain = priced(_prices.plain)
    yield Row(
        "launch 1,000 on the loop",
        {"create_task": plain, "asyncnb": priced(_prices.launched_on_loop)},
    )
    yield Row(
        "launch 1,000 from another thread",
        {"create_task": plain, "asyncnb": priced(_prices.launched_from_thread)},
    )
    yield Row(
        "load the extension",
        {"autoreload": loading("autoreload"), "asyncnb": loading("asyncnb")},
        count=1,
        rounds=9,
    )
