"""Profiles that cells ask for: ``%tasks profile``, which blocks, and ``%%atask --profile``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from asyncnb._core.base.errors import TaskNotFoundError
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.profiling.choose import chosen
from asyncnb._core.profiling.profile import Profile
from asyncnb._kernel.arguments import profile_seconds

if TYPE_CHECKING:
    from asyncnb._kernel.output.router import OutputRouter

#: For how many seconds ``%tasks profile`` looks if it is not given.
SECONDS = 5.0

Start = Callable[[], Coroutine[Any, Any, Any]]


def profile_here(name: str | None, group: str | None, seconds: float | None) -> Profile:
    """Block for ``seconds`` and return the profile; less if the tasks end, or at Ctrl-C.

    A ``name`` that is a number and no task's name is the seconds. Raises UsageError on the loop's
    own thread, TaskNotFoundError and CommandError as ``chosen`` does.
    """
    loop = running_embedded_loop()
    if loop is not None and loop.is_own_thread():
        raise UsageError(
            "%tasks profile blocks, and a cell with await runs on the loop that it would block. "
            "Write `with asyncnb.profile() as it:` around the code, or run it in a cell without "
            "await."
        )
    try:
        profile = chosen([] if name is None else [name], group)
    except TaskNotFoundError:
        if seconds is not None or name is None or not _is_number(name):
            raise
        try:
            profile, seconds = chosen([], group), profile_seconds(name)
        except argparse.ArgumentTypeError as exc:
            raise UsageError(f"%tasks profile {exc}.") from None
    profile.start(SECONDS if seconds is None else seconds)
    try:
        profile.wait()
    except KeyboardInterrupt:
        pass  # what it has so far is the answer
    finally:
        profile.stop()
    return profile


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def profiled(record: TaskRecord, start: Start, output: OutputRouter) -> Start:
    """Return a call that runs ``start`` and shows its profile under its cell, however it ends."""

    async def run() -> Any:
        profile = Profile(repr(record.name), [record.task])
        profile.start()
        try:
            return await start()
        finally:
            profile.stop()
            await output.show_off_loop(lambda: display(profile))

    return run
