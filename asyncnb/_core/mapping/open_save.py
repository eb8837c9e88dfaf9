"""A save file in use by a run: looks up outcomes, and writes each as it ends, on its own thread.

A thread, as a commit waits for the disk. What ends during one commit is in the next one: so a slow
run has its outcomes on the disk a few milliseconds after they exist, and a fast one hundreds of
them with each commit.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import queue
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.errors import THREADS, SaveError
from asyncnb._core.base.service_thread import ServiceThread
from asyncnb._core.base.text import brief
from asyncnb._core.mapping.identity import Identity
from asyncnb._core.mapping.outcome import Outcome
from asyncnb._core.mapping.save_file import connect, explain, shown_path, sqlite
from asyncnb._core.mapping.save_lock import SaveLock
from asyncnb._core.mapping.stored import (
    ERROR,
    decode_failure,
    decode_result,
    encode_failure,
    encode_item,
    encode_result,
)

if TYPE_CHECKING:
    import sqlite3

#: The most outcomes in a commit: more would take longer to encode than to commit.
_MAX_GROUP = 1000
#: The least seconds between two commits: each costs CPU time, whatever is in it.
_COMMIT_SECONDS = 0.005
#: Seconds that the end of an interpreter waits for outcomes that are on their way.
_CLOSE_SECONDS = 10.0

#: How many rows one statement writes: as many of the largest as there are rows, and so on. The
#: connection gives up the interpreter's lock around each statement, and a loop that is busy returns
#: it milliseconds later: with a statement for each row, a fast run was four times as slow.
_SIZES = (64, 16, 4, 1)
_COLUMNS = "key, position, kind, data, item_kind, item, attempts, seconds, ended, version"
_GET = "SELECT kind, data, attempts, seconds FROM outcomes WHERE key = ?"

#: Called on the loop once an outcome is on the disk, with None, or with why it is not.
Saved = Callable[[SaveError | None], object]


@functools.cache
def _put(rows: int) -> str:
    """Return the statement that writes so many outcomes."""
    names = _COLUMNS.split(", ")
    values = ", ".join([f"({', '.join('?' * len(names))})"] * rows)
    updates = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    return (
        f"INSERT INTO outcomes ({_COLUMNS}) VALUES {values} "
        f"ON CONFLICT (key) DO UPDATE SET {updates}"
    )


class OpenSave:
    """The save file of one run, from its start to ``close``.

    ``get`` and ``put`` are for the thread of the run's loop; the other methods for any thread.
    """

    def __init__(
        self, path: str, identity: Identity, *, run: str = "map", pickle: bool = False
    ) -> None:
        """Open or create the file and lock it. Raises SaveError; then nothing was changed."""
        self.path = path
        self.shown = shown_path(path)
        self._pickle = pickle
        module = sqlite()  # before there is a lock
        self._sqlite = module
        self._lock = SaveLock(path, self.shown, run)
        try:
            self._db = connect(path, create=True)
            try:
                self._version, self.changes = _enter_version(self._db, self.shown, identity)
                #: How many outcomes it held when it was opened, and how many of these are failures.
                self.found, self.found_failed = _count(self._db)
                self._stat = os.stat(path)
                self._reader = connect(path)
            except module.Error as exc:
                self._db.close()
                raise explain(exc, path) from exc
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._left = self.found
        #: How many outcomes were written since then.
        self.written = 0
        self._error: SaveError | None = None
        self._queue: queue.SimpleQueue[tuple[Outcome[Any, Any], Any, Saved] | None] = (
            queue.SimpleQueue()
        )
        self._thread: ServiceThread | None = None
        self._closing = self._closed = False
        self._on_closed: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def notice(self) -> str | None:
        """Return what to say before the run starts, None if the file is new."""
        if not self.found:
            return None
        text = f"{self.shown}: {self.found - self.found_failed:,} done"
        if self.found_failed:
            text += f" and {self.found_failed:,} failed"
        text += " already"
        if self.found_failed:
            text += "; run.retry() runs the failed ones again"
        for change in self.changes:
            text += f"\n{self.shown}: {change}"
        return text

    def get(self, key: str, index: int, item: Any) -> Outcome[Any, Any] | None:
        """Return the outcome that was saved for this key before the run, None if there is none.

        Raises SaveError if the file can no longer be read, or the result may not be unpickled.
        """
        if not self._left:  # a new file, or all that it held has been found
            return None
        try:
            row = self._reader.execute(_GET, (key,)).fetchone()
        except self._sqlite.Error as exc:
            raise explain(exc, self.path) from exc
        if row is None:
            return None
        self._left -= 1
        return self._outcome(key, index, item, *row)

    def read(self, key: str, index: int, item: Any) -> Outcome[Any, Any] | None:
        """Return the outcome that the file holds for this key now, as ``get`` does."""
        self._left += 1
        return self.get(key, index, item)

    def _outcome(
        self, key: str, index: int, item: Any, kind: str, data: Any, attempts: int, seconds: float
    ) -> Outcome[Any, Any]:
        value = error = None
        if kind == ERROR:
            error = decode_failure(data, self.shown)
        else:
            value = decode_result(kind, data, self._pickle, self.shown)
        return Outcome(
            index, item, value, error, key=key, attempts=attempts, seconds=seconds, saved=True
        )

    def put(self, outcome: Outcome[Any, Any], saved: Saved) -> None:
        """Write the outcome of an item; call ``saved`` on the running loop when it is on the disk.

        ``saved`` gets None, or the SaveError that says why the outcome is not in the file; all
        outcomes before it are, and all after it are refused with the same error.
        """
        if self._closing:
            raise SaveError(f"{self.shown} is closed")
        loop = asyncio.get_running_loop()
        if not THREADS:
            (error,) = self._write([outcome])
            loop.call_soon(saved, error)
            return
        if self._thread is None:
            name = f"asyncnb save {os.path.basename(self.path)}"
            thread = ServiceThread(self._main, name)
            try:
                thread.start()
            except RuntimeError as exc:  # nothing is queued that no thread would take
                raise SaveError(f"{self.shown} cannot be written, as {exc}") from exc
            self._thread = thread
        self._queue.put((outcome, loop, saved))

    def wait(self, outcome: Outcome[Any, Any]) -> asyncio.Future[None]:
        """Write the outcome of an item; return a future that is done when it is on the disk."""
        future = asyncio.get_running_loop().create_future()

        def saved(error: SaveError | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self.put(outcome, saved)
        return future

    def close(self) -> None:
        """Write everything that was put, then close and unlock the file. Does not wait."""
        if self._closing:
            return
        self._closing = True
        if self._thread is None:
            self._end()
        else:
            self._queue.put(None)

    async def aclose(self) -> None:
        """Close the file and wait until it is closed. A cancel ends the wait alone."""
        self.close()
        if self._thread is None or not self._thread.is_running_or_starting():
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._on_closed.append((loop, future))
        if not self._closed:
            await future
        self._thread.wait(1.0)  # for its last few steps, so that no thread is left behind

    def join(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Close the file and block until it is closed, for at most ``timeout`` seconds."""
        self.close()
        if self._thread is not None:
            self._thread.wait(timeout)

    # On the thread

    def _main(self) -> None:
        committed = 0.0
        try:
            while True:
                entries, last = self._next_group(committed + _COMMIT_SECONDS)
                if entries:
                    errors = self._write([outcome for outcome, _, _ in entries])
                    committed = time.monotonic()
                    self._report(entries, errors)
                if last:
                    return
        finally:
            self._end()
            self._closed = True  # first: what is added from now on does not wait
            for loop, future in self._on_closed:
                _call(loop, _set_done, future)

    def _next_group(
        self, earliest: float
    ) -> tuple[list[tuple[Outcome[Any, Any], Any, Saved]], bool]:
        """Return what is to be written next, and whether that is the end. Waits for it."""
        found: list[tuple[Outcome[Any, Any], Any, Saved]] = []
        entry = self._queue.get()
        early = earliest - time.monotonic()
        if early > 0 and entry is not None and not self._closing:
            time.sleep(early)
        while entry is not None:
            found.append(entry)
            if len(found) == _MAX_GROUP:
                return found, False
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return found, False
        return found, True

    def _write(self, outcomes: list[Outcome[Any, Any]]) -> list[SaveError | None]:
        """Write the outcomes in one commit; return for each None, or why it was not written."""
        if self._error is not None:
            return [self._error] * len(outcomes)
        errors: list[SaveError | None] = []
        rows = []
        for outcome in outcomes:
            try:
                rows.append(self._row(outcome))
                errors.append(None)
            except SaveError as exc:
                errors.append(exc)
            except Exception as exc:  # its __str__ or __repr__ raises what we did not expect
                error = SaveError(f"{self.shown} cannot save item {outcome.index}: {brief(exc)}")
                error.__cause__ = exc
                errors.append(error)
        try:
            self._check_still_there()
            self._db.execute("BEGIN IMMEDIATE")
            written = 0
            for size in _SIZES:
                while len(rows) - written >= size:
                    values = itertools.chain.from_iterable(rows[written : written + size])
                    self._db.execute(_put(size), tuple(values))
                    written += size
            self._db.execute("COMMIT")
        except self._sqlite.Error as exc:
            self._error = explain(exc, self.path, self.written)
            self._error.__cause__ = exc
        except SaveError as exc:
            self._error = exc
        except Exception as exc:  # no memory; a pickle over 2 GB: the run would wait without end
            self._error = SaveError(
                f"{self.shown} cannot be written: {type(exc).__name__}: {brief(exc)}. The run has "
                "stopped; what was saved before is intact."
            )
            self._error.__cause__ = exc
        if self._error is not None:
            try:
                self._db.execute("ROLLBACK")
            except self._sqlite.Error:
                pass  # SQLite has done so itself
            return [self._error] * len(outcomes)
        self.written += len(rows)
        return errors

    def _row(self, outcome: Outcome[Any, Any]) -> tuple[Any, ...]:
        assert outcome.key is not None
        exc = outcome.exception()
        kind, data = (
            (ERROR, encode_failure(exc))
            if exc is not None
            else encode_result(outcome.result(), self._pickle, self.shown)
        )
        item_kind, item = encode_item(outcome.item, outcome.key)
        return (
            outcome.key,
            outcome.index,
            kind,
            data,
            item_kind,
            item,
            outcome.attempts,
            outcome.seconds,
            time.time(),
            self._version,
        )

    def _check_still_there(self) -> None:
        # On POSIX a deleted file can be written to, and all of it would be lost.
        try:
            there = os.path.samestat(os.stat(self.path), self._stat)
        except OSError:
            there = False
        if not there:
            raise SaveError(
                f"{self.shown} was deleted or replaced while the run saved to it. The run has "
                "stopped; what it would have saved from now on is lost."
            )

    def _report(
        self,
        entries: Iterable[tuple[Outcome[Any, Any], Any, Saved]],
        errors: list[SaveError | None],
    ) -> None:
        by_loop: dict[Any, list[tuple[Saved, SaveError | None]]] = {}
        for (_, loop, saved), error in zip(entries, errors, strict=True):
            by_loop.setdefault(loop, []).append((saved, error))
        for loop, each in by_loop.items():
            _call(loop, _run_all, each)

    def _end(self) -> None:
        try:
            self._reader.close()
            self._db.close()  # moves the log into the database
        except self._sqlite.Error:
            pass  # the log stays beside the file, and the next run reads it
        self._lock.release()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        pass  # the loop is closed: nothing waits there any more


