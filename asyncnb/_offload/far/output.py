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

    def __init__(self, original: Any) -> None:
        self.original = original
        self.streams: dict[int, Stream] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.streams.get(threading.get_ident(), self.original), name)


_streams_lock = fork_safe_lock()


def _forget_after_fork() -> None:
    global _flusher
    _flusher = _Flusher()  # its thread exists only in the parent


at_fork(_forget_after_fork)


@contextlib.contextmanager
def output_of_this_thread(report: Report) -> Iterator[None]:
    """Route what this thread prints to ``report``."""
    ident = threading.get_ident()
    mine = []
    for name in ("stdout", "stderr"):
        with _streams_lock:
            current = getattr(sys, name)
            if not isinstance(current, PerThreadStream):
                current = PerThreadStream(current)
                setattr(sys, name, current)
        stream = current.streams[ident] = Stream(name, report)
        mine.append((current, stream))
    try:
        yield
    finally:
        for current, stream in mine:
            if stream._held:
                stream.flush()
            current.streams.pop(ident, None)


@contextlib.contextmanager
def output_of_this_process(report: Report) -> Iterator[None]:
    """Flush the streams of this process at the end: they already report to its one job."""
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
