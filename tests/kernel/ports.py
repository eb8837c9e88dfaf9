"""Ports for kernels, which nothing else takes between the choice and the kernel's own bind.

jupyter_client asks the system for free ports, closes them and names them to the kernel. Until that
binds them, a second later, any outgoing connection on the machine may be given one of them, and
with some thousand kernels in a run one dies of it. Systems take those from 32,768 upwards (Linux)
or from 49,152 (macOS, Windows); these are lower. Each process that runs tests has its own range,
also beside another session of pytest: it keeps the first port of that range bound until it ends.
"""

from __future__ import annotations

import atexit
import itertools
import os
import socket

LOWEST, HIGHEST = 20_000, 32_000
#: For so many processes, and 75 kernels at a time in each.
RANGES = 32
SIZE = (HIGHEST - LOWEST) // RANGES


def _claim() -> tuple[int, socket.socket]:
    """Return the first port of a range that no other process has, and the socket that is bound."""
    # Most find theirs at the first try: workers of one session have neighbouring pids.
    for number in range(RANGES):
        first = LOWEST + (os.getpid() + number) % RANGES * SIZE
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", first))
        except OSError:
            holder.close()
            continue
        return first, holder
    raise OSError(f"all {RANGES} ranges of ports for kernels are taken")


_first, _holder = _claim()
atexit.register(_holder.close)
_numbers = itertools.count()


def free_ports(count: int) -> list[int]:
    """Return so many ports of 127.0.0.1 that are free; from any thread."""
    found: list[int] = []
    for number in itertools.islice(_numbers, SIZE - 1):
        port = _first + 1 + number % (SIZE - 1)
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} of {SIZE - 1} ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
