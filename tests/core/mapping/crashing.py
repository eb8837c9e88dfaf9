"""A run that is killed again and again at random moments, and what has to be true after each.

    python -m tests.core.mapping.crashing FOLDER ROUNDS SEED

Each life is a forked process (a new one on Windows) that makes the same call. It kills itself after
a random number of items and a random fraction of a commit, with SIGKILL, so that no handler runs.
Its log is written with one write() per line, and so it has what happened.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import asyncnb

ITEMS = 800
LIMIT = 5
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows, os.kill() ends it as rudely


def life(seed: int, immortal: bool) -> None:
    """Make the call, or die while it runs."""
    log = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    chance = random.Random(seed)
    left = chance.randint(0, 12)
    fuse = threading.Event()

    def note(what: str, number: int) -> None:
        os.write(log, f"{what} {number}\n".encode())

    def dies() -> None:
        fuse.wait()
        time.sleep(chance.uniform(0, 0.004))
        os.kill(os.getpid(), KILL)

    async def work(number: int) -> dict[str, Any]:
        nonlocal left
        note("start", number)
        await asyncio.sleep(chance.uniform(0, 0.003))
        note("end", number)
        left -= 1
        if left < 0:
            fuse.set()
        if number % 50 == 7:
            raise ValueError(number)
        return {"n": number, "pid": os.getpid()}

    async def main() -> None:
        work.__qualname__ = "work"
        run = asyncnb.map(work, range(ITEMS), limit=LIMIT, save="run.db", name="crashing")
        async for number, outcome in run:
            if not outcome.saved:
                note("given", number)

    if not immortal:
        threading.Thread(target=dies, daemon=True).start()
    note("life", seed)
    asyncio.run(main())


async def use(function: Any) -> None:
    await asyncnb.map(function, [1], save="run.db")


def live(seed: int, immortal: bool) -> int:
    """Run one life in a process; return how it ended."""
    if hasattr(os, "fork"):
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                life(seed, immortal)
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = f"from tests.core.mapping.crashing import life; life({seed}, {immortal})"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False)
    return done.returncode


def saved() -> dict[int, tuple[str, str]]:
    """Return what is on the disk, from a copy: the next life finds what the last one has left."""
    for name in ("run.db", "run.db-wal"):
        Path("copy", name).unlink(missing_ok=True)
        if os.path.exists(name):
            shutil.copy(name, f"copy/{name}")
    if not os.path.exists("run.db"):
        return {}
    db = sqlite3.connect("copy/run.db")
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'outcomes'").fetchall():
            return {}
        rows = db.execute("SELECT key, kind, data FROM outcomes").fetchall()
        return {int(key): (kind, data) for key, kind, data in rows}
    finally:
        db.close()


def new_lines(offset: int) -> tuple[list[tuple[str, int]], int]:
    text = Path("log").read_bytes()
    lines = [line.split() for line in text[offset:].decode().splitlines()]
    return [(what, int(number)) for what, number in lines], len(text)


def check(rounds: int, seed: int) -> str:
    """Kill ``rounds`` lives, then let one live to its end; return what there was."""
    os.makedirs("copy", exist_ok=True)

    async def warm_up(item: int) -> int:
        return item

    asyncio.run(use(warm_up))  # imports what each life needs
    os.unlink("run.db")
    before: dict[int, tuple[str, str]] = {}
    offset = killed = again = 0
    for number in range(rounds + 1):
        code = live(seed * 1000 + number, number == rounds)
        assert code in (0, -KILL, KILL), code
        killed += code != 0
        lines, offset = new_lines(offset)
        started = [each for what, each in lines if what == "start"]
        given = {each for what, each in lines if what == "given"}
        after = saved()
        assert len(started) == len(set(started)), "an item ran twice in one life"
        assert not before.keys() & set(started), "a saved item ran again"
        assert given <= after.keys(), "an outcome that was given is not on the disk"
        assert before.items() <= after.items(), "an outcome was lost, or changed"
        again += len(set(started) - after.keys())
        before = after
    assert killed == rounds, f"only {killed} lives were killed: more items, or fewer rounds"
    results = {each.index: each for each in asyncnb.Save("run.db")}
    assert sorted(results) == list(range(ITEMS))
    for each, outcome in results.items():
        assert outcome.ok == (each % 50 != 7)
        assert each == (outcome.result()["n"] if outcome.ok else outcome.exception().args[0])
    assert sorted(os.listdir()) == ["copy", "log", "run.db"]
    return f"{killed} killed, {ITEMS} outcomes, {again} calls cut off and made again"


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    print(check(int(sys.argv[2]), int(sys.argv[3])))
