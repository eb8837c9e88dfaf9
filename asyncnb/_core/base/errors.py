"""All exceptions defined by asyncnb, with the sentences the user reads."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

#: Whether threads can be started: False in Pyodide, the Python of JupyterLite.
THREADS = sys.platform not in ("emscripten", "wasi") or bool(
    getattr(getattr(sys, "_emscripten_info", None), "pthreads", False)
)


class EmbeddedLoopError(RuntimeError):
    """The embedded loop cannot do this: it crashed, was shut down, or was left by a fork."""


class WrongThreadError(RuntimeError):
    """A blocking wait was requested on the very thread that would have to do the work."""


class CommandError(Exception):
    """A command on tasks was refused, with nothing changed; the text is a sentence for the user."""


class TaskNotFoundError(CommandError, LookupError):
    """No task has the given name, or more than one does."""


class ResultDroppedError(LookupError):
    """The result or exception of a task that ended some time ago is no longer stored."""


class TasksFailedError(Exception):
    """Awaited tasks have failed; ``tasks`` holds them.

    Each failure was already shown in the cell that launched the task.
    """

    def __init__(self, message: str, tasks: Iterable[object] = ()) -> None:
        super().__init__(message)
        self.tasks: tuple[object, ...] = tuple(tasks)

    def _render_traceback_(self) -> list[str]:
        """Return only the message for IPython: the frames say nothing about the failures."""
        return [f"{type(self).__name__}: {self}"]


class ItemsFailedError(ExceptionGroup[Exception]):
    """Items of ``asyncnb.map`` have failed; ``exceptions`` are those of the first ten at most.

    The run itself has all of them: ``run.failed`` lists them, ``run.retry()`` runs them again.
    """

    def derive(self, excs: Sequence[Exception]) -> ItemsFailedError:  # type: ignore[override]
        """Return a group of ``excs`` with the same message, for ``except*`` and ``split``."""
        return ItemsFailedError(self.message, excs)


class NotRunError(RuntimeError):
    """A task did not run, because a task that it was to start after has failed or was cancelled."""

    def _render_traceback_(self) -> list[str]:
        """Return only the message for IPython: the traceback appears in the cell that failed."""
        return [f"{type(self).__name__}: {self}"]


class OffloadError(RuntimeError):
    """Work could not be sent to where it should run, or its result could not be sent back."""


class WorkerLostError(OffloadError):
    """The worker that ran the task is gone, or its result was lost on the way back."""


class RemoteError(Exception):
    """A substitute for an exception that was raised elsewhere and cannot be rebuilt here.

    Elsewhere is another process, or an earlier session whose failures a save file holds.
    """


class SaveError(RuntimeError):
    """The save file of ``map`` cannot be used; it is intact unless the message says otherwise."""


def format_exception_line(exc: BaseException) -> str:
    """Return ``Type: message``, even for an exception whose ``__str__`` raises."""
    return f"{type(exc).__name__}: {safe_str(exc)}"


def safe_str(exc: BaseException) -> str:
    """Return ``str(exc)``, or a description of what that raised."""
    try:
        return str(exc)
    except BaseException as broken:  # user code that we call: report what it raises as a fact
        return f"<its __str__ raised {type(broken).__name__}>"


def did_you_mean(word: str, known: Iterable[str], *, max_count: int = 2) -> str:
    """Return `` Did you mean ...?`` for the closest matches in ``known``, or an empty string."""
    import difflib  # its import takes a millisecond of %load_ext, and only mistakes need it

    known = list(dict.fromkeys(known))
    found = difflib.get_close_matches(word, known, n=max_count, cutoff=0.6)
    others = [k for k in known if k not in found and (word in k or k in word)]
    found += others[: max_count - len(found)]
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def would_deadlock(call: str, instead: str) -> WrongThreadError:
    """Return the error for a blocking ``call`` on the embedded loop's own thread."""
    return WrongThreadError(
        f"{call} blocks, and this code runs on the loop's own thread, which has to do the work: "
        f"this would deadlock; use `{instead}` instead."
    )


def cannot_block(call: str, instead: str) -> WrongThreadError:
    """Return the error for a ``call`` that would block the only thread there is."""
    return WrongThreadError(
        f"{call} waits until the work is done, and this Python (Pyodide, in a browser) has only "
        f"one thread, which has to do the work: this would deadlock; use `{instead}` instead."
    )


def no_threads(call: str, instead: str) -> RuntimeError:
    """Return the error for a ``call`` that needs a thread where there are none."""
    return RuntimeError(
        f"{call} needs a thread, and this Python (Pyodide, in a browser) cannot start one; "
        f"{instead}"
    )
