"""The profile of tasks: taken from outside, shown as text and as a flame graph, saved to a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

from asyncnb._core.base.errors import THREADS, no_threads
from asyncnb._core.profiling.counts import RUNNING, WAITING, Facts, Sample
from asyncnb._core.profiling.session import Session


class Profile:
    """A profile of where tasks spend their time; ``asyncnb.profile`` makes it.

    It counts from ``start()``, or the beginning of its ``with`` block, to ``stop()``, or the end of
    the block; or until its time is over, or all tasks that it covers have ended.
    """

    def __init__(
        self,
        about: str,
        tasks: Collection[Any] = (),
        belongs: Callable[[Any], bool] | None = None,
    ) -> None:
        #: What it is about, in words: ``all tasks``, ``'crawl'``, ``group 'downloads'``.
        self.about = about
        self.is_about_all: bool = not tasks and belongs is None
        self._tasks, self._belongs = tasks, belongs
        self._session: Session | None = None
        self._samples: list[Sample] | None = None

    def start(self, seconds: float | None = None) -> None:
        """Start the profile, for at most ``seconds``. Returns at once. Any thread.

        Raises RuntimeError if it was already started, and where there are no threads (Pyodide).
        """
        from asyncnb._core.profiling.sampler import sampler

        if not THREADS:
            raise no_threads("A profile", "`%tasks timeline` shows traced tasks")
        if self._session is not None:
            raise RuntimeError("This profile was started before; call asyncnb.profile() again.")
        self._session = Session(self._tasks, self._belongs, seconds)
        sampler.add(self._session)

    def stop(self) -> None:
        """End the profile and keep what it has counted; do nothing if it has ended. Any thread."""
        from asyncnb._core.profiling.sampler import sampler

        if self._session is not None:
            sampler.remove(self._session)

    def wait(self, seconds: float | None = None) -> bool:
        """Block until it has ended, or for ``seconds``; return whether it has ended."""
        return self._session is None or self._session.wait(seconds)

    def __enter__(self) -> Profile:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ended(self) -> bool:
        """Whether it was started and has ended."""
        return self._session is not None and self._session.ended is not None

    @property
    def seconds(self) -> float:
        """For how many seconds it ran, or has been running."""
        return 0.0 if self._session is None else self._session.seconds

    @property
    def looks(self) -> int:
        """How often the sampler looked."""
        return 0 if self._session is None else self._session.looks

    @property
    def samples(self) -> list[Sample]:
        """The samples, longest first; while the profile is running, those counted so far."""
        if self._session is None:
            return []
        if self._samples is None:
            samples = self._session.samples()
            if not self.ended:
                return samples
            self._samples = samples
        return self._samples

    @property
    def facts(self) -> Facts:
        """All of it, as of now."""
        return Facts(
            about=self.about,
            about_all=self.is_about_all,
            ended=self.ended,
            seconds=self.seconds,
            looks=self.looks,
            cpu=0.0 if self._session is None else self._session.cpu,
            watched=0.0 if self._session is None else self._session.watched,
            tasks=0 if self._session is None else self._session.tasks,
            samples=self.samples,
        )

    def text(self) -> str:
        """Return the lines that took most of the time, with the tasks that ran or waited there."""
        from asyncnb._core.profiling.text import text

        return text(self.facts)

    def html(self) -> str:
        """Return the text and the flame graphs as HTML, without scripts."""
        from asyncnb._core.profiling.page import html

        return html(self.facts)

    def widget_data(self) -> dict[str, Any]:
        """Return what the widget shows, as numbers and texts."""
        from asyncnb._core.profiling.page import widget_data

        return widget_data(self.facts)

    def svg(self, kind: str = RUNNING) -> str:
        """Return the flame graph of what ran (``running``) or of what waited (``waiting``).

        Raises ValueError for another ``kind``.
        """
        from asyncnb._core.profiling.page import picture

        if kind not in (RUNNING, WAITING):
            raise ValueError(f"kind must be {RUNNING!r} or {WAITING!r}, not {kind!r}.")
        return picture(self.facts, kind)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a file that https://www.speedscope.app opens.

        Raises OSError if ``path`` cannot be written; an existing file there is unchanged then.
        """
        import json

        from asyncnb._core.profiling.speedscope import speedscope
        from asyncnb._core.timeline.chrome_trace import write_whole

        write_whole(path, json.dumps(speedscope(self.samples, f"profile of {self.about}")))

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": self.text(), "text/html": self.html()}
