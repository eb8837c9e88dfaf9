"""A profile in the file format of https://www.speedscope.app, which shows it in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncnb._core.introspection.places import Place
from asyncnb._core.profiling.counts import RUNNING, WAITING, Sample

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def speedscope(samples: Sequence[Sample], name: str) -> dict[str, Any]:
    """Return the document: a profile of what ran, and one of what waited, by task."""
    frames: dict[object, int] = {}
    listed: list[dict[str, Any]] = []

    def index(key: object, frame: dict[str, Any]) -> int:
        if key not in frames:
            frames[key] = len(listed)
            listed.append(frame)
        return frames[key]

    def of_place(at: Place) -> int:
        named = at.function or at.where
        frame: dict[str, Any] = {"name": named, "file": at.where}
        if at.line:
            frame["line"] = at.line
        return index(at[:3], frame)

    profiles = []
    for kind in (RUNNING, WAITING):
        chosen = [sample for sample in samples if sample.kind == kind]
        stacks: list[list[int]] = []
        for sample in chosen:
            task = f"{sample.task} ({sample.cell})" if sample.cell else sample.task
            stack = [index(("task", task), {"name": task})]
            stack += map(of_place, sample.stack)
            if sample.waits_for:
                wait = f"waiting: {sample.waits_for}"
                stack.append(index(("wait", wait), {"name": wait}))
            stacks.append(stack)
        weights = [sample.seconds for sample in chosen]
        if chosen:
            profiles.append(
                {
                    "type": "sampled",
                    "name": kind,
                    "unit": "seconds",
                    "startValue": 0,
                    "endValue": sum(weights),
                    "samples": stacks,
                    "weights": weights,
                }
            )
    return {
        "$schema": SCHEMA,
        "exporter": "asyncnb",
        "name": name,
        "activeProfileIndex": 0,
        "shared": {"frames": listed},
        "profiles": profiles,
    }
