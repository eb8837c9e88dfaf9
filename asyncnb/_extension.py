"""The composition root: the only place where the core and the kernel side are connected."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from asyncnb._core import frontend
from asyncnb._core.base.errors import THREADS, CommandError, format_exception_line, no_threads
from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.progress_observers import observe_progress
from asyncnb._core.base.sizes import OFFLOAD_LIMIT
from asyncnb._core.base.text import count
from asyncnb._core.loop.current import embedded_loop, running_embedded_loop, shutdown, start_early
from asyncnb._kernel.awaiting.autoawait import AwaitCells
from asyncnb._kernel.awaiting.foreign_loops import AwaitBridge, FileCalls
from asyncnb._kernel.awaiting.one_loop import OneLoop
from asyncnb._kernel.front_end import NotebookFrontEnd
from asyncnb._kernel.ipykernel.control_requests import ControlRequests
from asyncnb._kernel.ipykernel.debugger import DebuggerRules
from asyncnb._kernel.ipykernel.interrupts import InterruptGuard
from asyncnb._kernel.ipykernel.keep_alive import KeepAlive
from asyncnb._kernel.ipykernel.kernel import kernel_loop, kernel_of
from asyncnb._kernel.ipykernel.parents import is_headless
from asyncnb._kernel.ipykernel.shutdown import QuitHook, ShutdownHook
from asyncnb._kernel.magics.register import complete, register, tasks_verbs
from asyncnb._kernel.magics.settings import Settings
from asyncnb._kernel.magics.settings_list import options
from asyncnb._kernel.output.displays import Displays
from asyncnb._kernel.output.router import OutputRouter
from asyncnb._kernel.output.tracebacks import Tracebacks
from asyncnb._kernel.output.unawaited import UnawaitedFailures
from asyncnb._kernel.undo import UndoStack, leaves

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._core.loop.embedded import EmbeddedLoop
    from asyncnb._core.profiling.profile import Profile
    from asyncnb._core.timeline.timeline import Timeline
    from asyncnb._kernel.awaiting.event_sources import EventSources
    from asyncnb._kernel.cells.background import BackgroundCells
    from asyncnb._kernel.ipykernel.control_requests import Serve
    from asyncnb._kernel.magics.leak_notes import LeakNotes
    from asyncnb._kernel.magics.verbs import Verb
    from asyncnb._kernel.output.blocked import BlockedLoopReporter
    from asyncnb._kernel.output.deadlocks import DeadlockReporter
    from asyncnb._kernel.output.notifications import Notifications
    from asyncnb._kernel.output.progress import ProgressBars
    from asyncnb.widgets._feed import Feed
    from asyncnb.widgets._session import BrowserSide


class Extension:
    """asyncnb in one shell: everything that loading installs and unloading removes."""

    def __init__(self, ip: InteractiveShell) -> None:
        self.ip = ip
        self.output = OutputRouter(ip)
        self.await_cells = AwaitCells(
            ip,
            parent=self.output.parent,
            enter=self.output.enter,
            hand_over=self.output.task_streams.hand_over,
        )
        self.one_loop = OneLoop(ip, self.await_cells)
        self.tracebacks = Tracebacks(
            ip,
            was_interrupted=self.await_cells.was_interrupted,
            first_time_shown=self.output.first_time_shown,
            on_traceback_shown=self.await_cells.on_traceback_shown,
            is_detached_failure=self.await_cells.is_detached_failure,
        )
        self._browser: BrowserSide | None = None
        self._guard: InterruptGuard | None = None
        self._feed: Feed | None = None
        self._feed_lock = fork_safe_lock()
        self._leak_notes: LeakNotes | None = None
        self.unawaited = UnawaitedFailures(ip, self.output)
        self.keep_alive = KeepAlive(kernel_of(ip))
        self.settings = Settings(
            ip,
            options(
                autoawait=self.autoawait,
                one_loop=self.switch_one_loop,
                keep_alive=self.keep_alive.switch,
                leaks=self._note_leaks,
                offload_limit=_offload_limit,
            ),
        )
        self._undo = UndoStack()
        #: Changes made by the browser side, which is created when first used.
        self._browser_undo = UndoStack()
        #: Changes made to the current loop.
        self._loop_undo = UndoStack()

    # Made when first used: loading does not wait for their modules.
    @functools.cached_property
    def background(self) -> BackgroundCells:
        from asyncnb._kernel.cells.background import BackgroundCells

        cells = BackgroundCells(
            self.ip,
            self.output,
            cell_runner=_cell_runner,
            make_map=lambda *args, **options: sys.modules["asyncnb"].map(*args, **options),
            kernel_loop=self._kernel_loop,
            notifications=lambda: self.notifications,
        )
        self._undo.push(cells.launcher.close)
        return cells

    @functools.cached_property
    def blocks(self) -> BlockedLoopReporter:
        from asyncnb._kernel.output.blocked import BlockedLoopReporter

        return BlockedLoopReporter()

    @functools.cached_property
    def deadlocks(self) -> DeadlockReporter:
        from asyncnb._kernel.output.deadlocks import DeadlockReporter

        return DeadlockReporter()

    @functools.cached_property
    def bars(self) -> ProgressBars:
        from asyncnb._kernel.output.progress import ProgressBars

        return ProgressBars(self.output)

    @functools.cached_property
    def event_sources(self) -> EventSources:
        from asyncnb._kernel.awaiting.event_sources import EventSources

        return EventSources(self.ip, self.await_cells, self.output, self._browser_undo)

    @functools.cached_property
    def notifications(self) -> Notifications:
        from asyncnb._kernel.output.notifications import Notifications

        made = Notifications(
            self.ip, self.output, lambda call_soon: self.browser().notifier(call_soon)
        )
        self._browser_undo.push(made.close)
        return made

    def load(self) -> None:
        """Hook into this shell and have the embedded loop started; if a step fails, undo all."""
        try:
            self._load()
        except BaseException:
            self._uninstall()
            raise

    def _load(self) -> None:
        ip, kernel, undo = self.ip, kernel_of(self.ip), self._undo
        undo.set(sys.modules[__name__], "_loaded", self)
        # get_ipython is a builtin only while a cell runs; background tasks also run between cells,
        # and libraries (rich) look for it to detect a notebook.
        trap = contextlib.ExitStack()
        undo.push(trap.close)
        trap.enter_context(ip.builtin_trap)
        self._install(self.output.install, self.output.uninstall)
        self._install(self.await_cells.install, self.await_cells.uninstall)
        self._install(self.tracebacks.install, self.tracebacks.uninstall)
        bridge = AwaitBridge(ip)
        self._install(bridge.install, bridge.uninstall)
        if THREADS:
            files = FileCalls(self._kernel_loop())
            self._install(files.install, files.uninstall)
        if InterruptGuard.suits(kernel):
            self._guard = guard = InterruptGuard(ip, kernel)
            self._install(guard.install, guard.uninstall)
        # After the guard, so that no interrupt arrives while the running loop is being changed.
        self._install(self.one_loop.install, self.one_loop.uninstall)
        rules = DebuggerRules(kernel)
        self._install(rules.install, rules.uninstall)
        if ShutdownHook.suits(kernel):
            hook = ShutdownHook(kernel)
            self._install(hook.install, hook.uninstall)
        undo.push(self.unawaited.uninstall)
        self.unawaited.install(self._kernel_loop())
        if hasattr(ip, "ask_exit"):  # a bare InteractiveShell has no session to quit
            quitting = QuitHook(ip)
            self._install(quitting.install, quitting.uninstall)
        bars = contextlib.ExitStack()
        undo.push(bars.close)
        bars.callback(observe_progress(lambda progress: self.bars.observe(progress)))
        undo.append(ip.events.callbacks["post_run_cell"], self._cell_ended)
        self._register_magics()
        Displays(
            ip,
            self.output.parent,
            chip=lambda record, bundle: self.browser().chip(record, bundle),
            timeline=_timeline_widget,
            profile=_profile_widget,
        ).install(undo)
        undo.push(self._loop_undo.unwind)
        front_end = self._front_end()
        undo.push(functools.partial(frontend.detach, front_end))
        frontend.attach(front_end)
        loop = running_embedded_loop()
        if loop is not None:  # asyncnb was used before it was loaded
            self._hook_loop(loop)
        launched = sys.modules.get("asyncnb._core.launched.registry")
        if launched is not None:
            self.output.adopt(launched.registry.records())
        undo.push(lambda: self.keep_alive.switch(False))
        undo.push(lambda: self._note_leaks(False))
        undo.push(_drop_frames)
        self._install(self.settings.install, self.settings.uninstall)
        undo.push(self._browser_undo.unwind)
        if THREADS and ControlRequests.suits(kernel):
            requests = ControlRequests(kernel, self._control_side)
            self._install(requests.install, requests.uninstall)
        undo.push(_end_workers)
        undo.push(_end_profiles)
        undo.push(shutdown)  # undone first, while the parts that show how tasks end still work
        if THREADS:
            start_early(self._prepare)
        else:
            embedded_loop()

    def _prepare(self) -> None:
        """Import, on another thread, what the first tasks and the first ``await`` will need."""
        from asyncnb._kernel.awaiting import running_cell  # noqa: F401

        self.background, self.blocks  # noqa: B018
        self.output.prepare()

    def unload(self) -> None:
        """End the background tasks and the loop, and undo every change to the shell.

        Raises UsageError, with nothing changed, in code that runs on that loop.
        """
        from asyncnb._kernel.magics.restart import refuse_on_loop

        refuse_on_loop("unloaded", "%unload_ext asyncnb")
        self._uninstall()

    def _uninstall(self) -> None:
        try:
            self._undo.unwind()
        except BaseExceptionGroup as failed:
            for exc in leaves(failed):
                print(
                    f"asyncnb: a part of the extension could not be unloaded: "
                    f"{format_exception_line(exc)}. The other parts were unloaded; restart the "
                    "kernel if it behaves strangely.",
                    file=sys.stderr,
                )
                traceback.print_exception(exc)

    def _install(self, install: Callable[[], None], uninstall: Callable[[], None]) -> None:
        self._undo.push(uninstall)
        install()

    def _register_magics(self) -> None:
        magics = register(
            self.ip,
            self._undo,
            background=lambda: self.background,
            status=self._status,
            restart=_restart,
            settings=self.settings,
            tasks_verbs=self._tasks_verbs,
        )
        complete(self.ip, self._undo, magics)

    def _status(self) -> str:
        from asyncnb._kernel.magics.status import status

        return status(self.settings)

    def _tasks_verbs(self) -> tuple[Verb, dict[str, Verb]]:
        """Return what ``%tasks`` without a verb does, and its verbs."""
        return tasks_verbs(
            self.output,
            self.background,
            detach=self._detach_cell,
            ask=lambda: self.notifications.ask(),
            live=lambda: self.browser().dashboard(),
            deadlocks=lambda: self.deadlocks,
        )

    def browser(self) -> BrowserSide:
        """Return the browser side; the first call imports it and hooks into the shell channel.

        Raises RuntimeError where there are no threads, as a thread keeps the dashboards up to date.
        """
        if not THREADS:
            raise no_threads("The dashboard", "`%tasks` shows a table")
        if self._browser is None:
            from asyncnb._kernel.tables.tree import as_bundle
            from asyncnb.widgets._session import BrowserSide

            channel = self.event_sources.channel
            channel.install()
            self._browser = browser = BrowserSide(
                self.feed(),
                subscribe_comm=channel.subscribe,
                prompt=lambda: channel.prompt,
                fallback=as_bundle,
                headless=lambda: is_headless(self.output.parent()),
            )
            self._browser_undo.push(browser.close)
        return self._browser

    def feed(self) -> Feed:
        """Return what dashboards and other front ends are kept up to date by. Any thread."""
        with self._feed_lock:
            if self._feed is None:
                from asyncnb.widgets._kernel_feed import kernel_feed

                self._feed = feed = kernel_feed(
                    awaiting=lambda: self.await_cells.awaiting,
                    awaiting_cell=lambda: self.await_cells.awaiting_cell,
                    deadlocks=lambda: self.deadlocks.watcher.lines(),
                    detach=self._detach_cell,
                    stop_cell=lambda id: self.await_cells.stop(id, self._guard),
                )
                self._browser_undo.push(feed.close)
            return self._feed

    def _control_side(self) -> Serve:
        from asyncnb._kernel.magics.status import kernel_facts
        from asyncnb.widgets._requests.control import ControlSide

        return ControlSide(self.feed(), kernel_facts, self.output.kept_of).serve

    def _detach_cell(self) -> str:
        try:
            return f"{self.await_cells.detach().get_name()} continues in the background"
        except UsageError as exc:
            raise CommandError(str(exc)) from None

    def _cell_ended(self, _: object) -> None:
        self.unawaited.cell_ended()
        self.output.cell_ended()

    def _front_end(self) -> NotebookFrontEnd:
        return NotebookFrontEnd(
            self.ip,
            loop_starting=self._watch,
            belongs_here=self.output.is_entered,
            task_launching=self.output.on_task_launch,
            task_ended=lambda record: self.background.launcher.ended(record),
            notify=lambda notice: self.notifications.show(notice),
            foreground=lambda: self.await_cells.foreground(self._guard),
            kernel_loop=self._kernel_loop,
            event_sources=lambda: self.event_sources,
        )

    def _kernel_loop(self) -> asyncio.AbstractEventLoop | None:
        return kernel_loop(self.ip)

    def _watch(self, loop: EmbeddedLoop) -> None:
        self.keep_alive.resume_on(loop)
        # The previous loop has ended, but its tasks may keep it alive, and it the whole extension.
        self._loop_undo.unwind()
        self._hook_loop(loop)

    def _hook_loop(self, loop: EmbeddedLoop) -> None:
        undo = self._loop_undo
        loop._state.main_loop = self._kernel_loop()
        undo.push(lambda: setattr(loop._state, "search", None))
        loop._state.search = lambda at_rest: self.deadlocks.watcher(at_rest)
        for observers, observer in (
            (loop.exception_hooks, self.unawaited.handle),
            (loop.on_crash, self._report_crash),
            (loop.on_blocked, lambda *args: self.blocks.observe(*args)),
        ):
            undo.push(functools.partial(observers.discard, observer))
            observers.add(observer)
        from asyncnb._core.introspection.leaves import watch_groups  # here already, with the loop

        undo.push(watch_groups())

    def _report_crash(self, loop: EmbeddedLoop, exc: BaseException) -> None:
        lost = loop.lost_tasks
        print(
            f"asyncnb: the embedded loop crashed: {type(exc).__name__}: {exc}. "
            f"{count(lost, 'task')} lost. The next launch starts a new loop; `%asyncnb restart` "
            "starts one now.",
            file=sys.stderr,
        )

    def autoawait(self, wanted: bool) -> None:
        """Set where cells with await run; True means on the embedded loop."""
        if wanted != self.await_cells.installed:
            (self.await_cells.install if wanted else self.await_cells.uninstall)()

    def switch_one_loop(self, wanted: bool) -> None:
        """Set which loop cells without await see as running; True means the embedded loop."""
        (self.one_loop.install if wanted else self.one_loop.uninstall)()

    def _note_leaks(self, wanted: bool) -> None:
        if wanted and self._leak_notes is None:
            from asyncnb._kernel.magics.leak_notes import LeakNotes

            self._leak_notes = LeakNotes(self.ip)
        if self._leak_notes is not None:
            self._leak_notes.switch(wanted)


def _cell_runner(on: Any) -> Any:
    """Return the runner of cells on ``on``; the first call imports what is needed."""
    from asyncnb._offload.cells import CellRunner

    return CellRunner(on)


def _offload_limit(size: int) -> None:
    from asyncnb._offload.packing import set_limit

    set_limit(None if size == OFFLOAD_LIMIT else size)


def _restart() -> str:
    from asyncnb._kernel.magics.restart import restart

    return restart()


def _timeline_widget(timeline: Timeline) -> Any:
    from asyncnb.widgets._timeline import TimelineWidget

    return TimelineWidget(timeline.data, timeline.refresh)


def _profile_widget(profile: Profile) -> Any:
    from asyncnb.widgets._profile import ProfileWidget

    return ProfileWidget(profile.widget_data())


def _drop_frames() -> None:
    launched = sys.modules.get("asyncnb._core.launched.registry")
    if launched is not None:
        launched.registry.drop_frames()


def _end_workers() -> None:
    process = sys.modules.get("asyncnb._offload.engines.process")
    if process is not None:
        process.close()


def _end_profiles() -> None:
    profiling = sys.modules.get("asyncnb._core.profiling.sampler")
    if profiling is not None:
        profiling.sampler.close()


_loaded: Extension | None = None


def load(ip: InteractiveShell) -> None:
    """Load asyncnb into ``ip``; a second call does nothing, and a failure leaves no changes."""
    if _loaded is not None and _loaded.ip is ip:
        return
    if _loaded is not None:
        _loaded.unload()
    Extension(ip).load()


def unload(ip: InteractiveShell) -> None:
    """Unload asyncnb from ``ip`` and undo every change that loading made.

    Raises UsageError, with nothing changed, in code that runs on the embedded loop.
    """
    if _loaded is not None and _loaded.ip is ip:
        _loaded.unload()


def dashboard(**options: Any) -> Any:
    """Return a new dashboard of the shell that asyncnb is loaded into."""
    if _loaded is None:
        raise RuntimeError(
            "asyncnb.dashboard() shows the tasks of a notebook: load the extension there first "
            "with `%load_ext asyncnb`."
        )
    return _loaded.browser().dashboard(**options)


def _forget_after_fork() -> None:
    # The child has the parent's shell, but not its front end, which the core has detached.
    global _loaded
    _loaded = None


at_fork(_forget_after_fork)
