"""Every exception that asyncnb raises of its own, with the sentence the user reads."""

from __future__ import annotations

import sys
from collections.abc import Iterable

#: Whether threads can be started; not in Pyodide, the Python of JupyterLite.
THREADS = sys.platform not in ("emscripten", "wasi") or bool(
    getattr(getattr(sys, "_emscripten_info", None), "pthreads", False)
)


class EmbeddedLoopError(RuntimeError):
    """The embedded loop cannot do what was asked: it crashed, was shut down or left by a fork."""


class WrongThreadError(RuntimeError):
    """A blocking wait was asked for on the very thread that would have to do the work."""


class CommandError(Exception):
    """A command on tasks was refused, with nothing changed; the text is a sentence for the user."""


class TaskNotFoundError(CommandError, LookupError):
    """No task, or more than one, has the name that was given."""


class ResultDroppedError(LookupError):
    """The result, or the exception, of a task that ended some time ago is not kept any more."""


class TasksFailedError(Exception):
    """Tasks that were waited for have failed; ``tasks`` holds them.

    Each failure has been shown in the cell that launched its task.
    """

    def __init__(self, message: str, tasks: Iterable[object] = ()) -> None:
        super().__init__(message)
        self.tasks: tuple[object, ...] = tuple(tasks)

    def _render_traceback_(self) -> list[str]:
        """Tell IPython to show the sentence alone: the frames say nothing about the failures."""
        return [f"{type(self).__name__}: {self}"]


class OffloadError(RuntimeError):
    """Work could not be sent to where it should run, or what it returned not be sent back."""


class WorkerLostError(OffloadError):
    """The worker that ran the task is gone, or what it returned was lost on the way."""


class RemoteError(Exception):
    """Stands for an exception raised elsewhere that cannot be brought here as it is."""


def format_exception_line(exc: BaseException) -> str:
    """Return ``Type: message``, also of an exception that cannot say its message."""
    return f"{type(exc).__name__}: {safe_str(exc)}"


def safe_str(exc: BaseException) -> str:
    """Return ``str(exc)``, or what went wrong with that."""
    try:
        return str(exc)
    except BaseException as broken:  # user code, run by us: what it raises is a fact to tell
        return f"<its __str__ raised {type(broken).__name__}>"


def did_you_mean(word: str, known: Iterable[str], *, most: int = 2) -> str:
    """Return `` Did you mean ...?`` for the nearest of ``known``, or an empty string."""
    import difflib  # takes a millisecond of %load_ext, and only mistakes need it

    known = list(dict.fromkeys(known))
    found = difflib.get_close_matches(word, known, n=most, cutoff=0.6)
    found += [k for k in known if k not in found and (word in k or k in word)][: most - len(found)]
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def would_deadlock(call: str, instead: str) -> WrongThreadError:
    """Return the error for a blocking ``call`` on the embedded loop's own thread."""
    return WrongThreadError(
        f"{call} blocks, and this code runs on the loop's own thread, which has to do the work: it "
        f"would wait for itself for ever; write `{instead}`."
    )


def cannot_block(call: str, instead: str) -> WrongThreadError:
    """Return the error for a ``call`` that would block the only thread there is."""
    return WrongThreadError(
        f"{call} waits until the work is done, and this Python (Pyodide, in a browser) has one "
        f"thread, which has to do the work: it would wait for itself for ever; write `{instead}`."
    )


def no_threads(call: str, instead: str) -> RuntimeError:
    """Return the error for a ``call`` that needs a thread where there are none."""
    return RuntimeError(
        f"{call} needs a thread, and this Python (Pyodide, in a browser) cannot start any; "
        f"{instead}"
    )
