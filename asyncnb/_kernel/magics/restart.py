"""``%asyncnb restart``, and its refusal, and that of unloading, in code that runs on the loop."""

from __future__ import annotations

from IPython.core.error import UsageError

from asyncnb._core.base.errors import THREADS
from asyncnb._core.base.text import count
from asyncnb._core.loop.current import embedded_loop, running_embedded_loop, shutdown
from asyncnb._kernel.current_cell import current_record


def restart() -> str:
    """Cancel all tasks and start a new loop; return a sentence that says what happened.

    Raises UsageError, with nothing changed, in code that runs on that loop.
    """
    refuse_on_loop("restarted", "%asyncnb restart")
    from asyncnb._core.launched.registry import registry

    cancelled = count(len(registry.living()), "task")
    in_time = shutdown()
    if not in_time:
        registry.discard(registry.living())
    embedded_loop()
    late = "" if in_time else "; those that did not end in time were dropped"
    return f"a new embedded loop is running; {cancelled} cancelled{late}"


def refuse_on_loop(ended: str, order: str) -> None:
    """Raise UsageError if the running code would wait for its own end."""
    loop = running_embedded_loop()
    if not THREADS or loop is None:
        return
    if current_record.get() is not None:
        code = "a background task"
    elif loop.is_own_thread():
        code = "a cell with `await`"
    else:
        return
    raise UsageError(
        f"asyncnb cannot be {ended} here: this is {code}, and ending the embedded loop would end "
        f"it too. Run {order} in a separate cell, without `await`."
    )
