"""A run that is killed at any moment continues where it was: `crashing.py` says what that is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_fifty_kills_lose_no_outcome_and_repeat_none_that_was_saved(tmp_path: Path) -> None:
    rounds = "50" if hasattr(os, "fork") else "15"  # a new process takes half a second
    seed = os.environ.get("ASYNCNB_CRASH_SEED", str(int.from_bytes(os.urandom(3), "little")))
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.mapping.crashing", str(tmp_path), rounds, seed],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"ASYNCNB_CRASH_SEED={seed}\n{done.stdout}{done.stderr}"
    assert done.stdout.startswith(f"{rounds} killed, 800 outcomes, ")
