"""Reads a kernel that does not answer, from outside, by what Python 3.14 and later come with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from asyncnb._client import from_outside
from asyncnb._client.errors import ClientError
from asyncnb._client.processes import Process

#: Seconds that the reading may take.
LIMIT: Final = 30.0
_FAILED: Final = "Process {pid} cannot be read from outside"


def read(process: Process) -> str:
    """Return the stacks of the threads of ``process``, and its asyncio tasks, as text.

    They are read by the kernel's own interpreter, in a process of its own. ClientError says what is
    missing: Python 3.14 in the kernel, or the permission to read another process.
    """
    pid = process.pid
    try:
        done = subprocess.run(
            # -I: neither this folder nor a variable decides what is imported there.
            [_interpreter(process), "-I", from_outside.__file__, str(pid)],
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise ClientError(f"{_FAILED.format(pid=pid)}: {exc}.{_py_spy(pid)}") from None
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode == 0:
        return said
    if done.returncode == from_outside.TOO_OLD:
        raise ClientError(
            f"Process {pid} runs Python {said}; from outside, Python 3.14 and later can be read."
            f"{_py_spy(pid)}"
        )
    if done.returncode == from_outside.NOT_ALLOWED:
        raise ClientError(
            f"The system does not allow reading process {pid} from outside. {_permission()}"
            f"{_py_spy(pid)}"
        )
    last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason"])[-1]
    raise ClientError(f"{_FAILED.format(pid=pid)}: {last}.{_py_spy(pid)}")


def _interpreter(process: Process) -> str:
    """Return the path of the interpreter that ``process`` runs."""
    if os.path.isabs(process.program) and os.path.exists(process.program):
        return process.program
    link = Path("/proc", str(process.pid), "exe")
    return os.path.realpath(link) if link.exists() else process.program


def _permission() -> str:
    if sys.platform == "darwin":
        return "On macOS, run the command with sudo."
    if sys.platform == "linux":
        return (
            "Run the command with sudo, or allow it until the next start of the system: "
            "`echo 0 | sudo tee /proc/sys/kernel/yama/ptrace_scope`. A container needs "
            "--cap-add=SYS_PTRACE."
        )
    return "Run the command as an administrator."


def _py_spy(pid: int) -> str:
    sudo = "" if sys.platform == "win32" else "sudo "
    return f" With py-spy (pip install py-spy): `{sudo}py-spy dump --pid {pid}`"
