"""What the operating system knows of the process of a kernel that does not answer."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

#: Seconds that the system's own command for its list of processes may take.
LISTING: Final = 10.0


class Process(NamedTuple):
    """A process; ``stopped``: by SIGSTOP or Ctrl-Z. ``notebook`` is its path, if known."""

    pid: int
    stopped: bool
    notebook: str | None
    #: The Python, or other program, that it runs.
    program: str


def processes_of(paths: Iterable[Path]) -> dict[Path, Process]:
    """Return the processes that were started with these connection files, as far as they are found.

    Only this user's processes. Linux reads ``/proc``; elsewhere the system's command is called.
    """
    wanted = {(name, path) for path in paths for name in (path.name, path.resolve().name)}
    found: dict[Path, Process] = {}
    if wanted:
        for pid, stopped, command in _listing():
            for name, path in wanted:
                # A whole argument: an editor, or `asyncnb` itself, has the path in another place.
                if path not in found and _starts_from(command, name, path):
                    found[path] = Process(pid, stopped, _notebook_of(pid), command[0])
    return found


def _starts_from(command: Sequence[str], name: str, path: Path) -> bool:
    for before, argument in itertools.pairwise(command):
        argument = argument.removeprefix("--f=").removeprefix("--IPKernelApp.connection_file=")
        if not argument.endswith(name) or "asyncnb" in (before, Path(command[0]).name):
            continue
        if Path(argument).name == name and (
            not os.path.isabs(argument) or Path(argument).resolve() == path.resolve()
        ):
            return True
    return False


def _listing() -> Iterator[tuple[int, bool, list[str]]]:
    """Yield the number of each process, whether it is stopped, and its command line."""
    if sys.platform == "win32":
        yield from _listing_of_windows()
    elif os.path.isdir("/proc/self"):
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                try:
                    command = Path("/proc", entry, "cmdline").read_bytes()
                    stat = Path("/proc", entry, "stat").read_bytes() if b".json" in command else b""
                except OSError:
                    continue  # it has ended, or is another user's
                if stat:
                    state = stat.rpartition(b")")[2].split()[0]
                    arguments = command.decode(errors="replace").split("\0")[:-1]
                    yield int(entry), state in (b"T", b"t"), arguments
    else:
        for line in _output_of(["ps", "-xww", "-o", "pid=,state=,command="]).splitlines():
            fields = line.split(None, 2)
            if len(fields) == 3 and fields[0].isdecimal() and ".json" in fields[2]:
                yield int(fields[0]), fields[1].startswith("T"), fields[2].split(" ")


def _listing_of_windows() -> Iterator[tuple[int, bool, list[str]]]:
    query = "Get-CimInstance Win32_Process | Select ProcessId,CommandLine | ConvertTo-Json"
    try:
        rows = json.loads(_output_of(["powershell", "-NoProfile", "-Command", query]) or "[]")
    except ValueError:
        return
    for row in rows if isinstance(rows, list) else [rows]:
        command = str(row.get("CommandLine") or "")
        if ".json" in command:
            yield int(row["ProcessId"]), False, command.replace('"', "").split(" ")


def _output_of(command: list[str]) -> str:
    import subprocess  # takes ten milliseconds, and Linux needs none

    try:
        done = subprocess.run(command, capture_output=True, timeout=LISTING, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def _notebook_of(pid: int) -> str | None:
    """Return the notebook that a Jupyter server started the process for; on Linux only."""
    try:
        variables = Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    name = next((v[17:] for v in variables if v.startswith(b"JPY_SESSION_NAME=")), b"")
    return name.decode(errors="replace") or None
