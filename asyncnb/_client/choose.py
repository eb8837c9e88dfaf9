"""Which kernel, and which task: by the names that a user or a program gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from asyncnb._client.errors import ClientError, NoAnswerError, NotLoadedError, RefusedError
from asyncnb._client.find import connection_files
from asyncnb._client.kernel import PATIENCE, VERSION, RemoteKernel
from asyncnb._client.processes import Process, processes_of
from asyncnb._client.servers import notebook_paths
from asyncnb._client.talks import COMMS, KERNEL_INFO, Talk, ask_all, heartbeats, listening, verb
from asyncnb._client.wire import Message
from asyncnb._core.base.errors import did_you_mean
from asyncnb._core.base.text import count, escape_control_chars
from asyncnb._core.introspection.info import ENDED

State = Literal["alive", "without asyncnb", "no answer", "dead"]


@dataclass
class Known:
    """A kernel, and what it says of itself."""

    kernel: RemoteKernel
    state: State
    #: The answer to ``hello``, or without asyncnb to ``kernel_info_request``; else empty.
    hello: Message = field(default_factory=dict)
    #: Why there is no answer, in a sentence.
    error: str = ""
    #: The process of a kernel that does not name it, and the name that a server has for it.
    process: Process | None = None
    renamed: str | None = None

    @property
    def notebook(self) -> str | None:
        """The path of the notebook, if it is known."""
        found = self.renamed or self.hello.get("notebook")
        if not found and self.process is not None:
            found = self.process.notebook
        return found if isinstance(found, str) and found else None

    @property
    def pid(self) -> int | None:
        """The id of its process, if it is known."""
        found = self.hello.get("pid")
        if isinstance(found, int):
            return found
        return None if self.process is None else self.process.pid

    @property
    def label(self) -> str:
        """Its name for the user: that of the notebook, or its id."""
        name = self.notebook
        return escape_control_chars(os.path.basename(name) if name else self.kernel.id, 60)


def introduce(kernel: RemoteKernel) -> Talk[Known]:
    """Ask a kernel what it is. One without asyncnb is not disturbed."""
    comms = yield COMMS
    if not comms.get("comms"):
        return Known(kernel, "without asyncnb", (yield KERNEL_INFO))
    hello = yield verb("hello")
    if hello.get("status") != "ok":
        return Known(kernel, "no answer", error=str(hello.get("evalue")))
    if hello.get("version") != VERSION:
        theirs = escape_control_chars(str(hello.get("version")), 40)
        return Known(
            kernel,
            "no answer",
            error=f"{kernel.id} has version {theirs} of the protocol, and this asyncnb version "
            f"{VERSION}: use the asyncnb of the kernel's environment.",
        )
    return Known(kernel, "alive", hello)


def look(kernels: Sequence[RemoteKernel], timeout: float = PATIENCE) -> list[Known]:
    """Return what is known of these kernels; all are asked at once, for ``timeout`` seconds."""
    there = listening(kernels)
    answers = dict(zip(there, ask_all(there, introduce, timeout), strict=True))
    found = []
    for kernel in kernels:
        answer = answers.get(kernel)
        if answer is None:
            answer = Known(kernel, "dead")
        elif isinstance(answer, ClientError):
            answer = Known(kernel, "no answer", error=str(answer))
        found.append(answer)
    _add_processes([each for each in found if each.state in ("without asyncnb", "no answer")])
    return found


def _add_processes(known: Sequence[Known]) -> None:
    """Find out what the kernels that do not speak for themselves are, and why they are silent."""
    processes = processes_of([each.kernel.path for each in known])
    for each in known:
        each.process = processes.get(each.kernel.path)
    silent = [each for each in known if each.state == "no answer"]
    beating = heartbeats([each.kernel for each in silent])
    for each in silent:
        each.error = each.error.rstrip(".") + _reason(each, each.kernel in beating)


def _reason(known: Known, beats: bool) -> str:
    process = known.process
    if process is not None and process.stopped:
        return f": its process {process.pid} is stopped. `kill -CONT {process.pid}` continues it."
    if beats:
        return (
            ", but its heartbeat does: code in C holds the interpreter, or its control channel "
            "waits for the cell, as in old kernels."
        )
    return ", and neither does its heartbeat: it hangs, or another program has its port now."


def open_all(problems: list[str] | None = None) -> list[RemoteKernel]:
    """Return all kernels that have a connection file, the newest first; the caller closes them.

    ``problems`` gets a sentence for each file that is none.
    """
    found = []
    for path in connection_files():
        try:
            found.append(RemoteKernel(path))
        except ClientError as exc:
            if problems is not None and path.exists():
                problems.append(str(exc))
    return found


def choose_kernels(given: str | None = None, timeout: float = PATIENCE) -> list[Known]:
    """Return the kernels that ``given`` names: with None all that are not dead, else one.

    ``given`` is the name or path of a notebook, the id of a kernel or its beginning, the number of
    its process, or the path of a connection file. ClientError says which there are if it names
    none or several. The caller closes ``known.kernel`` of each.
    """
    if given is not None and (path := file_of(given)) is not None:
        return [_usable(look([RemoteKernel(path)], timeout)[0])]
    kernels = open_all()
    try:
        known = [each for each in look(kernels, timeout) if each.state != "dead"]
        if given is not None:
            known = [_usable(matching(known, given))]
    except ClientError:
        known = []
        raise
    finally:
        for kernel in kernels:
            if all(kernel is not each.kernel for each in known):
                kernel.close()
    return known


def choose_kernel(given: str | None = None, timeout: float = PATIENCE) -> Known:
    """Return the kernel that ``given`` names, as `choose_kernels` does; with None the only one.

    Those without asyncnb do not count. The caller closes ``known.kernel``.
    """
    known = choose_kernels(given, timeout)
    if given is not None:
        return known[0]
    alive = [each for each in known if each.state == "alive"]
    chosen = alive[0] if len(alive) == 1 else None
    for each in known:
        if each is not chosen:
            each.kernel.close()
    if chosen is None:
        if not alive:
            raise _none(known)
        raise ClientError(
            f"{len(alive)} kernels have asyncnb loaded. Name one with --kernel:"
            + "".join(f"\n  {_called(each)}" for each in alive)
        )
    return chosen


@dataclass
class Found:
    """A kernel, and tasks in it: each with the fields that ``list`` has."""

    known: Known
    tasks: list[Message]
    #: How many there are; ``tasks`` are the first of them.
    total: int

    @property
    def kernel(self) -> RemoteKernel:
        """The kernel; the caller closes it."""
        return self.known.kernel


def find_tasks(
    patterns: Sequence[str],
    kernel: str | None = None,
    *,
    group: str | None = None,
    timeout: float = PATIENCE,
) -> Found:
    """Return the kernel that has tasks which match ``patterns``, and these.

    A pattern is a task's name, a glob, a path of a task inside another one, or an id. ``group``:
    only those of this group. ClientError if no kernel has such tasks, with similar names, or if
    several have; ``kernel`` then decides, see `choose_kernels`. The caller closes ``found.kernel``.
    """
    known = choose_kernels(kernel, timeout)
    alive = [each for each in known if each.state == "alive"]
    by_kernel = {each.kernel: each for each in alive}
    chosen: Found | None = None
    try:
        if not alive:
            raise _none(known)

        def find(kernel: RemoteKernel) -> Talk[Found]:
            answer = yield verb("find", patterns=[*patterns], group=group)
            if answer.get("status") != "ok":
                raise RefusedError(str(answer.get("evalue")))
            return Found(by_kernel[kernel], answer["tasks"], answer["total"])

        answers = ask_all(list(by_kernel), find, timeout)
        chosen = _one_of(alive, known, answers)
    finally:
        for each in known:
            if chosen is None or each is not chosen.known:
                each.kernel.close()
    return chosen


def find_task(name: str, kernel: str | None = None, *, timeout: float = PATIENCE) -> Found:
    """Return the kernel that has the one task with this name or id, and the task.

    ClientError as in `find_tasks`, and if several tasks match. The caller closes ``found.kernel``.
    """
    found = find_tasks([name], kernel, timeout=timeout)
    if found.total > 1:
        found.kernel.close()
        names = ", ".join(f"{_quoted(task)} (id {task['id']})" for task in found.tasks[:8])
        more = f" and {found.total - 8} more" if found.total > 8 else ""
        raise ClientError(
            f"{name!r} names {count(found.total, 'task')} of {found.known.label}: {names}{more}. "
            "Name one by its id."
        )
    return found


def _one_of(
    alive: Sequence[Known], known: Sequence[Known], answers: Sequence[Found | ClientError]
) -> Found:
    """Return the one answer that found something; else raise what says why not."""
    found = [each for each in answers if isinstance(each, Found)]
    # As in one kernel: a task that lives, else one that has ended.
    found = [each for each in found if any(map(_lives, each.tasks))] or found
    if len(found) == 1:
        return found[0]
    if found:
        rows = "".join(
            f"\n  {_called(each.known)}: {', '.join(_quoted(task) for task in each.tasks[:4])}"
            for each in found
        )
        raise ClientError(
            f"{count(len(found), 'kernel')} have such tasks. Name one with --kernel:{rows}"
        )
    errors = [each for each in answers if isinstance(each, ClientError)]
    if len(errors) == 1 and len(known) == 1:
        raise errors[0]
    rows = "".join(f"\n  {k.label}: {e}" for k, e in zip(alive, errors, strict=True))
    silent = "".join(f"\n  {each.label}: {each.error}" for each in known if each.error)
    raise RefusedError(f"No kernel has such a task:{rows}{silent}")


def file_of(given: str) -> Path | None:
    """Return the connection file that ``given`` is: its path, its name, or the id of a kernel."""
    for known in connection_files():
        if given in (known.name, known.stem, known.stem.removeprefix("kernel-")):
            return known
    path = Path(given).expanduser()
    return path if path.suffix == ".json" else None  # if it is no such file, the error says so


def matching(known: Sequence[Known], given: str) -> Known:
    """Return the kernel that ``given`` names: see `choose_kernels`."""
    found = _matching(known, given)
    if found is None and (paths := notebook_paths()):  # it was renamed
        for each in known:
            each.renamed = paths.get(each.kernel.id)
        found = _matching(known, given)
    if found is not None:
        return found
    names = [each.label for each in known]
    hint = did_you_mean(given, names)
    if not hint and known:
        hint = " These are running:" + "".join(f"\n  {_called(each)}" for each in known)
    raise ClientError(f"No kernel named {given!r} is running.{hint or ' None is.'}")


def _matching(known: Sequence[Known], given: str) -> Known | None:
    path = os.path.abspath(given)
    for matches in (
        lambda each: each.notebook is not None and path == os.path.abspath(each.notebook),
        lambda each: each.notebook is not None and _is_end_of(given, each.notebook),
        lambda each: given.isdecimal() and each.pid == int(given),
        lambda each: len(given) >= 2 and each.kernel.id.startswith(given),
    ):
        found = [each for each in known if matches(each)]
        if len(found) == 1:
            return found[0]
        if found:
            rows = "".join(f"\n  {_called(each)}" for each in found)
            raise ClientError(
                f"{given!r} names {count(len(found), 'kernel')}. Name one by its id or pid:{rows}"
            )
    return None


def _is_end_of(given: str, notebook: str) -> bool:
    """Return whether ``given`` is the end of the notebook's path, with or without ``.ipynb``."""
    wanted = given.replace(os.sep, "/").removesuffix(".ipynb").split("/")
    return notebook.replace(os.sep, "/").removesuffix(".ipynb").split("/")[-len(wanted) :] == wanted


