"""One run at a time writes to a save file: the lock on a file beside it, and what holds it.

The lock is the operating system's, so it is free as soon as its process has ended, whatever ended
it. It is not on the database: closing a second descriptor of that file would drop SQLite's own
locks of the process. The file is ``run.db-lock``; its text says what holds the lock, and it is
deleted with it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from typing import Any

from asyncnb._core.base.errors import SaveError
from asyncnb._core.base.forks import at_fork

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: The locked byte: beyond the text, as Windows lets no other process read what is locked.
_BYTE = 1 << 20
_ATTEMPTS = 100

#: The locks of this process, by path.
_held: dict[str, SaveLock] = {}


class SaveLock:
    """The lock on one save file, until ``release``. Any thread."""

    def __init__(self, path: str, shown: str, run: str) -> None:
        """Take the lock for the run of that name. Raises SaveError if it is held, or cannot be."""
        self._path = os.path.realpath(path) + "-lock"
        self._pid = os.getpid()
        self.run = run
        #: False when released, or when the file with the lock was deleted.
        self._descriptor: int | None = None
        other = _held.setdefault(self._path, self)
        if other is not self:
            raise SaveError(
                f"{shown} is in use by the run {other.run!r} of this process, and two runs cannot "
                f"save to one file: await it, cancel it with asyncnb.cancel({other.run!r}), or use "
                "another file."
            )
        try:
            self._descriptor = self._take(shown)
        except BaseException:
            del _held[self._path]
            raise
        self._write({"pid": self._pid, "host": platform.node(), "run": run, "since": time.time()})

    def _take(self, shown: str) -> int:
        for _ in range(_ATTEMPTS):
            try:
                found = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as exc:
                raise SaveError(
                    f"{shown} cannot be saved to: {self._path} cannot be written ({exc.strerror})"
                ) from exc
            try:
                if not _lock(found):
                    raise SaveError(self._describe_holder(shown, found))
                if self._is_current(found):
                    return found
            except BaseException:
                os.close(found)
                raise
            os.close(found)  # its last holder has just deleted it
        raise SaveError(f"{self._path} is created and deleted all the time; delete it")

    def _is_current(self, descriptor: int) -> bool:
        """Return whether the path still leads to the locked file."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except OSError:
            return False

    def _describe_holder(self, shown: str, descriptor: int) -> str:
        try:
            holder: dict[str, Any] = json.loads(os.read(descriptor, 10_000))
            since = time.strftime("%H:%M on %d %B", time.localtime(holder["since"]))
            where = "" if holder["host"] == platform.node() else f" on {holder['host']}"
            by = f"the run {holder['run']!r} of process {holder['pid']}{where}, since {since}"
        except (OSError, ValueError, KeyError, TypeError):
            by = "another process"  # that has not yet written what it is
        return (
            f"{shown} is in use by {by}, and two runs cannot save to one file: wait for that run, "
            "cancel it there, or use another file. The file is free as soon as that process ends."
        )

    def _write(self, holder: dict[str, Any]) -> None:
        assert self._descriptor is not None
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, json.dumps(holder).encode())
        except OSError:
            pass  # a full disk: the text is only for the error of another run

    def release(self) -> None:
        """Free the lock and delete its file. Does nothing the second time, or in a forked child."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None or self._pid != os.getpid():
            return
        try:
            if sys.platform == "win32":  # which deletes no open file
                _unlock(descriptor)
                os.close(descriptor)
                os.unlink(self._path)
            else:
                if self._is_current(descriptor):
                    os.unlink(self._path)
                os.close(descriptor)
        except OSError:
            pass  # another run holds it by now
        _held.pop(self._path, None)


def _lock(descriptor: int) -> bool:
    """Lock the open file; return whether that was possible."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            # flock: two descriptors of one process exclude each other, and closing one keeps the
            # lock of the other.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        # A file system without locks, as some of containers and clusters have, and Pyodide: only
        # the runs of this process are kept apart.
        pass
    return True


def _unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


def _forget_in_child() -> None:
    """Close what a forked child inherited: otherwise the lock is held until the child ends, too."""
    for lock in _held.values():
        descriptor, lock._descriptor = lock._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
    _held.clear()


at_fork(_forget_in_child)
