"""The search may look at more than in a notebook: a session of pytest holds all its tests."""

from __future__ import annotations

import pytest

from asyncnb._core.deadlocks import graph, reach


@pytest.fixture(autouse=True)
def room_for_the_tests_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames of pytest reach thousands of tests, at which a search would give up."""
    for module in (graph, reach):
        monkeypatch.setattr(module, "MAX_OBJECTS", 4_000_000)
