"""The kernels that the tools work in: those that run, by name, and those that were started here."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from asyncnb._client.choose import Known, choose_kernel, choose_kernels
from asyncnb._client.errors import ClientError
from asyncnb._client.kernel import RemoteKernel
from asyncnb._mcp.session import Session

#: Seconds that a kernel has to start, and to end.
START_SECONDS: Final = 60.0
END_SECONDS: Final = 1.0


class Kernels:
    """Sessions by kernel. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        #: Managers of jupyter_client, by the id of the kernel; and which ones outlive the server.
        self._started: dict[str, Any] = {}
        self._kept: set[str] = set()

    def known(self) -> list[Known]:
        """Return the kernels that run, and those that do not answer; none is left open."""
        with _kernel_argument():
            found = choose_kernels()
        for each in found:
            each.kernel.close()
        return found

    def session(self, given: str | None, handle: str | None = None) -> Session:
        """Return the session of the kernel that ``given`` names, else that of a cell's, else the
        only kernel's; ClientError if it is not clear which.
        """
        with self._lock:
            if given in self._sessions:
                return self._sessions[given]
            if given is None and handle is not None:
                for session in self._sessions.values():
                    if handle in session.cells:
                        return session
            if given is None and len(self._started) == 1:
                return self._sessions[next(iter(self._started))]
        with _kernel_argument():
            known = choose_kernel(given)
        return self._session(known.kernel)

    def _session(self, kernel: RemoteKernel) -> Session:
        with self._lock:
            session = self._sessions.get(kernel.id)
            if session is not None:
                kernel.close()
                return session
            return self._sessions.setdefault(kernel.id, Session(kernel))

    def is_started_here(self, id: str) -> bool:
        """Return whether this server has started the kernel."""
        return id in self._started

    def start(self, kernel_name: str | None, directory: str | None, keep: bool) -> Session:
        """Start a kernel with asyncnb loaded; ClientError if that fails, and nothing is left."""
        from jupyter_client.kernelspec import NoSuchKernel
        from jupyter_client.manager import KernelManager

        where = os.path.abspath(os.path.expanduser(directory)) if directory else os.getcwd()
        if not os.path.isdir(where):
            raise ClientError(f"There is no folder {where!r}.")
        manager = KernelManager(
            connection_file=os.path.join(_runtime_dir(), f"kernel-{uuid.uuid4()}.json"),
            **({"kernel_name": kernel_name} if kernel_name else {}),
        )
        try:
            # independent: it does not look for the end of this process.
            with open(os.devnull, "r+b") as nowhere:
                manager.start_kernel(
                    cwd=where, independent=keep, stdin=nowhere, stdout=nowhere, stderr=nowhere
                )
        except NoSuchKernel as exc:
            from jupyter_client.kernelspec import KernelSpecManager

            names = ", ".join(sorted(KernelSpecManager().find_kernel_specs()))
            raise ClientError(
                f"There is no kernel spec {exc.name!r}. Known names: {names}."
            ) from None
        try:
            session = self._session(RemoteKernel(Path(manager.connection_file)))
            try:
                session.run_silently("%load_ext asyncnb", START_SECONDS)
                session.usable()
            except BaseException:
                with self._lock:
                    del self._sessions[session.id]
                session.close()
                raise
        except BaseException as exc:
            manager.shutdown_kernel(now=True)
            if isinstance(exc, ClientError):
                raise ClientError(
                    f"asyncnb could not be loaded in the kernel {manager.kernel_name!r}: {exc} Is "
                    "asyncnb installed in its environment?"
                ) from None
            raise
        with self._lock:
            self._started[session.id] = manager
            if keep:
                self._kept.add(session.id)
        return session

    def stop(self, session: Session) -> None:
        """Shut down a kernel that was started here; ClientError for another one."""
        with self._lock:
            manager = self._started.pop(session.id, None)
            if manager is None:
                raise ClientError(
                    f"Kernel {session.id} was not started by start_kernel: its user shuts it down."
                )
            del self._sessions[session.id]
            self._kept.discard(session.id)
        session.close()
        _shut_down(manager)

    def close(self) -> None:
        """End the kernels that were started here, but for those to keep, and all connections."""
        with self._lock:
            sessions, self._sessions = [*self._sessions.values()], {}
            started, self._started = self._started, {}
        for session in sessions:
            session.close()
        for id, manager in started.items():
            if id not in self._kept:
                _shut_down(manager)


def _runtime_dir() -> str:
    """Return the folder that connection files are looked for in; it is made if it is missing."""
    from jupyter_core.paths import jupyter_runtime_dir

    folder = jupyter_runtime_dir()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def _shut_down(manager: Any) -> None:
    manager.shutdown_wait_time = END_SECONDS
    manager.shutdown_kernel()


@contextlib.contextmanager
def _kernel_argument() -> Iterator[None]:
    """Make errors name the argument of the tools where they name the option of a terminal."""
    try:
        yield
    except ClientError as exc:
        text = str(exc).replace("with --kernel", "in the argument kernel")
        raise type(exc)(text) from None
