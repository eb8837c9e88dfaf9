"""The runtime directory, the kernels that run, and what the system allows."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jupyter_core.paths import jupyter_runtime_dir

from asyncnb._cli.doctor.finding import Finding
from asyncnb._client.choose import look, open_all

SECTION: Final = "This machine"
#: Seconds that all kernels together have to say whether asyncnb is loaded.
PATIENCE: Final = 1.0


def findings() -> Iterator[Finding]:
    """Yield what may stop ``asyncnb ps`` and kernels from working here."""
    yield from _runtime()
    yield _kernels()
    yield _ports()
    yield _outside()


def _runtime() -> Iterator[Finding]:
    folder = Path(jupyter_runtime_dir())
    if not folder.exists():
        yield Finding(SECTION, "runtime folder", f"{folder}, which the first kernel makes")
        return
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        text = f"{folder} cannot be written to ({exc.strerror}), so no kernel can start"
        fix = f'chmod u+rwx "{folder}", or set JUPYTER_RUNTIME_DIR'
        yield Finding(SECTION, "runtime folder", text, "problem", fix)
        return
    yield Finding(SECTION, "runtime folder", str(folder))
    if sys.platform != "win32":
        exposed = [path for path in folder.glob("kernel-*.json") if _others_read(path)]
        if exposed:
            text = f"{exposed[0]} can be read by others, who can then run code in that kernel"
            yield Finding(SECTION, "keys", text, "problem", f'chmod 600 "{folder}"/kernel-*.json')


def _others_read(path: Path) -> bool:
    try:
        # Where the folder is closed to others, so are its files.
        return all(stat.S_IMODE(each.stat().st_mode) & 0o044 for each in (path, path.parent))
    except OSError:
        return False


def _kernels() -> Finding:
    kernels = open_all()
    try:
        states = [known.state for known in look(kernels, PATIENCE) if known.state != "dead"]
    finally:
        for kernel in kernels:
            kernel.close()
    loaded, silent = states.count("alive"), states.count("no answer")
    text = f"{len(states)} running, {loaded} with asyncnb loaded"
    if silent:
        text += f", {silent} without an answer"
    return Finding(SECTION, "kernels", f"{text}: asyncnb ps" if states else "none running")


def _ports() -> Finding:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), 2.0).close()
    except OSError as exc:
        text = f"127.0.0.1 cannot be used ({exc.strerror or exc}), and kernels listen there"
        fix = "allow connections to 127.0.0.1, or let kernels use files: --transport=ipc"
        return Finding(SECTION, "ports", text, "problem", fix)
    return Finding(SECTION, "ports", "127.0.0.1 can be used")


def _outside() -> Finding:
    name = "outside reading"
    if sys.version_info < (3, 14):
        text = "of a blocked kernel needs Python 3.14, here and in the kernel"
        return Finding(SECTION, name, text, "note")
    if sys.platform == "darwin" and os.geteuid() != 0:
        return Finding(SECTION, name, "of a blocked kernel needs sudo on macOS", "note")
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    try:
        allowed = int(scope.read_text())
    except (OSError, ValueError):
        allowed = 0
    if sys.platform == "linux" and allowed and os.geteuid() != 0:
        text = f"of a blocked kernel is not allowed: {scope} is {allowed}"
        return Finding(
            SECTION, name, text, "note", "sudo sysctl kernel.yama.ptrace_scope=0, or use sudo"
        )
    return Finding(SECTION, name, "of a blocked kernel is allowed")
