"""Pickles: what a job consists of, and its outcome."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import io
import linecache
import os
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from .running import JobCancelled, RunningJob

PLAIN = frozenset({type(None), bool, int, float, str, bytes})


class JobRejected(Exception):
    """The job cannot run here: its data cannot be read, or its result cannot be sent."""


#: The position of the file name among the arguments of ``types.CodeType``, since Python 3.11.
_FILENAME = 10


@functools.cache
def _pickler() -> Any:
    """Return cloudpickle's pickler, changed to keep the file name of each function.

    cloudpickle 3.1.3 writes "<dynamic-code>" instead, so that equal functions give equal bytes; a
    traceback would then show no line of the cell. It is a subclass, so the user's own pickles stay
    as they are.
    """
    import cloudpickle

    table = cloudpickle.Pickler.dispatch_table
    reduce_theirs = table[types.CodeType]

    def reduce_code(code: types.CodeType) -> tuple[Any, ...]:
        make, args = reduce_theirs(code)
        return make, (*args[:_FILENAME], code.co_filename, *args[_FILENAME + 1 :])

    class Reducers(dict[type, Any]):
        """Our reducers, then cloudpickle's, looked up each time: users may add some at any time."""

        # Called for the class of nearly every object. The ChainMap itself raises and catches a
        # KeyError for each of its maps, which took 30 to 80 % longer for 10,000 instances.
        def __missing__(self, kind: type) -> Any:
            for known in table.maps:
                if kind in known:
                    return known[kind]
            raise KeyError(kind)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar = Reducers({types.CodeType: reduce_code})

    return Pickler


def dump(value: Any) -> bytes:
    """Pickle a value, including functions and classes defined in a notebook."""
    if type(value) in PLAIN:
        return pickle.dumps(value, protocol=5)
    with io.BytesIO() as file:
        _pickler()(file, protocol=5).dump(value)
        return file.getvalue()


def unsendable(what: str, exc: Exception) -> JobRejected:
    return JobRejected(
        f"{what} cannot be sent back: {type(exc).__name__}: {exc}. The work itself has finished. "
        "Return plain data, or save the result to a file and return the file's name."
    )


def load_call(payload: bytes) -> Any:
    """Return a function, its arguments and its keyword arguments; the function may be named."""
    return load(payload, _find_function)


def _find_function(call: Any) -> Any:
    function, args, kwargs = call
    if type(function) is tuple:
        module, name = function
        __import__(module)  # not `sys.modules.get`: another thread may be importing it
        function = getattr(sys.modules[module], name)
    return function, args, kwargs


def load(payload: bytes, then: Callable[[Any], Any] | None = None) -> Any:
    """Unpickle ``payload``, and pass it on to ``then``. Raises JobRejected, which says why."""
    try:
        value = pickle.loads(payload)
        return value if then is None else then(value)
    except ModuleNotFoundError as exc:
        raise JobRejected(
            f"The worker ({sys.executable}) has no module {exc.name!r}, which this work needs. "
            "Install it there, or import what you need inside the cell or function."
        ) from None
    except (AttributeError, ImportError) as exc:
        raise JobRejected(
            f"The worker ({sys.executable}) could not read what was sent: "
            f"{type(exc).__name__}: {exc}. Does it have the same version of that module?"
        ) from None


def describe_error(exc: BaseException, seen: frozenset[int] = frozenset()) -> dict[str, Any]:
    """Return what the kernel needs to show ``exc``; a traceback cannot be pickled."""
    seen |= {id(exc)}

    def other(linked: BaseException | None) -> dict[str, Any] | None:
        return None if linked is None or id(linked) in seen else describe_error(linked, seen)

    try:
        pickled = dump(exc)
        pickle.loads(pickled)
    except Exception:
        pickled = None
    try:
        message = str(exc)
    except Exception as broken:
        message = f"<its __str__ raised {type(broken).__name__}>"
    members: tuple[BaseException, ...] = ()
    if isinstance(exc, BaseExceptionGroup):
        members, message = exc.exceptions, exc.message
    return {
        "pickled": pickled,
        "type": type(exc).__name__,
        "message": message,
        "frames": list(_frames(exc.__traceback__)),
        "cause": other(exc.__cause__),
        "context": None if exc.__suppress_context__ else other(exc.__context__),
        "suppress": exc.__suppress_context__,
        "members": [describe_error(member, seen) for member in members],
    }


#: The frames above a job's own: this folder, and what runs a coroutine, also in a thread.
_MACHINERY = (
    os.path.dirname(describe_error.__code__.co_filename) + os.sep,
    os.path.dirname(asyncio.__file__) + os.sep,
    os.path.dirname(concurrent.futures.__file__) + os.sep,
)


def _frames(tb: types.TracebackType | None) -> Iterator[tuple[Any, ...]]:
    """Yield (file, function, position, source line) for each of the job's own frames.

    The function is given as its name, its qualified name and its first line.
    """
    outside = True
    while tb is not None:
        code = tb.tb_frame.f_code
        outside = outside and code.co_filename.startswith(_MACHINERY)
        if not outside:
            positions = list(code.co_positions())
            index = tb.tb_lasti // 2
            position = (
                positions[index] if index < len(positions) else (tb.tb_lineno,) * 2 + (None,) * 2
            )
            if position[0] is None:
                position = (tb.tb_lineno, tb.tb_lineno, None, None)
            line = linecache.getline(code.co_filename, tb.tb_lineno)
            function = code.co_name, code.co_qualname, code.co_firstlineno
            yield code.co_filename, function, position, line
        tb = tb.tb_next


def ended_with(exc: BaseException, current: RunningJob) -> tuple[str, bytes]:
    """Return the outcome of a job that raised."""
    if isinstance(exc, JobRejected):
        return "refused", pickle.dumps(str(exc))
    if isinstance(exc, JobCancelled) or (
        isinstance(exc, asyncio.CancelledError) and current.cancel_requested
    ):
        return "cancelled", b""
    return "failed", pickle.dumps(describe_error(exc))