def _run_all(calls: Iterable[tuple[Saved, SaveError | None]]) -> None:
    for saved, error in calls:
        saved(error)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def check_function(shown: str, known: str | None, identity: Identity) -> None:
    """Raise SaveError if the file with outcomes of the function ``known`` is another one's."""
    if known is not None and known != identity.name:
        raise SaveError(
            f"{shown} holds outcomes of {known}, not of {identity.name}: use another file, or "
            f"delete this one. If it is the same function with a new name, write "
            f"save=asyncnb.Save({shown!r}, function={known!r})."
        )


def _count(db: sqlite3.Connection) -> tuple[int, int]:
    (total,) = db.execute("SELECT count(*) FROM outcomes").fetchone()
    (failed,) = db.execute("SELECT count(*) FROM outcomes WHERE kind = 'error'").fetchone()
    return total, failed


def _enter_version(db: sqlite3.Connection, shown: str, identity: Identity) -> tuple[int, list[str]]:
    """Return the number of this version of the function in the file, and what has changed."""
    row = db.execute("SELECT function FROM versions LIMIT 1").fetchone()
    check_function(shown, row and row[0], identity)
    (version,) = db.execute(
        "INSERT INTO versions (function, source, arguments, used) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (source, arguments) DO UPDATE SET used = excluded.used RETURNING id",
        (identity.name, identity.source, identity.arguments, time.time()),
    ).fetchone()
    name = identity.name.rpartition(".")[2]
    sources = arguments = 0
    was = ""
    for source, bound, outcomes in db.execute(
        "SELECT source, arguments, count(*) FROM outcomes JOIN versions ON versions.id = version "
        "WHERE version != ? GROUP BY version ORDER BY version",
        (version,),
    ):
        if source != identity.source:
            sources += outcomes
        else:
            arguments += outcomes
            was = f"from ({bound}) to ({identity.arguments})"
    changes = []
    if sources:
        changes.append(f"{name} has changed since {_were(sources)} saved")
    if arguments:
        changes.append(f"its arguments have changed {was} since {_were(arguments)} saved")
    if changes:
        it = "it" if sources + arguments == 1 else "them"
        changes = [
            f"{', and '.join(changes)}. To run {it} again, first call "
            f"asyncnb.Save({shown!r}).clear('changed')."
        ]
    return version, changes


def _were(outcomes: int) -> str:
    return f"{outcomes:,} of these {'was' if outcomes == 1 else 'were'}"
