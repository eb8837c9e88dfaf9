"""Load the test files of this Python, or those of a newer one, into this interpreter.

A newer file names things that an older Python does not have. Those that a test only uses as a tool
are given here; those that it tests are not, and fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import re
import sys
import types
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def load(suite: str, library: Path | None) -> types.ModuleType:
    """Import ``test.test_asyncio.<suite>``, of the interpreter at hand or of *library*.

    *library* is the ``lib/python3.x`` of another interpreter, whose files then run here.
    """
    if library is None:
        return importlib.import_module(f"test.test_asyncio.{suite}")
    package = importlib.import_module("test.test_asyncio")
    module: types.ModuleType | None = None
    for name in ("utils", suite):
        full = f"test.test_asyncio.{name}"
        spec = importlib.util.spec_from_file_location(
            full, library / "test" / "test_asyncio" / f"{name}.py"
        )
        assert spec is not None and spec.loader is not None, full
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        setattr(package, name, module)
        with _older_patterns():
            spec.loader.exec_module(module)
    assert module is not None
    if sys.version_info < (3, 14) and hasattr(module, "no_other_refs"):
        # Since 3.14 a coroutine refers to its own locals (gh-124392), and that helper counts it.
        module.no_other_refs = list  # type: ignore[attr-defined]
    return module


@contextlib.contextmanager
def _older_patterns() -> Iterator[None]:
    r"""Compile ``\z`` in a pattern, which came with 3.14, as the ``\Z`` of older Pythons."""
    standard: Any = re.compile

    def compiled(pattern: Any, flags: Any = 0) -> Any:
        if isinstance(pattern, str) and sys.version_info < (3, 14):
            pattern = pattern.replace(r"\z", r"\Z")
        return standard(pattern, flags)

    re.compile = compiled  # type: ignore[assignment]
    try:
        yield
    finally:
        re.compile = standard  # type: ignore[assignment]


def lend_tools() -> None:
    """Give this Python the tools that the files of a newer one work with."""
    for name, tool in vars(_Assertions).items():
        if name.startswith("assert") and not hasattr(unittest.TestCase, name):
            setattr(unittest.TestCase, name, tool)
    tasks = asyncio.tasks
    for name in ("current_task", "all_tasks"):  # named by what they are written in, since 3.14
        for kind in ("c", "py"):
            if not hasattr(tasks, f"_{kind}_{name}"):
                setattr(tasks, f"_{kind}_{name}", staticmethod(getattr(tasks, name)))
    if not hasattr(asyncio, "EventLoop"):  # 3.13's name for the platform's default
        asyncio.EventLoop = type(asyncio.new_event_loop())  # type: ignore[misc]
    if not hasattr(asyncio.events, "_set_event_loop_policy"):  # deprecated, so private since 3.14
        for module in (asyncio, asyncio.events, sys.modules["asyncio.unix_events"]):
            for name in dir(module):
                if "EventLoopPolicy" in name or "event_loop_policy" in name:
                    setattr(module, f"_{name}", getattr(module, name))


class _Assertions(unittest.TestCase):
    """Those that came with 3.14."""

    def assertStartsWith(self, s: Any, prefix: Any, msg: Any = None) -> None:
        self.assertTrue(s.startswith(prefix), msg or f"{s!r} does not start with {prefix!r}")

    def assertEndsWith(self, s: Any, suffix: Any, msg: Any = None) -> None:
        self.assertTrue(s.endswith(suffix), msg or f"{s!r} does not end with {suffix!r}")

    def assertIsSubclass(self, cls: type, superclass: Any, msg: Any = None) -> None:
        self.assertTrue(issubclass(cls, superclass), msg or f"{cls!r} is none of {superclass!r}")

    def assertHasAttr(self, obj: object, name: str, msg: Any = None) -> None:
        self.assertTrue(hasattr(obj, name), msg or f"{obj!r} has no attribute {name!r}")

    def assertNotHasAttr(self, obj: object, name: str, msg: Any = None) -> None:
        self.assertFalse(hasattr(obj, name), msg or f"{obj!r} has an attribute {name!r}")
