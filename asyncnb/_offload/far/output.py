"""Reports what a job prints while it prints it."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from .locks import at_fork, fork_safe_lock

#: How much output is buffered at most, in characters and in seconds.
BUFFER, DELAY = 8192, 0.02

#: Called with the kind of a report and its data.
Report = Callable[..., None]


class Stream(io.TextIOBase):
    """A text stream that reports what is written to it, in pieces of a reasonable size."""

    def __init__(self, name: str, report: Report) -> None:
        self._stream = name
        self._report = report
        self._lock = threading.RLock()
        self._held: list[str] = []
        self._size = 0
        self._since = 0.0

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8: text is reported as text."""
        return "utf-8"

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Report ``text`` now, or within DELAY if some was reported a moment ago."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            now = time.monotonic()
            self._held.append(text)
            self._size += len(text)
            if self._size > BUFFER or ("\n" in text and now - self._since > DELAY):
                self._since = now
                self.flush()
            else:
                _flusher.flush_soon(self)
        return len(text)

    def flush(self) -> None:
        """Report what is buffered."""
        with self._lock:
            text, self._held, self._size = "".join(self._held), [], 0
            if text:
                self._report("output", self._stream, text)


class _Flusher:
    """A thread that flushes all streams of this process shortly after a write."""

    def __init__(self) -> None:
        self._waiting: set[Stream] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def flush_soon(self, stream: Stream) -> None:
        """Flush ``stream`` within DELAY."""
        if stream in self._waiting:
            return
        self._waiting.add(stream)
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="asyncnb flush", daemon=True)
            self._thread.start()
        self._wake.set()

    def _main(self) -> None:
        while self._wake.wait():
            time.sleep(DELAY)
            self._wake.clear()
            while self._waiting:
                self._waiting.pop().flush()


_flusher = _Flusher()


class PerThreadStream:
    """``sys.stdout`` for a process that runs a job in each thread, such as a dask worker."""

    def __init__(self, original: Any, stream: str) -> None:
        self.original = original
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        output = outputs.get(threading.get_ident())
        return getattr(self.original if output is None else output.stream(self._stream), name)


class ThreadOutput:
    """What a thread prints while it runs a job; most jobs print nothing, and need no streams."""

    __slots__ = ("_report", "_streams")

    def __init__(self, report: Report) -> None:
        self._report = report
        self._streams: dict[str, Stream] = {}

    def stream(self, name: str) -> Stream:
        """Return the stream for ``stdout`` or ``stderr``."""
        found = self._streams.get(name)
        if found is None:
            found = self._streams.setdefault(name, Stream(name, self._report))
        return found

    def __enter__(self) -> None:
        for name in ("stdout", "stderr"):
            if type(getattr(sys, name)) is not PerThreadStream:
                _replace(name)
        outputs[threading.get_ident()] = self

    def __exit__(self, *_: object) -> None:
        try:
            for stream in self._streams.copy().values():
                stream.flush()
        finally:
            outputs.pop(threading.get_ident(), None)


#: The output of the jobs that run in this process, by thread.
outputs: dict[int, ThreadOutput] = {}

_streams_lock = fork_safe_lock()


def _replace(name: str) -> None:
    with _streams_lock:
        current = getattr(sys, name)
        if not isinstance(current, PerThreadStream):
            setattr(sys, name, PerThreadStream(current, name))


def _forget_after_fork() -> None:
    global _flusher
    _flusher = _Flusher()  # its thread exists only in the parent


at_fork(_forget_after_fork)


@contextlib.contextmanager
def output_of_this_process(report: Report) -> Iterator[None]:
    """Flush the streams of this process at the end: they already report to its one job."""
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
