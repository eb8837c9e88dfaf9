"""A save file: an SQLite database, its tables, and a sentence for each way in which it fails.

Why these settings, measured on ext4 on a virtual disk: with a write-ahead log, a commit of a
hundred outcomes takes 1.5 ms, with a rollback journal 3.3 to 3.9 ms; and the loop, which reads
while another thread writes, never waits for a commit. With ``synchronous=FULL``, a commit has
returned only when its data is on the disk, so it survives a power cut. Where files cannot be mapped
into memory, as in Pyodide, SQLite keeps its rollback journal.
"""

from __future__ import annotations

import os
import urllib.parse
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.errors import SaveError
from asyncnb._core.base.text import brief, count

if TYPE_CHECKING:
    import sqlite3

#: "asnb", in the header of each save file.
APPLICATION = 0x61736E62
#: Raised when older versions of asyncnb could not read the file.
SCHEMA = 1
#: Seconds that a write waits for another program, such as a database browser, to end its own.
BUSY_SECONDS = 10.0

_TABLES = """
CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    function TEXT NOT NULL,
    source TEXT NOT NULL,
    arguments TEXT NOT NULL,
    used REAL NOT NULL,
    UNIQUE (source, arguments)
);
CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data NOT NULL,
    item_kind TEXT NOT NULL,
    item TEXT,
    attempts INTEGER NOT NULL,
    seconds REAL NOT NULL,
    ended REAL NOT NULL,
    version INTEGER NOT NULL REFERENCES versions (id)
);
CREATE INDEX failures ON outcomes (id) WHERE kind = 'error';
"""


def checked_path(path: Any) -> str:
    """Return the absolute path. Raises TypeError or ValueError for what cannot be one."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            "save= takes the path of a file, such as save='run.db', or an asyncnb.Save, not "
            f"{brief(path)} ({type(path).__name__})"
        )
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"save= takes a path that is a str, not {brief(text)}")
    if not text.strip() or text == ":memory:" or "\0" in text:
        raise ValueError(f"save= takes the path of a file, such as save='run.db', not {text!r}")
    return os.path.abspath(os.path.expanduser(text))


def shown_path(path: str) -> str:
    """Return the path in its readable form: relative if it is below the working directory."""
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):  # another drive; a working directory that is gone
        return path
    return path if relative.startswith("..") else relative


def sqlite() -> Any:
    """Return the module sqlite3. Raises SaveError where Python was built without it."""
    try:
        import sqlite3
    except ImportError:
        raise SaveError(
            "save= needs the module sqlite3 of the standard library, which this Python lacks; in "
            "Pyodide and JupyterLite, install it with: await micropip.install('sqlite3')"
        ) from None
    return sqlite3


def connect(path: str, *, create: bool = False, write: bool = False) -> sqlite3.Connection:
    """Return a connection to a save file, usable from any thread, one at a time.

    ``create`` makes the file and its tables if needed, and implies ``write``. Raises SaveError with
    a sentence for whatever is wrong with the file; then nothing was changed.
    """
    module = sqlite()
    shown = shown_path(path)
    _check_place(path, shown, create)
    writable = os.access(path, os.W_OK) if os.path.exists(path) else create
    if (create or write) and not writable:
        raise SaveError(f"{shown} is read-only: make it writable, or save to another file.")
    where = path
    if not create:
        where = _uri(path) + ("?mode=rw" if writable else "?mode=ro")
    if not writable and not os.path.exists(f"{path}-wal"):
        where = _uri(path) + "?immutable=1"  # no log beside it: none is made, as none may be
    try:
        db = module.connect(
            where,
            uri=not create,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except module.Error as exc:
        raise explain(exc, path) from exc
    try:
        _check_kind(db, shown, create)
        if create:
            _prepare(db)
    except module.Error as exc:
        db.close()
        raise explain(exc, path) from exc
    except BaseException:
        db.close()
        raise
    found: sqlite3.Connection = db
    return found


def _check_place(path: str, shown: str, create: bool) -> None:
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise SaveError(f"{shown} is a folder: name a file, such as {shown}/run.db.")
    if not os.path.isdir(folder):
        raise SaveError(
            f"{shown} cannot be saved to, as the folder {shown_path(folder)} does not exist: "
            "create it, or name another one."
        )
    if not create and not os.path.exists(path):
        raise SaveError(f"There is no file {shown}.")


def _uri(path: str) -> str:
    text = path.replace(os.sep, "/").lstrip("/")
    return f"file:///{'/' if path.startswith(os.sep * 2) else ''}{urllib.parse.quote(text)}"


def _check_kind(db: sqlite3.Connection, shown: str, create: bool) -> None:
    """Check that the database is a save file, or is empty and may become one."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == APPLICATION:
        if schema > SCHEMA:
            raise SaveError(
                f"{shown} was written by a newer version of asyncnb (its format is {schema}, this "
                f"version reads {SCHEMA}): upgrade asyncnb, or use another file."
            )
    elif application or schema or tables:
        raise SaveError(
            f"{shown} is a database of another program: nothing was written to it. Use another "
            "file."
        )
    elif not create:
        raise SaveError(f"{shown} is empty: no run has saved anything in it.")


def _prepare(db: sqlite3.Connection) -> None:
    """Set how the connection writes, and make the tables of a new file."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA fullfsync=ON")  # macOS: fsync() alone leaves data in the disk's cache
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application == APPLICATION:
        return
    db.executescript(
        f"BEGIN IMMEDIATE; {_TABLES}"
        f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={SCHEMA}; COMMIT"
    )


def explain(exc: sqlite3.Error, path: str, saved: int | None = None) -> SaveError:
    """Return the error for what SQLite raised. ``saved``: how many outcomes the file holds."""
    shown = shown_path(path)
    name = getattr(exc, "sqlite_errorname", "")
    text = str(exc)
    kept = "What it holds is intact."
    if saved is not None:
        kept = f"The run has stopped; {count(saved, 'outcome')} that it saved before are intact."
        if saved == 1:
            kept = kept.replace(" are ", " is ")
    if name.startswith("SQLITE_NOTADB"):
        return SaveError(f"{shown} is not a database: nothing was written to it. Use another file.")
    if name.startswith("SQLITE_CORRUPT"):
        return SaveError(
            f"{shown} is damaged ({text}): move it away, and start with a new file. `sqlite3 "
            f"{shown} .recover` reads what is left of it."
        )
    if name.startswith("SQLITE_FULL") or (
        name in ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE")
    ):
        return SaveError(
            f"{shown} cannot be written: the disk is full, or a limit on the size of files was "
            f"reached ({text}). {kept} Free space, then run the same call again."
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return SaveError(
            f"{shown} is locked by another program, such as a database browser: close it there, "
            f"then run the same call again. {kept}"
        )
    if name.startswith("SQLITE_READONLY"):
        return SaveError(
            f"{shown} is read-only ({text}). {kept} If there is a {shown}-wal, it has the last "
            "outcomes: copy both to a folder where you may write."
        )
    if name.startswith("SQLITE_CANTOPEN"):
        return SaveError(f"{shown} cannot be opened ({text}): check the rights of its folder.")
    return SaveError(f"{shown} cannot be used: {type(exc).__name__}: {text}. {kept}")
