"""An error says what is wrong with a save file, whose content stays."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

from asyncnb import Save, SaveError
from asyncnb._core.base.service_thread import ServiceThread
from asyncnb._core.mapping import save_file
from asyncnb._core.mapping.open_save import OpenSave
from asyncnb._core.mapping.save import check_save
from tests.core.mapping.test_save import fetch, folder, opened, outcome, saving

__all__ = ["folder"]
ROOT = Path(__file__).parents[3]


def refused(path: Any = "run.db") -> str:
    with pytest.raises(SaveError) as caught:
        check_save(path, fetch)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "error", "sentence"),
    [
        (3, TypeError, "the path of a file, such as save='run.db'"),
        (b"run.db", TypeError, "the path of a file"),
        (None, TypeError, "the path of a file"),
        ("", ValueError, "the path of a file"),
        (":memory:", ValueError, "the path of a file"),
        ("a\0b", ValueError, "the path of a file"),
        (".", SaveError, r"\. is a folder: name a file"),
        ("no/run.db", SaveError, "the folder no does not exist"),
    ],
)
def test_a_path_that_makes_no_sense_is_refused(
    path: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        check_save(path, fetch)
    assert os.listdir() == []


def test_options_of_a_save_are_checked() -> None:
    with pytest.raises(TypeError, match="True or False"):
        Save("run.db", pickle="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the name by which the file knows"):
        Save("run.db", function=print)  # type: ignore[arg-type]


def test_a_file_that_is_no_save_is_left_alone() -> None:
    Path("run.db").write_bytes(b"a,b\n1,2\n" * 100)
    assert "run.db is not a database: nothing was written to it" in refused()
    with pytest.raises(SaveError, match="is not a database"):
        opened()
    assert Path("run.db").read_bytes() == b"a,b\n1,2\n" * 100
    assert os.listdir() == ["run.db"]


def test_a_database_of_another_program_is_left_alone() -> None:
    db = sqlite3.connect("run.db")
    db.execute("CREATE TABLE people (name)")
    db.close()
    before = Path("run.db").read_bytes()
    assert "run.db is a database of another program" in refused()
    assert Path("run.db").read_bytes() == before


def test_a_file_of_a_newer_version_is_left_alone() -> None:
    saving(outcome(0, 0))
    db = sqlite3.connect("run.db")
    db.execute("PRAGMA user_version=2")
    db.close()
    assert "written by a newer version of asyncnb" in refused()


def test_an_empty_file_becomes_a_save() -> None:
    Path("run.db").touch()
    with pytest.raises(SaveError, match=r"run\.db is empty"):
        Save("run.db").counts()
    saving(outcome(0, 0))
    assert Save("run.db").counts().done == 1


def test_a_damaged_file_is_said_to_be() -> None:
    saving(*(outcome(n, "x" * 3000) for n in range(50)))
    data = bytearray(Path("run.db").read_bytes())
    data[4096:] = b"\x55" * (len(data) - 4096)
    Path("run.db").write_bytes(data)
    with pytest.raises(SaveError, match=r"run\.db is damaged"):
        list(Save("run.db"))
    Path("run.db").write_bytes(data[:5000])
    with pytest.raises(SaveError, match="is damaged"):
        list(Save("run.db"))


def test_a_full_disk_stops_the_run_with_what_is_saved_intact() -> None:
    async def main() -> None:
        file = opened()
        for number in range(3):
            await file.wait(outcome(number, number))
        (pages,) = file._db.execute("PRAGMA page_count").fetchone()
        file._db.execute(f"PRAGMA max_page_count={pages}")
        waits = [file.wait(outcome(n, "x" * 10_000)) for n in (3, 4)]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        late = await asyncio.gather(file.wait(outcome(5, 5)), return_exceptions=True)
        await file.aclose()
        for error in (*errors, *late):
            assert isinstance(error, SaveError)
            assert "run.db cannot be written: the disk is full" in str(error)
            assert "3 outcomes that it saved before are intact" in str(error)

    asyncio.run(main())
    saving(outcome(3, "x" * 10_000))  # when there is space, it continues
    assert [each.result() for each in Save("run.db")] == [0, 1, 2, "x" * 10_000]


IN_ANOTHER = """
import asyncio, os, sys
from tests.core.mapping.test_save import opened, outcome
from asyncnb import SaveError
"""


def another(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        # 3.12 and later warn of a fork beside threads.
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            textwrap.dedent(IN_ANOTHER) + textwrap.dedent(code),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_limit_on_the_size_of_files_is_a_full_disk() -> None:
    process = another(
        """
        import resource
        async def main():
            file = opened()
            await file.wait(outcome(0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            try:
                for number in range(1, 100):
                    await file.wait(outcome(number, "x" * 10_000))
            except SaveError as exc:
                print(number, exc)
            await file.aclose()
        asyncio.run(main())
        """
    )
    printed, _ = process.communicate()
    assert "the disk is full, or a limit on the size of files was reached" in printed
    assert Save("run.db").counts().done == int(printed.split()[0])


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted")
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_is_deleted_or_replaced_stops_the_run(how: str) -> None:
    async def main() -> None:
        file = opened()
        await file.wait(outcome(0, 0))
        if how == "deleted":
            os.unlink("run.db")
        else:
            shutil.copy("run.db", "copy.db")
            os.replace("copy.db", "run.db")
        with pytest.raises(SaveError, match="was deleted or replaced while the run saved to it"):
            await file.wait(outcome(1, 1))
        await file.aclose()

    asyncio.run(main())
    for name in os.listdir():
        os.unlink(name)  # the log of the file that is gone


def test_another_program_that_locks_the_file_is_named_as_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(save_file, "BUSY_SECONDS", 0.0)
    saving(outcome(0, 0))

    async def main() -> None:
        file = opened()
        browser = sqlite3.connect("run.db", isolation_level=None)
        browser.execute("BEGIN IMMEDIATE")
        with pytest.raises(SaveError, match="is locked by another program, such as a database"):
            await file.wait(outcome(1, 1))
        browser.close()
        await file.aclose()

    asyncio.run(main())
    assert Save("run.db").counts().done == 1


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="needs to become another user"
)
def test_a_read_only_file_and_folder_can_be_looked_at_but_not_saved_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # others may not enter pytest's
        os.chmod(folder, 0o755)
        with monkeypatch.context() as patched:
            patched.chdir(folder)
            looks_but_does_not_save(folder)


def looks_but_does_not_save(folder: str) -> None:
    saving(outcome(0, 0))
    code = """
        import json, sqlite3, traceback, csv
        from asyncnb import Save
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        print(Save("run.db").counts(), [each.result() for each in Save("run.db")])
        try:
            opened()
        except SaveError as exc:
            print(exc)
        try:
            Save("run.db").clear()
        except SaveError as exc:
            print(exc)
    """
    os.chmod("run.db", 0o444)
    before = sorted(os.listdir())
    printed, _ = another(code).communicate()
    lines = printed.splitlines()
    assert lines[0] == "SaveCounts(done=1, failed=0, changed=0) [0]"
    assert "cannot be saved to" in lines[1]
    assert "cannot be saved to" in lines[2]
    os.chmod(folder, 0o777)
    printed, _ = another(code).communicate()
    lines = printed.splitlines()
    assert "run.db is read-only: make it writable" in lines[1]
    assert sorted(os.listdir()) == before


# Two runs on one file


def test_two_runs_of_one_process_are_refused_by_name() -> None:
    file = opened()
    with pytest.raises(SaveError, match=r"in use by the run 'calls' of this process.*cancel\("):
        opened("./run.db")
    file.join()
    opened().join()


HOLDS = """
import time
async def main():
    file = opened()
    await file.wait(outcome(0, 0))
    pass
    print(os.getpid(), flush=True)
    await asyncio.sleep(100)
asyncio.run(main())
"""


def test_the_process_that_holds_a_file_is_named_and_its_death_frees_it() -> None:
    process = another(HOLDS)
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    with pytest.raises(SaveError) as caught:
        opened()
    assert f"in use by the run 'calls' of process {process.pid}, since " in str(caught.value)
    assert Save("run.db").counts().done == 1, "looking is allowed"
    process.kill()
    process.communicate()
    file = opened()
    assert file.found == 1
    file.join()
    assert os.listdir() == ["run.db"]


FORKS = """if not (child := os.fork()):
        time.sleep(100)
    print(child)"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_does_not_hold_the_file_of_its_dead_parent() -> None:
    process = another(HOLDS.replace("pass", FORKS))
    assert process.stdout is not None
    forked = int(process.stdout.readline())
    try:
        process.stdout.readline()
        process.kill()
        process.wait()
        file = opened()
        assert file.found == 1
        file.join()
    finally:
        os.kill(forked, signal.SIGKILL)
        process.communicate()


def test_a_lock_whose_file_is_deleted_does_not_free_the_file_of_the_next_run() -> None:
    first = opened()
    if sys.platform != "win32":
        os.unlink("run.db-lock")
    first.join()
    second = opened()
    assert isinstance(second, OpenSave)
    assert os.path.exists("run.db-lock")
    second.join()


def test_a_file_whose_counts_cannot_be_read_is_free_for_the_next_run() -> None:
    saving(*(outcome(n, "x" * 3000) for n in range(50)))
    data = bytearray(Path("run.db").read_bytes())
    with sqlite3.connect("run.db") as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'failures'"
        ).fetchone()
    db.close()
    data[(root - 1) * size : root * size] = b"\x55" * size
    Path("run.db").write_bytes(data)
    for _ in range(2):  # the second one does not know that the first one uses the file
        with pytest.raises(SaveError, match=r"run\.db is damaged"):
            opened()


def test_what_no_database_says_stops_the_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any) -> None:
        raise MemoryError("no memory")

    async def main() -> None:
        file = opened()
        await file.wait(outcome(0, 0))
        monkeypatch.setattr(file, "_check_still_there", no_memory)
        for number in (1, 2):
            with pytest.raises(SaveError, match=r"run\.db cannot be written: MemoryError"):
                await asyncio.wait_for(file.wait(outcome(number, 1)), 30)
        await file.aclose()

    asyncio.run(main())
    assert [each.index for each in Save("run.db")] == [0]


def test_a_thread_that_cannot_start_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: ServiceThread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        file = opened()
        with monkeypatch.context() as patch:
            patch.setattr(ServiceThread, "start", refuse)
            for number in range(2):
                with pytest.raises(SaveError, match="as can't start new thread"):
                    await asyncio.wait_for(file.wait(outcome(number, 0)), 30)
        await file.aclose()

    asyncio.run(main())
    saving(outcome(0, 0))  # the lock is free
