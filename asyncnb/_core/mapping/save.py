"""Save: the file that keeps the outcomes of a ``map``, as an option of it and to look at."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncnb._core.base.errors import did_you_mean
from asyncnb._core.base.text import brief
from asyncnb._core.mapping.identity import Identity, identify
from asyncnb._core.mapping.open_save import OpenSave, check_function
from asyncnb._core.mapping.outcome import Outcome
from asyncnb._core.mapping.save_file import checked_path, connect, explain, shown_path, sqlite
from asyncnb._core.mapping.save_lock import SaveLock
from asyncnb._core.mapping.stored import (
    ERROR,
    JSON,
    decode_failure,
    decode_item,
    decode_result,
    failure_line,
)

if TYPE_CHECKING:
    import sqlite3

#: Rows read at a time, so that a file of any size takes as much memory as these.
_PAGE = 1000
_COLUMNS = "id, key, position, kind, data, item_kind, item, attempts, seconds"
_WHICH = {
    "all": "1",
    "failed": "kind = 'error'",
    "changed": "version != (SELECT id FROM versions ORDER BY used DESC LIMIT 1)",
}


class SaveCounts(NamedTuple):
    """How many outcomes a save file holds, and of which kind."""

    done: int
    failed: int
    #: Those of both kinds that an earlier version of the function had, or other arguments.
    changed: int


class Save:
    """The file in which ``asyncnb.map(..., save=...)`` keeps the outcomes of its items.

    ``map(f, items, save="run.db")`` is short for ``save=asyncnb.Save("run.db")``. In a later
    session, the same object is for looking at what the file holds::

        saved = asyncnb.Save("run.db")
        saved.counts()                     # SaveCounts(done=1201, failed=3, changed=0)
        for outcome in saved: ...          # Outcome objects, in the order in which they ended
        saved.failed                       # a list of the failed ones
        saved.export("run.csv")

    The file is an SQLite database. Results are stored as JSON and come back exactly as they were:
    None, bool, int, float (nan and infinities, too), str, and lists and dicts (with str keys) of
    them. Any other result, such as a tuple, a set, a dict with int keys or a NumPy array, stops the
    run with a SaveError, unless ``pickle=True``: then results that are not JSON are pickled.
    Reading a pickle runs code that the file contains: use ``pickle=True`` for your own files only.
    Failures are never pickled. They are read back with the same type if its module has been
    imported and the message is the same without the type's other attributes, otherwise as
    RemoteError; the original traceback is in a note.

    A file belongs to one function. ``function`` is the name that the file has for it, if that is
    not its current name (``module.qualified_name``).

    Keep the file on a local disk. On a network file system, an outcome is only as safe as that
    system's locks and fsync; never let two machines write to one file there.

    Raises TypeError or ValueError for what cannot be the path of a file. Making the object opens
    nothing; every method opens and closes the file, from any thread, and raises SaveError if the
    file is missing or is not one that ``map`` has saved.
    """

    __slots__ = ("_function", "_path", "_pickle")

    def __init__(
        self, path: str | os.PathLike[str], *, pickle: bool = False, function: str | None = None
    ) -> None:
        self._path = checked_path(path)
        if type(pickle) is not bool:
            raise TypeError(f"Save(pickle=...) takes True or False, not {brief(pickle)}")
        if function is not None and (type(function) is not str or not function):
            raise TypeError(
                "Save(function=...) takes the name by which the file knows the function, a str, "
                f"not {brief(function)}"
            )
        self._pickle = pickle
        self._function = function

    @property
    def path(self) -> str:
        """The absolute path of the file. The working directory may change later."""
        return self._path

    @property
    def pickle(self) -> bool:
        """Whether results that are not JSON are pickled, and pickles are read."""
        return self._pickle

    @property
    def failed(self) -> list[Outcome[Any, Any]]:
        """The failed outcomes that the file holds, in the order in which they ended."""
        return list(self._outcomes("failed"))

    def counts(self) -> SaveCounts:
        """Return how many outcomes the file holds. A run may be writing to it meanwhile."""
        with self._open() as db:
            found = [_count(db, which) for which in ("all", "failed", "changed")]
        return SaveCounts(found[0] - found[1], found[1], found[2])

    def __iter__(self) -> Iterator[Outcome[Any, Any]]:
        """Yield the outcomes, in the order in which they ended, for any number in little memory.

        ``item`` is the item if it is JSON, otherwise its repr. A run may be writing meanwhile.
        """
        return self._outcomes("all")

    def export(self, path: str | os.PathLike[str]) -> int:
        """Write all outcomes to a ``.csv`` or ``.json`` file; return how many there are.

        The table has the columns key, index, item, ok, result, error, attempts and seconds. Items
        and results are JSON text in a CSV file, and JSON values in a JSON file. Pickled results
        appear as null. An existing file is replaced. Raises ValueError for other endings, and
        OSError if it cannot be written.
        """
        target = os.fspath(path)
        kind = os.path.splitext(target)[1].lower()
        if kind not in (".csv", ".json"):
            raise ValueError(f"export() writes a .csv or a .json file, not {brief(target)}")
        if os.path.abspath(target) == self._path:
            raise ValueError("export() writes another file than the one it reads")
        with self._open():
            pass  # before a file is replaced
        with open(target, "w", encoding="utf-8", newline="") as file:
            return (_write_csv if kind == ".csv" else _write_json)(file, self._rows("all"))

    def clear(self, which: str = "all") -> int:
        """Delete outcomes, so that the same call runs their items again; return how many.

        ``which`` is "all", "failed", or "changed": the outcomes of an earlier version of the
        function or of other arguments. Raises ValueError for anything else and SaveError while a
        run uses the file.
        """
        if which not in _WHICH:
            raise ValueError(
                f"clear() takes {', '.join(map(repr, _WHICH))}.{did_you_mean(str(which), _WHICH)}"
            )
        sqlite()
        lock = SaveLock(self._path, shown_path(self._path), "clear()")
        try:
            with self._open(write=True) as db:
                deleted = db.execute(f"DELETE FROM outcomes WHERE {_WHICH[which]}").rowcount
                if which == "all":
                    db.execute("DELETE FROM versions")
            return int(deleted)
        finally:
            lock.release()

    def __repr__(self) -> str:
        pickle = ", pickle=True" if self._pickle else ""
        return f"Save({shown_path(self._path)!r}{pickle})"

    @contextlib.contextmanager
    def _open(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        module = sqlite()
        db = connect(self._path, write=write)
        try:
            yield db
        except module.Error as exc:
            raise explain(exc, self._path) from exc
        finally:
            db.close()

    def _rows(self, which: str) -> Iterator[tuple[Any, ...]]:
        last = 0
        while True:
            # A new connection for each page: code that stops in the middle leaves none open.
            with self._open() as db:
                rows = db.execute(
                    f"SELECT {_COLUMNS} FROM outcomes WHERE id > ? AND {_WHICH[which]} "
                    f"ORDER BY id LIMIT {_PAGE}",
                    (last,),
                ).fetchall()
            yield from rows
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def _outcomes(self, which: str) -> Iterator[Outcome[Any, Any]]:
        shown = shown_path(self._path)
        for _, key, index, kind, data, item_kind, item, attempts, seconds in self._rows(which):
            value = error = None
            if kind == ERROR:
                error = decode_failure(data, shown)
            else:
                value = decode_result(kind, data, self._pickle, shown)
            yield Outcome(
                index,
                decode_item(item_kind, item, key),
                value,
                error,
                key=key,
                attempts=attempts,
                seconds=seconds,
                saved=True,
            )


def _count(db: sqlite3.Connection, which: str) -> int:
    (found,) = db.execute(f"SELECT count(*) FROM outcomes WHERE {_WHICH[which]}").fetchone()
    return int(found)


def check_save(save: Any, function: Callable[..., Any]) -> tuple[Save, Identity]:
    """Return what ``map(save=...)`` means. Raises TypeError, ValueError or SaveError.

    The file is opened, if there is one, and nothing is written: what is wrong with it is raised
    before anything starts.
    """
    if not isinstance(save, Save):
        save = Save(save)
    identity = identify(function)
    if save._function is not None:
        identity = Identity(save._function, identity.source, identity.arguments)
    sqlite()
    if os.path.exists(save.path) and os.path.getsize(save.path):
        with save._open() as db:
            row = db.execute("SELECT function FROM versions LIMIT 1").fetchone()
        check_function(shown_path(save.path), row and row[0], identity)
    elif not os.path.isdir(os.path.dirname(save.path)):
        connect(save.path)  # raises
    return save, identity


def open_save(save: Save, identity: Identity, run: str = "map") -> OpenSave:
    """Open or create the file for the run of that name. Raises SaveError."""
    return OpenSave(save.path, identity, run=run, pickle=save.pickle)


def _table(rows: Iterator[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for _, key, index, kind, data, item_kind, item, attempts, seconds in rows:
        error = None
        if kind == ERROR:
            name, message = failure_line(data)
            error = f"{name}: {message}"
        yield {
            "key": key,
            "index": index,
            "item": decode_item(item_kind, item, key),
            "ok": kind != ERROR,
            "result": json.loads(data) if kind == JSON else None,
            "error": error,
            "attempts": attempts,
            "seconds": seconds,
        }


def _write_csv(file: Any, rows: Iterator[tuple[Any, ...]]) -> int:
    table = csv.writer(file)
    table.writerow(["key", "index", "item", "ok", "result", "error", "attempts", "seconds"])
    number = 0
    for row in _table(rows):
        number += 1
        row["item"] = json.dumps(row["item"])
        row["result"] = json.dumps(row["result"]) if row["ok"] else ""
        row["error"] = (row["error"] or "").encode("utf-8", "backslashreplace").decode()
        table.writerow(row.values())
    return number


def _write_json(file: Any, rows: Iterator[tuple[Any, ...]]) -> int:
    number = 0
    file.write("[")
    for number, row in enumerate(_table(rows), 1):
        file.write(("\n" if number == 1 else ",\n") + json.dumps(row))
    file.write("\n]\n")
    return number