def _usable(known: Known) -> Known:
    """Return ``known`` if it answers and has asyncnb; else close it and raise ClientError."""
    if known.state == "alive":
        return known
    known.kernel.close()
    raise _why_not(known)


def _why_not(known: Known) -> ClientError:
    error = _error_of(known)
    error.process = known.process
    return error


def _error_of(known: Known) -> ClientError:
    if known.state == "without asyncnb":
        if known.hello.get("language_info", {}).get("name", "python") != "python":
            return NotLoadedError(
                f"{known.label} is not a Python kernel, so it cannot have asyncnb."
            )
        return NotLoadedError(
            f"{known.label} runs without asyncnb. In the notebook: %load_ext asyncnb"
        )
    if known.state == "dead":
        return ClientError(
            f"{known.label} is not running: nothing listens at the address in its connection file."
        )
    return NoAnswerError(known.error)


def _none(known: Sequence[Known]) -> ClientError:
    """Return the error for no kernel with asyncnb."""
    if not known:
        return ClientError("No kernel is running.")
    if len(known) == 1:
        return _why_not(known[0])
    rows = "".join(f"\n  {_why_not(each)}" for each in known)
    return ClientError(f"No kernel with asyncnb is running:{rows}")


def _called(known: Known) -> str:
    """Return the names of a kernel that decide between it and others."""
    pid = f", pid {known.pid}" if known.pid else ""
    return f"{known.label} (id {known.kernel.id[:8]}{pid})"


def _lives(task: Message) -> bool:
    return task["state"] not in ENDED


def _quoted(task: Message) -> str:
    return repr(escape_control_chars(str(task["name"]), 40))
