"""Driver: takes items, runs them within a limit and passes on their outcomes."""

from __future__ import annotations

import asyncio
import contextvars
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from typing import Any

from asyncnb._core.base.errors import ItemsFailedError
from asyncnb._core.base.frames import clear_ended_frames
from asyncnb._core.base.progress import Progress
from asyncnb._core.base.progress_observers import next_progress_id, report
from asyncnb._core.base.text import brief, count
from asyncnb._core.mapping.counts import Meter
from asyncnb._core.mapping.outcome import Outcome
from asyncnb._core.mapping.saving import Saving
from asyncnb._core.mapping.stream import Stream
from asyncnb._core.primitives.futures import runs_elsewhere
from asyncnb._core.primitives.tasks import Task, create_here
from asyncnb._core.primitives.waiting import checkpoint

__asyncnb_frames__ = "waits"

#: Seconds between two reports of the progress.
REPORT_SECONDS = 0.1
#: Seconds of work that never waits, after which other tasks of the loop have their turn.
BREATH_SECONDS = 0.005
#: How many exceptions are in the error of a run, and keep the variables of their frames.
FEW = 10
#: In the place of a result that is not known yet.
MISSING: Any = object()


class Driver:
    """Runs one function on many items, on the thread of one loop, as one task with workers.

    ``pairs`` yields the items with their indices; it is an iterator, or ``feed`` is an asynchronous
    one, which a task of its own advances. Subclasses say what a worker does. Everything but
    ``notify`` is for the thread of the loop.
    """

    #: What a worker is called in ``%tasks NAME/``.
    kind = "item"

    def __init__(
        self,
        function: Callable[[Any], Any],
        plan: Any,
        meter: Meter,
        pairs: Iterator[tuple[int, Any]] | None,
        feed: Any,
        sink: Stream | None,
        results: list[Any] | None,
        saving: Saving | None = None,
    ) -> None:
        self.function = function
        self.plan = plan
        self.name = plan.name
        self.meter = meter
        self.pairs = pairs
        self.feed = feed
        self.sink = sink
        #: The results in the order of the items, if all of them are wanted.
        self.results = results
        self.saving = saving
        #: Whether the first failure ends the run.
        self.raises = plan.raises
        self.return_exceptions = plan.return_exceptions
        self.failed: list[Outcome[Any, Any]] = []
        #: Items that were taken and whose calls were stopped with the run.
        self.interrupted: list[tuple[int, Any]] = []
        self.workers: set[Any] = set()
        self.exhausted = False
        self.closing = False
        self.error: BaseException | None = None
        self._source_error: BaseException | None = None
        self._wake: asyncio.Future[None] | None = None
        self._feeder: Any = None
        #: What waits until the driver has looked what may start.
        self._resumed: list[asyncio.Future[None]] = []
        #: The index of the next item of an asynchronous source.
        self.next_index = 0
        self.reporting = False
        self._progress = Progress(0, plan.label, 0, meter.total, None)
        self.loop: Any = None
        self.task: Any = None
        self.context = contextvars.Context()
        self.clock: Callable[[], float] = time.monotonic

    # For subclasses

    def spawn(self, pair: tuple[int, Any]) -> None:
        """Start a worker with an item; call ``add`` with its task."""
        raise NotImplementedError

    def add(self, worker: Any) -> None:
        """Watch a new worker."""
        worker._log_destroy_pending = False  # no code has a reference to it
        self.workers.add(worker)
        worker.add_done_callback(self._left)

    def left(self, worker: Any) -> None:
        """Note what is left to note of a worker that has ended."""

    def take(self) -> tuple[int, Any] | None:
        """Return the next item with its index if one may start now, else None.

        Never from an asynchronous source, whose items are passed to ``spawn`` as they come.
        """
        until = 0.0
        while not self.exhausted and self.pairs is not None and self.may_take():
            try:
                pair = next(self.pairs)
            except BaseException as exc:
                self.source_ended(exc)
                return None
            self.taken(pair[0])
            if self.saving is None or self.needs_call(*pair):
                return pair
            # The outcome was in the file. There may be a million more, and other tasks.
            now = self.clock()
            until = until or now + BREATH_SECONDS
            if now > until:
                self.loop.call_soon(self.notify_here)
                return None
        return None

    def source_ended(self, exc: BaseException) -> None:
        """Note what the iterator of the items raised."""
        if not isinstance(exc, Exception):
            self.stop(exc)
            return
        self.exhausted = True
        if not isinstance(exc, StopIteration):
            self._source_error = exc

    def needs_call(self, index: int, item: Any) -> bool:
        """Return whether the item's outcome is missing in the save file; note it if it is there."""
        assert self.saving is not None
        try:
            outcome = self.saving.find(index, item)
        except Exception as exc:
            self.item_stopped(index, item)  # retry() looks for it again
            self.stop(exc)
            return False
        if outcome is None:
            return True
        meter = self.meter
        if outcome.ok:
            meter.done += 1
            meter.saved += 1
            if self.results is not None:
                self.results[index] = outcome.result()
            if self.sink is not None:
                self.sink.put(outcome)
            if not self.reporting:
                self.report_soon()
        else:
            self._deliver_failure(outcome)
        return False

    def taken(self, index: int) -> None:
        """Count an item that was taken, and keep a place for its result."""
        self.meter.started += 1
        results = self.results
        if results is not None and index >= len(results):
            results.append(MISSING)
        if self.sink is not None:
            self.sink.taken(index)

    def may_take(self) -> bool:
        """Return whether an item may be taken: nothing stops or pauses the run, and there is room.

        The limit is not considered.
        """
        return (
            not self.closing
            and self.task._pause is None
            and (self.sink is None or self.sink.room())
            and (self.saving is None or self.saving.room())
        )

    def succeeded(self, outcome: Outcome[Any, Any]) -> None:
        """Note the result of an item, once it is in the save file if there is one."""
        if self.saving is not None:
            self.saving.put(outcome, self._deliver, self._not_saved)
        else:
            self._deliver(outcome)

    def item_failed(self, outcome: Outcome[Any, Any]) -> None:
        """Note the exception of an item, which ends the run if failures do."""
        if self.saving is not None and not isinstance(outcome._error, CancelledError):
            self.saving.put(outcome, self._deliver_failure, self._not_saved)
        else:
            self._deliver_failure(outcome)

    def _not_saved(self, outcome: Outcome[Any, Any], error: BaseException) -> None:
        self.item_stopped(outcome.index, outcome.item)  # retry() calls it again
        self.stop(error)

    def _deliver(self, outcome: Outcome[Any, Any]) -> None:
        self.meter.done += 1
        if self.results is not None:
            self.results[outcome.index] = outcome._value
        if self.sink is not None:
            self.sink.put(outcome)
        if not self.reporting:
            self.report_soon()

    def _deliver_failure(self, outcome: Outcome[Any, Any]) -> None:
        exc = outcome._error
        assert exc is not None
        self.meter.failed += 1
        self.failed.append(outcome)
        if len(self.failed) > FEW:
            clear_ended_frames(exc)  # what they hold could be any size
        if self.results is not None and self.return_exceptions:
            self.results[outcome.index] = exc
        if not self.reporting:
            self.report_soon()
        if self.raises:
            self.stop(self.described(outcome))
        elif self.sink is not None:
            self.sink.put(outcome)

    def item_stopped(self, index: int, item: Any) -> None:
        """Note an item whose call was stopped with the run."""
        self.meter.started -= 1
        self.interrupted.append((index, item))

    def described(self, outcome: Outcome[Any, Any]) -> BaseException:
        """Return the exception of a failed item, with a note that names the item."""
        exc = outcome._error
        assert exc is not None
        what = f"item {outcome.index} of {self.name!r}: {brief(outcome.item)}"
        if isinstance(exc, CancelledError):
            cancelled = RuntimeError(f"The call was cancelled for {what}")
            cancelled.__cause__ = exc
            return cancelled
        if f"asyncnb.map: {what}" not in getattr(exc, "__notes__", ()):
            exc.add_note(f"asyncnb.map: {what}")
        return exc

    def stop(self, error: BaseException) -> None:
        """End the run with ``error``: stop everything that runs."""
        if self.error is None:
            self.error = error
        self._cancel_workers()
        self.notify_here()
        if self.task is not None and self.task._pause is not None:
            self.task.resume()  # there is nothing to wait for

    # The task of the run

    async def drive(self) -> BaseException | None:
        """Run all items; return what has ended the run before its last item, or None.

        It is not raised here: its traceback would keep this object alive, with all results.
        """
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        self.context = contextvars.copy_context()
        self._progress = self._progress._replace(id=next_progress_id(), task=self.task)
        # Not the loop's clock: uvloop's does not advance during a step.
        self.clock = self.loop.time if getattr(self.loop, "virtual", False) else time.monotonic
        self.meter.begin(self.clock)
        self.meter.on_change = self.notify
        for bounded in (self.sink, self.saving):
            if bounded is not None:
                bounded.on_room = self.notify_here
        failed = True
        try:
            self._report()
            if self.feed is not None:
                self._feeder = self._make_task(self._feed(), "items")
            while True:
                self._fill()
                if not self.workers and (
                    self.closing
                    or (
                        self.exhausted
                        and self._feeder is None
                        and (self.saving is None or not self.saving.pending)
                    )
                ):
                    break
                self._wake = self.loop.create_future()
                await self._wake
            failed = bool(self.error or self._source_error or self.failed)
        finally:
            try:
                await self._close()
            finally:
                self.meter.on_change = None
                self.meter.end()
                self._report(ended=True, failed=failed)
                if self.sink is not None:
                    self.sink.end()
                for bounded in (self.sink, self.saving):
                    if bounded is not None:
                        bounded.on_room = None  # no cycle
                self.task = None
        error = self.error
        if error is None and (error := self._source_error) is not None:
            taken = count(self.meter.started, "item")
            error.add_note(f"asyncnb.map: raised by the iterable of {self.name!r} after {taken}")
        self.error = self._source_error = None
        return error

    def failure(self, failed: list[Outcome[Any, Any]]) -> ItemsFailedError:
        """Return the error for a run whose items in ``failed`` have failed."""
        total = self.meter.total
        of = count(len(failed), "item") if total is None else f"{len(failed)} of {total} items"
        few = [self.described(outcome) for outcome in failed[:FEW]]
        return ItemsFailedError(
            f"{of} failed in {self.name!r}; run.failed lists them, run.retry() runs them again",
            [exc for exc in few if isinstance(exc, Exception)],
        )

    def _fill(self) -> None:
        for waiter in self._resumed:
            if not waiter.done():
                waiter.set_result(None)
        self._resumed.clear()
        while self.may_spawn() and (pair := self.take()) is not None:
            self.spawn(pair)

    def may_spawn(self) -> bool:
        """Return whether one more worker may run."""
        return len(self.workers) < self.meter.limit

    async def unpaused(self) -> None:
        """Wait while the run is paused."""
        while self.task._pause is not None:
            self.notify_here()  # so that the driver's next step comes when it is resumed
            await self._look()

    async def turn(self) -> None:
        """Wait until a call may start: not while the run is paused, and at the pace of the rate."""
        while True:
            if self.task._pause is not None:
                await self.unpaused()
            pacer = self.meter.pacer
            if pacer is not None and not pacer.try_acquire():
                await pacer.acquire()
            if self.task._pause is None:
                return
            # The turn is lost: calls that keep theirs over a pause would all start at its end.

    async def _look(self) -> None:
        """Wait until the driver has checked what may start."""
        waiter = self.loop.create_future()
        self._resumed.append(waiter)
        await waiter

    async def _feed(self) -> None:
        """Advance an asynchronous source: in one task, as its timeouts and scopes require."""
        try:
            iterator = aiter(self.feed)
            while True:
                # Items that run again come first: the end of this source is the end of all.
                while not (
                    (self.pairs is None or self.exhausted) and self.may_spawn() and self.may_take()
                ):
                    await self.unpaused()
                    await self._look()
                item = await anext(iterator)
                index = self.next_index
                self.next_index += 1
                self.taken(index)
                try:
                    await self.unpaused()
                except CancelledError:
                    self.item_stopped(index, item)
                    raise
                if self.closing:  # the source has ignored its cancellation
                    self.item_stopped(index, item)
                elif self.saving is None or self.needs_call(index, item):
                    self.spawn((index, item))
                elif index % 1000 == 0:
                    await checkpoint()
        except StopAsyncIteration:
            self.exhausted = True
        except CancelledError:
            if not self.closing:
                self.exhausted = True
                self._source_error = RuntimeError(f"The items of {self.name!r} were cancelled")
        except Exception as exc:
            self.exhausted = True
            self._source_error = exc
        except BaseException as exc:
            self.stop(exc)
        finally:
            self._feeder = None
            self.notify_here()

    def _make_task(self, coro: Any, name: str) -> Any:
        task: Task[Any] = create_here(Task, coro, self.loop, name, self.context.copy())
        task._log_destroy_pending = False
        return task

    def _left(self, worker: Any) -> None:
        self.workers.discard(worker)
        self.left(worker)
        if not worker.cancelled() and (exc := worker.exception()) is not None:
            self.stop(exc)  # a mistake of this package, which must not look like success
        if not self.workers or self._feeder is not None or not self.exhausted:
            self.notify_here()  # else the driver has nothing to do before the last one has ended

    def notify(self) -> None:
        """Make the driver check again what may start. Any thread."""
        loop = self.loop
        if loop is None:
            return
        if not runs_elsewhere(loop):
            self.notify_here()
            return
        try:
            loop.call_soon_threadsafe(self.notify_here)
        except RuntimeError:
            if not loop.is_closed():
                raise

    def notify_here(self) -> None:
        """Make the driver check again what may start."""
        wake = self._wake
        if wake is not None and not wake.done():
            wake.set_result(None)

    def _cancel_workers(self) -> None:
        self.closing = True
        current = asyncio.current_task(self.loop)
        for worker in (*self.workers, self._feeder):
            if worker is not None and worker is not current and not worker.done():
                worker.cancel()

    async def _close(self) -> None:
        """Stop everything that runs and wait until it has ended, whatever comes meanwhile."""
        again: CancelledError | None = None
        self._cancel_workers()
        while (
            self.workers
            or self._feeder is not None
            or (self.saving is not None and self.saving.pending)
        ):
            self._wake = self.loop.create_future()
            try:
                await self._wake
            except CancelledError as exc:
                again = exc
                self._cancel_workers()  # once more, for those whose cleanup hangs
        if again is not None:
            raise again

    # Progress

    def report_soon(self) -> None:
        """Report the progress a moment from now, with all that ends until then."""
        self.reporting = True
        self.loop.call_later(REPORT_SECONDS, self._report_now, context=self.context)

    def _report_now(self) -> None:
        self.reporting = False
        if self.meter.on_change is not None:
            self._report()

    def _report(self, *, ended: bool = False, failed: bool = False) -> None:
        meter = self.meter
        meter.sample()
        self._progress = self._progress._replace(
            done=meter.done + meter.failed, total=meter.total, ended=ended, failed=failed
        )
        report(self._progress)
