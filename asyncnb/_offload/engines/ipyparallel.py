"""An ipyparallel cluster: ``--on view``, a load-balanced or direct view, or the client itself.

``abort`` prevents a task from starting and does not affect a running one. A running task gets
SIGINT, delivered by the engine's nanny, which raises CancelledError in it. What an engine prints
arrives over the cluster's own channel. A view of several engines runs each task on one of them.
"""

from __future__ import annotations

import concurrent.futures
import functools
import queue
import threading
import uuid
from typing import Any

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._offload.engines.in_order import call_in_order
from asyncnb._offload.far.install import far_package, installer, local_module
from asyncnb._offload.jobs import Job

#: Seconds that a cancelled function may take for its cleanup before its cell says that it runs.
CANCEL_GRACE_SECONDS = 5.0
#: Seconds that engines may take to confirm that they will not begin something.
ABORT_SECONDS = 2.0
#: Seconds by which output may arrive after the result.
OUTPUT_SECONDS = 2.0


class Call:
    """A job that was sent: ipyparallel's result, and how much of its output was reported."""

    def __init__(self, job: Job, result: Any) -> None:
        self.job = job
        self.result = result
        self.metadata = result._children[0].output.metadata
        self.engine: int | None = None
        self._reported = {"stdout": 0, "stderr": 0, "outputs": 0}
        self._progress: Any = None
        self._lock = threading.Lock()

    def report_new(self, _: object = None) -> None:
        """Report what is new. From any thread; called with each message of its engine."""
        with self._lock:
            engine = self.metadata["engine_id"]
            if self.engine is None and engine is not None:
                self.engine = engine
                self.job.start(f"engine {engine}")
                if self.job.cancel_requested:
                    call_in_order(self.interrupt)
            for name in ("stdout", "stderr"):
                text = self.metadata[name] or ""
                if len(text) > self._reported[name]:
                    new, self._reported[name] = text[self._reported[name] :], len(text)
                    self.job.report("output", name, new)
            outputs = list(self.metadata["outputs"])
            for content in outputs[self._reported["outputs"] :]:
                self.job.report("display", content["data"], content.get("metadata") or {}, {})
            self._reported["outputs"] = len(outputs)
            progress = self.metadata["data"].get("asyncnb_progress")
            if progress is not None and progress != self._progress:
                self._progress = progress
                self.job.report("progress", *progress)

    def interrupt(self) -> None:
        """Interrupt the engine that runs the job."""
        client = self.result._client
        if not self.result.done() and not client._closed:
            client.send_signal("SIGINT", targets=[self.engine], block=False)


class IpyparallelEngine:
    """Runs jobs as calls of a view."""

    kind = "ipyparallel"
    in_process = False
    ahead = 512

    def __init__(self, view: Any) -> None:
        self.view = view
        self.client = getattr(view, "client", view)
        self._topic = uuid.uuid4().hex
        self._far = local_module("ipyparallel")
        self._balanced: tuple[list[int] | None, Any] = [], None
        self._installed: set[int] = set()
        self._calls: dict[int, Call] = {}
        self._aborting: list[concurrent.futures.Future[Any]] = []
        self._ended: queue.SimpleQueue[Call] = queue.SimpleQueue()
        threading.Thread(target=self._end_all, name="asyncnb ipyparallel", daemon=True).start()

    def _targets(self) -> list[int] | None:
        targets = getattr(self.view, "targets", None)
        if isinstance(targets, int):
            return [targets]
        return None if targets is None or targets == "all" else list(targets)

    def slots(self) -> int:
        """Return how many engines there are."""
        return len(self._targets() or self.client.ids) or 1

    def submit(self, job: Job) -> None:
        """Send ``job`` to an engine from another thread; the first job installs the far end."""
        call_in_order(functools.partial(self._submit, job))

    def _submit(self, job: Job) -> None:
        if job.cancel_requested:
            job.end_with("cancelled")
            return
        try:
            ids = set(self.client.ids)
            if new := sorted(ids - self._installed):
                view = self.client.direct_view(targets=new)
                view.apply_async(installer(), *far_package("ipyparallel")).get(30)
                self._installed = ids
            if self._balanced[0] != (targets := self._targets()):
                # Making one takes as long as the rest of our part of sending a job.
                self._balanced = targets, self.client.load_balanced_view(targets=targets)
            result = self._balanced[1].apply_async(
                self._far.run, self._topic, job.id, job.kind, job.payload, job.shared
            )
        except Exception as exc:
            job.end_with("lost", f"The cluster accepts no work: {type(exc).__name__}: {exc}")
            return
        call = job.location = Call(job, result)
        self._calls[job.id] = call
        result._children[0].iopub_callbacks.append(call.report_new)
        call.report_new()  # what has arrived before
        result.add_done_callback(lambda _: self._ended.put(call))
        if job.cancel_requested:
            self.cancel(job)

    def cancel(self, job: Job) -> None:
        """Prevent ``job`` from starting, or interrupt its engine."""
        job.cancel_requested = True
        call_in_order(functools.partial(self._cancel, job))

    def _cancel(self, job: Job) -> None:
        call: Call | None = job.location
        if call is None or job.id not in self._calls:
            return
        if self.client._closed:
            self._calls.pop(job.id)
            job.end_with("lost", "The ipyparallel client was closed while this was running.")
            return
        if call.engine is None:
            # All engines then know that they must not start it. If one just has, it is interrupted
            # when report_new sees that.
            self._aborting = [f for f in self._aborting if not f.done()]
            self._aborting.append(self.client.abort(jobs=[call.result.msg_ids[0]], block=False))
            job.end_with("cancelled")
            return
        # Else an engine that stops at once would begin a job whose abort has not reached it.
        concurrent.futures.wait(self._aborting, ABORT_SECONDS)
        self._aborting.clear()
        call.interrupt()
        timer = threading.Timer(CANCEL_GRACE_SECONDS, self._report_stuck, (call,))
        timer.daemon = True
        timer.start()

    def _report_stuck(self, call: Call) -> None:
        if call.job.id in self._calls:
            call.job.report(
                "output",
                "stderr",
                f"asyncnb: this function did not stop. It keeps running on engine {call.engine} "
                "until it returns; client.send_signal('SIGKILL', targets=...) ends that engine.\n",
            )

    def _end_all(self) -> None:
        while True:
            call = self._ended.get()
            self._end(call)
            del call

    def _end(self, call: Call) -> None:
        job, result = call.job, call.result
        why = ""
        try:
            outcome = result.get(0)
            result.wait_for_output(OUTPUT_SECONDS)
        except Exception as exc:
            outcome = None
            why = f"{type(exc).__name__}: {exc}"
        call.report_new()
        self._calls.pop(job.id, None)
        # The client keeps every result until it is purged.
        self.client.purge_local_results(result)
        if outcome is not None:
            job.end(*outcome)
        elif job.cancel_requested and call.engine is None:
            job.end_with("cancelled")
        else:
            job.end_with("lost", f"The cluster lost this work: {why}")


_lock = fork_safe_lock()
_engines: list[IpyparallelEngine] = []
at_fork(_engines.clear)


def ipyparallel_engine(view: Any) -> IpyparallelEngine:
    """Return the engine for a view, or a client; one for all views of the same engines."""
    client, targets = getattr(view, "client", view), getattr(view, "targets", None)
    with _lock:
        _engines[:] = [engine for engine in _engines if not engine.client._closed]
        for engine in _engines:
            if engine.client is client and getattr(engine.view, "targets", None) == targets:
                return engine
        _engines.append(IpyparallelEngine(view))
        return _engines[-1]
