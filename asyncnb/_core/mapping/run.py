"""MapRun: what ``asyncnb.map`` returns."""

from __future__ import annotations

import asyncio
import warnings
import weakref
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from typing import Any, Generic, TypeVar

from asyncnb._core.launched.launch import launch_checked
from asyncnb._core.launched.record import CellRequest, TaskRecord
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.mapping.counts import MapCounts, Meter
from asyncnb._core.mapping.outcome import Outcome
from asyncnb._core.mapping.plan import Plan, check_items
from asyncnb._core.mapping.saving import Saving
from asyncnb._core.mapping.stream import Stream
from asyncnb._core.primitives.futures import INTERRUPT
from asyncnb._core.primitives.tasks import Task
from asyncnb._core.primitives.waiting import wait

__asyncnb_frames__ = "waits"

T = TypeVar("T")
R = TypeVar("R")


class MapRun(Generic[T, R]):
    """A run that calls a function on many items; ``asyncnb.map`` returns it.

    Nothing runs until it is awaited, iterated or started:

    * ``await run`` returns the list of the results in the order of the items;
    * ``async for item, outcome in run`` gives each item with its ``Outcome``, once;
    * ``run.start()`` returns at once, and so works in a cell without ``await``, too.

    It runs as one launched task, whatever the number of items. The code that awaits or iterates it
    owns it: if that is cancelled or interrupted, so is the run. One that was started by ``start()``
    is a background task, and an interrupt of the code that awaits it ends only the wait.
    All methods may be called from any thread.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._meter = Meter(plan.total, plan.limit, plan.pacer)
        self._meter.run = weakref.ref(self)
        self._task: Task[Any] | None = None
        self._driver: Any = None
        self._stream: Stream | None = None
        self._results: list[Any] | None = None
        self._failed: list[Outcome[T, R]] = []
        self._again: list[tuple[int, T]] = []
        #: Outcomes of a stream that has ended before they were given.
        self._ungiven: list[Outcome[T, R]] = []
        #: The items with their indices, as far as they have not been taken.
        self._pairs: Iterator[tuple[int, T]] | None = None
        self._feed: Any = None
        #: The index of the next item of an asynchronous source.
        self._next_index = 0
        #: Gives the items their keys in the save file, and those that run again.
        self._item_keys: Any = None
        self._keys: dict[int, str] = {}
        self._in_background = False
        self._cancelled = False
        self._iterated = False
        #: Whether it was started, if only to be refused.
        self._wanted = False
        #: What its cell, if it has one, is known by: see CellRequest.
        self._identity: object = None
        #: Called with the results, and the exceptions of failed items, when all items have ended.
        self._on_results: Callable[[list[Any]], object] | None = None
        #: The coroutine and the save file for the task that is about to be launched.
        self._prepared: tuple[Coroutine[Any, Any, list[Any] | None], Any] | None = None

    # Running it

    def start(self) -> MapRun[T, R]:
        """Start the run in the background, and return it; its results are collected.

        It runs on the running loop, or on the embedded loop if no loop is running. Does nothing if
        it was already started. Raises the errors of a save file that cannot be used.
        """
        if self._task is None:
            self._refuse_streamed()
            self._in_background = True
            self._begin(streaming=False)
        return self

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self._result().__await__()

    def join(self, timeout: float | None = None) -> list[R]:
        """Start the run if needed, and block the thread until it has ended; return the results.

        Raises what ``await run`` raises, TimeoutError after ``timeout`` seconds, and RuntimeError
        on the thread of the run's loop, which would deadlock.
        """
        self._refuse_streamed()
        self.start()
        task: Any = self._task
        del self  # the task keeps an exception, whose traceback keeps these variables
        found: list[R] = task.join(timeout)
        return found

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the run with all calls in progress; return False if it has ended.

        A run that has not been started can then no longer be started.
        """
        if self._task is not None:
            return self._task.cancel(msg)
        self._cancelled = True
        return True

    def pause(self) -> bool:
        """Start no more items until ``resume()``; running ones finish. False if it has ended."""
        return self._task is not None and self._task.pause()

    def resume(self) -> bool:
        """Continue after ``pause()``; return False if the run is not paused."""
        return self._task is not None and self._task.resume()

    def done(self) -> bool:
        """Return whether the run has ended."""
        return self._cancelled if self._task is None else self._task.done()

    def retry(self) -> MapRun[T, R]:
        """Run the failed items again, and those that were stopped with the run; return self.

        The results of the others are kept: ``await run.retry()`` returns the whole list, if nothing
        fails this time. After a run that was iterated, ``async for`` gives first the results that
        it had not given, then the outcomes of the items that run again. Raises RuntimeError if the
        run has not ended.
        """
        if self._task is not None and self._task.done() and self._driver is None:
            raise RuntimeError(f"{self!r} has not called anything; run its cell again")
        if self._task is None or not self._task.done():
            raise RuntimeError(
                f"{self!r} has not ended: retry() runs its failed items again when it has"
            )
        pairs = [(outcome.index, outcome.item) for outcome in self._failed] + self._again
        pairs.sort(key=lambda pair: pair[0])
        self._keys |= {each.index: each.key for each in self._failed if each.key is not None}
        self._meter.started -= len(self._failed)
        self._meter.failed -= len(self._failed)
        self._failed, self._again = [], []
        if self._stream is not None:
            self._ungiven = [each for each in self._stream.undelivered() if each.ok]
        rest = self._pairs

        def again() -> Iterator[tuple[int, T]]:
            yield from pairs
            if rest is not None:
                yield from rest

        self._pairs = again()
        self._task = self._driver = self._stream = None
        self._in_background = False
        if self._iterated:
            self._iterated = False
        else:
            self._begin(streaming=False)
        return self

    # What it knows

    @property
    def task(self) -> Task[Any] | None:
        """The launched task, None before it is started."""
        return self._task

    @property
    def limit(self) -> int:
        """How many items may run at the same time. You can set it while the run is going.

        If it is lowered, items that are already running finish. Raises TypeError or ValueError for
        anything but an integer from 1.
        """
        return self._meter.limit

    @limit.setter
    def limit(self, value: int) -> None:
        self._meter.limit = value

    @property
    def rate(self) -> str | None:
        """The rate of calls, such as "60/min", or None. You can set it while the run is going.

        Takes what ``map(rate=...)`` takes; None removes the limit, also for calls that are waiting.
        If several runs share one Rate, it changes for all of them. Raises TypeError or ValueError
        for anything else.
        """
        return self._meter.rate

    @rate.setter
    def rate(self, value: Any) -> None:
        self._meter.rate = value

    def counts(self) -> MapCounts:
        """Return how far the run is: a snapshot."""
        return self._meter.counts()

    @property
    def failed(self) -> list[Outcome[T, R]]:
        """The outcomes of the items that have failed so far, in the order of the items."""
        driver = self._driver
        found = self._failed if driver is None else [*self._failed, *driver.failed]
        return sorted(found, key=lambda outcome: outcome.index)

    def __del__(self) -> None:
        if not (getattr(self, "_wanted", True) or self._cancelled or self._iterated):
            warnings.warn(
                f"map() of {self._plan.name!r} was never awaited, iterated or started",
                RuntimeWarning,
                stacklevel=2,
            )

    def __repr__(self) -> str:
        counts = self.counts()
        if self._task is None:
            state = "cancelled" if self._cancelled else "not started: await it, or call start()"
        else:
            of = "" if counts.total is None else f" of {counts.total}"
            state = f"{counts.done}{of} done"
            if counts.failed:
                state += f", {counts.failed} failed"
            if not self._task.done():
                state += f", {counts.running} running"
        return f"<MapRun {self._plan.name!r}: {state}>"

    # Inside

    def _prepare(self, *, streaming: bool) -> tuple[Coroutine[Any, Any, list[Any] | None], Any]:
        """Return the coroutine of the task of the run, and its save file, open, or None."""
        plan = self._plan
        self._wanted = True
        if self._cancelled:
            raise CancelledError(f"{self!r} was cancelled before it was started")
        if self._pairs is None and self._feed is None:
            if hasattr(plan.items, "__iter__"):
                self._pairs = iter(enumerate(plan.items))
            else:
                self._feed = plan.items
        if streaming:
            self._stream = Stream(self._meter, ordered=plan.ordered)
            for outcome in self._ungiven:
                self._stream.taken(outcome.index)
                self._stream.put(outcome)
            self._ungiven = []
        elif self._results is None:
            self._results = []
        file = self._open_file()
        try:
            saving = None if file is None else Saving(file, self._item_keys, self._keys)
            self._driver = plan.driver(
                plan.function,
                plan,
                self._meter,
                self._pairs,
                self._feed,
                self._stream,
                self._results,
                saving,
            )
        except BaseException:
            if file is not None:
                file.close()
            raise
        self._driver.next_index = self._next_index
        return self._run(self._driver, file), file

    def _begin(self, *, streaming: bool, owned: bool = False) -> None:
        """Launch the run. ``owned``: the code that launches it awaits it, and gets its failure."""
        plan = self._plan
        coro, file = self._prepare(streaming=streaming)
        try:
            loop = asyncio._get_running_loop()
            if loop is not None and loop is not running_embedded_loop():
                task: Task[Any] = Task(coro, loop=loop, name=plan.name)
            else:
                record = TaskRecord()
                record.adjustable = self._meter
                if owned:
                    record.request = CellRequest(waited=True)
                elif self._identity is not None:  # run again, the cell replaces this run, too
                    record.request = CellRequest(identity=self._identity)
                task = launch_checked(record, coro, name=plan.name, group=None, timeout=None)
        except BaseException:
            if file is not None:
                file.close()
            raise
        self._task = task
        # If it is cancelled before its first step, that closes no file and ends no stream.
        if file is not None:
            task.add_done_callback(lambda _: file.close())
        if (stream := self._stream) is not None:
            task.add_done_callback(lambda _: stream.end())

    def _open_file(self) -> Any:
        """Return the open save file, None without one; raise the error if it is refused."""
        if self._plan.save is None:
            return None
        from asyncnb._core.mapping.keys import ItemKeys  # seldom needed
        from asyncnb._core.mapping.save import open_save

        if self._item_keys is None:
            self._item_keys = ItemKeys(self._plan.key)
        return open_save(*self._plan.save, self._plan.name)

    # For a cell that is the function, and launches the run as its task

    def _launched_as(self, task: Task[Any]) -> MapRun[T, R]:
        """Note the task that was launched for the run, in the background; return the run."""
        self._in_background = True
        self._task = task
        return self

    def _prepare_as(self, record: TaskRecord, *, now: bool) -> None:
        """Note that the task of ``record``, not launched yet, will run this.

        With ``now``, what it writes to is opened, and what refuses a save file is raised, here.
        ``_discard`` closes it if the task never takes it over.
        """
        record.adjustable = self._meter
        self._identity = record.request.identity
        if now:
            self._prepared = self._prepare(streaming=False)

    def _discard(self) -> None:
        """Close what ``_prepare_as`` opened, unless the task has taken it over."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            coro, file = prepared
            coro.close()
            if file is not None:
                file.close()

    def _items_come_later(self) -> None:
        """Note that the items are not known before ``_take_items``."""
        self._meter.total = None

    def _take_items(self, items: Any) -> None:
        """Set the items of a run that has not begun. TypeError if they are no iterable."""
        self._meter.total = check_items(items)
        self._plan.items = items

    def _run_as(self, record: TaskRecord) -> Coroutine[Any, Any, list[Any] | None]:
        """Return the coroutine of the run, to be awaited by the launched task of ``record``."""
        self._launched_as(record.task)
        prepared, self._prepared = self._prepared, None
        coro, _ = self._prepare(streaming=False) if prepared is None else prepared
        return coro

    def _results_so_far(self) -> list[Any]:
        """Return the results, with its exception in the place of each item that has failed."""
        found = list(self._results or ())
        for outcome in self._failed:
            found[outcome.index] = outcome.exception()
        return found

    # For the commands and displays of its task

    def _last_failures(self, most: int) -> list[Outcome[T, R]]:
        """Return at most ``most`` of the outcomes of failed items, the newest first."""
        driver = self._driver
        newest = [] if driver is None else driver.failed[-most:]
        return [*self._failed[-most:], *newest][: -most - 1 : -1]

    async def _run(self, driver: Any, file: Any) -> list[Any] | None:
        """Run the items; return the results, or raise what has failed. The task of the run."""
        plan = self._plan
        if file is not None and not self._keys and (notice := file.notice()):
            print(notice)
        try:
            error: BaseException | None = await driver.drive()
        finally:
            self._failed += driver.failed
            driver.failed = []
            self._again += driver.interrupted
            self._next_index = driver.next_index
            self._keys = {} if driver.saving is None else driver.saving.keys
            if file is not None:
                await file.aclose()
        streamed = self._stream is not None
        if error is None and self._on_results is not None:
            self._on_results(self._results_so_far() if self._failed else self._results or [])
        if error is None and self._failed and not (streamed or plan.return_exceptions):
            error = driver.failure(self._failed)
        if error is None:
            return None if streamed else self._results
        # The registry keeps the exception for a while, and its traceback these variables.
        del self, driver, plan, file
        try:
            raise error
        finally:
            del error

    async def _result(self) -> list[R]:
        self._refuse_streamed()
        if self._task is None:
            self._begin(streaming=False, owned=True)
        task = self._task
        assert task is not None
        try:
            found: list[R] = await task
        except CancelledError as exc:
            if not task.done() and not self._in_background:
                await self._end(task, exc)
            raise
        except BaseException:
            del self  # the task keeps this exception, whose traceback keeps these variables
            raise
        return found

    async def _end(self, task: Task[Any], exc: CancelledError | None = None) -> None:
        """Cancel the run and wait until it has ended; a further cancel is passed on to it."""
        msg = exc.args[0] if exc is not None and exc.args else None
        if not task.cancelling():  # else this would interrupt the cleanup of the calls
            task.cancel(None if msg is INTERRUPT else msg)
        again: CancelledError | None = None
        while not task.done():
            try:
                await wait([task])
            except CancelledError as further:
                again = further
                task.cancel()
        if not task.cancelled():
            task.exception()  # it is of no interest any more
        if again is not None and exc is None:
            raise again

    def _refuse_streamed(self) -> None:
        if self._iterated:
            raise RuntimeError(
                f"{self!r} is iterated, which keeps no results: either await a run or iterate it"
            )

    def __aiter__(self) -> AsyncGenerator[tuple[T, Outcome[T, R]], None]:
        if self._iterated:
            raise RuntimeError(f"{self!r} can be iterated once; call map() again for another run")
        if self._task is not None:
            raise RuntimeError(
                f"{self!r} was started to collect its results: await it. To iterate a run, do so "
                "without starting or awaiting it"
            )
        self._iterated = True
        return self._iterate()

    async def _iterate(self) -> AsyncGenerator[tuple[T, Outcome[T, R]], None]:
        self._begin(streaming=True, owned=True)
        stream, task = self._stream, self._task
        assert stream is not None and task is not None
        try:
            while True:
                outcome = stream.get()
                if outcome is not None:
                    yield outcome.item, outcome
                elif stream.ended:
                    break
                else:
                    await stream.wait()
            await task
        finally:
            if not task.done():
                await self._end(task)

    async def aclose(self) -> None:
        """Cancel the run, unless it has ended, and wait for it to end; for ``contextlib.aclosing``.

        Raises nothing of what the run raised. Any loop.
        """
        task = self._task
        if task is None:
            self._cancelled = True
        elif not task.done():
            await self._end(task)
