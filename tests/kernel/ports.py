"""Ports for kernels, which nothing else takes between the choice and the kernel's own bind.

jupyter_client asks the system for free ports, closes them and names them to the kernel. Until that
binds them, a second later, any outgoing connection on the machine may be given one of them, and
with some thousand kernels in a run one dies of it. Systems take those from 32,768 upwards (Linux)
or from 49,152 (macOS, Windows); these are lower, and each worker of pytest has a range of its own.
"""

from __future__ import annotations

import itertools
import os
import socket

LOWEST, HIGHEST = 20_000, 32_000
#: For so many workers, and 150 kernels at a time in each.
WORKERS = 16
SIZE = (HIGHEST - LOWEST) // WORKERS

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
# Two runs on one machine begin at different places.
_numbers = itertools.count(os.getpid() * 7)


def free_ports(count: int) -> list[int]:
    """Return so many ports of 127.0.0.1 that are free; from any thread."""
    found: list[int] = []
    for number in itertools.islice(_numbers, SIZE):
        port = LOWEST + _worker * SIZE + number % SIZE
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} of {SIZE} ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
