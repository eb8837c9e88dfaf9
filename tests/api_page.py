"""The page of every function and class, from their signatures and docstrings.

``make api-page`` writes it; a test compares it with the code. It is plain Markdown, which GitHub
shows as the site does.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any, ForwardRef

import asyncnb
import asyncnb.testing
from asyncnb._core.launched.open_group import OpenGroup

PAGE = Path(__file__).parent.parent / "notebooks/reference/api.md"
#: Signatures longer than this are written with one parameter on each line.
WIDTH = 80

HEAD = """# API

Every function and class. The functions for notebooks come first, then the names that asyncio has as well; [Differences from asyncio](parity.md) compares them one by one. In a notebook, `asyncnb.launch?` shows the same. For the magics, see [Magics and settings](magics.md); for the words `waiting`, `paused` and so on, [States of a task](states.md).

{of_asyncio} are asyncio's own. `eager_task_factory` is `create_eager_task_factory(Task)`.

"Any thread" means that you may call it from any thread, and from the code of any event loop.
"""  # noqa: E501

SECTIONS = {
    "For notebooks": (
        "launch run tasks task cancel open_group OpenGroup track event changed values Values "
        "Occurrence dashboard notify timeline Timeline record export_trace profile Profile "
        "embedded_loop EmbeddedLoop LoopStatistics TaskInfo CallsInfo CellRef current_deadline"
    ),
    "Many items": "map MapRun Outcome Save MapCounts Rate Retry",
    "Other processes and clusters": "offload",
    "Tasks and futures": (
        "Task Future create_task all_tasks create_eager_task_factory ensure_future wrap_future "
        "iscoroutine iscoroutinefunction"
    ),
    "Groups and timeouts": "TaskGroup Timeout timeout timeout_at",
    "Waiting": "sleep gather wait wait_for as_completed shield",
    "Locks and queues": (
        "Queue PriorityQueue LifoQueue QueueShutDown Lock Event Condition Semaphore "
        "BoundedSemaphore Barrier"
    ),
    "Threads and event loops": "to_thread run_coroutine_threadsafe Runner",
    "Call graphs": "capture_call_graph format_call_graph print_call_graph",
    "Errors": (
        "EmbeddedLoopError ItemsFailedError NotRunError OffloadError RemoteError "
        "ResultDroppedError SaveError SourceClosedError TaskNotFoundError TasksFailedError "
        "WorkerLostError WrongThreadError"
    ),
}
#: Members that other modules of the package call, and users do not.
INTERNAL = {
    "OpenGroup": {"entered", "mark_lost"},
    "Profile": {"facts", "widget_data"},
    "Timeline": {"refresh"},
    "Timeout": {"enter", "enter_around", "expire", "leave"},
    "ItemsFailedError": {"derive"},
    "testing.VirtualTimeLoop": {"create_task", "shutdown_default_executor"},
}
#: Of a class with the whole interface of an asyncio loop, what is asyncnb's.
ONLY = {
    "EmbeddedLoop": {"alive", "is_own_thread", "kind", "shutdown", "start", "statistics", "thread"}
}
#: Classes that functions of asyncnb return, and users do not call.
RETURNED = {
    "EmbeddedLoop",
    "MapRun",
    "OpenGroup",
    "Outcome",
    "Profile",
    "Timeline",
    "Timeout",
    "Values",
}
#: Classes whose parameters are in their docstrings: they have a metaclass, or take anything.
IN_DOCSTRING = {"Task"}
#: What a method does that is asyncio's own: the interpreters' docstrings differ.
INHERITED = {
    "Future.cancelled()": "Return whether it was cancelled.",
    "Future.done()": "Return whether it has a result or an exception, or was cancelled.",
    "Future.exception()": (
        "Return its exception, None if it has a result. Raises CancelledError if it was cancelled "
        "and InvalidStateError if it is not done."
    ),
    "Future.get_loop()": "Return the event loop that it belongs to.",
    "Future.result()": (
        "Return its result, or raise its exception. Raises CancelledError if it was cancelled and "
        "InvalidStateError if it is not done."
    ),
    "Task.add_done_callback(fn, *, context=None)": (
        "Call `fn(task)` on the task's loop once it is done. Any thread."
    ),
    "Task.cancelled()": "Return whether it was cancelled: it ended with a CancelledError.",
    "Task.cancelling()": "Return how many requests to cancel it are pending; see `uncancel`.",
    "Task.done()": "Return whether it has ended: with a result, an exception, or cancelled.",
    "Task.exception()": (
        "Return the exception that ended it, None if it returned a result. Raises CancelledError "
        "if it was cancelled and InvalidStateError while it is running."
    ),
    "Task.get_context()": "Return the context that it runs in. Any thread.",
    "Task.get_coro()": "Return its coroutine; None after an eager end. Any thread.",
    "Task.get_loop()": "Return the event loop that it runs on.",
    "Task.get_name()": "Return its name.",
    "Task.print_stack(*, limit=None, file=None)": (
        "Print its stack, or the traceback of its exception, to *file*, by default standard error."
    ),
    "Task.remove_done_callback(fn)": (
        "Remove all registrations of *fn* and return how many there were. Any thread."
    ),
    "Task.result()": (
        "Return its result, or raise its exception. Raises CancelledError if it was cancelled and "
        "InvalidStateError while it is running: `await task` or `task.join()` waits."
    ),
    "Task.set_exception(exception)": "Raise RuntimeError: only its coroutine ends a task.",
    "Task.set_result(result)": "Raise RuntimeError: only its coroutine ends a task.",
    "Barrier.abort()": "Break the barrier: waiting tasks get BrokenBarrierError. A coroutine.",
    "Barrier.broken": "Whether the barrier is broken.",
    "Barrier.n_waiting": "The number of waiting tasks.",
    "Barrier.parties": "The number of tasks that it takes to pass.",
    "Barrier.reset()": (
        "Make the barrier empty again: waiting tasks get BrokenBarrierError. A coroutine."
    ),
    "Barrier.wait()": (
        "Wait until all parties have arrived; return this task's number, from 0. A coroutine. "
        "Raises BrokenBarrierError if the barrier is broken or reset meanwhile."
    ),
    "Event.is_set()": "Return whether the flag is set.",
    "Lock.locked()": "Return whether the lock is taken.",
    "Queue.empty()": "Return whether there are no items.",
    "Queue.full()": "Return whether there are `maxsize` items.",
    "Queue.maxsize": "The number of items allowed, 0 for any number.",
    "Queue.qsize()": "Return the number of items.",
}
#: Every name that has its own section.
NAMES = [name for section in SECTIONS.values() for name in section.split()]
_CALLS = {call.partition("(")[0]: call for call in INHERITED}
_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|exc):`~?([^`]+)`")


def public(name: str) -> Any:
    """The object of a name on the page."""
    return OpenGroup if name == "OpenGroup" else getattr(asyncnb, name)


def of_asyncio() -> list[str]:
    """The names that are asyncio's own objects."""
    return sorted(set(asyncnb.__all__) - set(NAMES) - {"eager_task_factory"})


def title(name: str) -> str:
    """The heading of a name: `Task` and `task` differ in it, and so do the links to them."""
    return f"class {name}" if inspect.isclass(public(name)) else name


def link(name: str) -> str:
    """A link to the part of a name."""
    return f"[`{name}`](#{title(name).lower().replace(' ', '-')})"


def markdown(doc: str) -> str:
    """A docstring as Markdown: examples and literal blocks as fenced code."""
    parts: list[str] = []
    literal = False
    for block in re.split(r"\n\s*\n", inspect.cleandoc(doc)):
        if literal and block.startswith("    "):
            parts.append(f"```python\n{textwrap.dedent(block)}\n```")
            continue
        literal = block.endswith("::")
        block = _ROLE.sub(r"``\1``", block[:-1] if literal else block)
        block = re.sub(r"``([^`]+)``", r"`\1`", block)
        parts.append(_EXAMPLE.sub(r"```pycon\n\g<0>\n```", block))
    return "\n\n".join(parts)


def _annotation(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, ForwardRef):
        return value.__forward_arg__
    return inspect.formatannotation(value)


def _default(value: Any) -> str:
    written = repr(value)
    return "..." if written.startswith("<") else written


def _parameters(signature: inspect.Signature) -> list[str]:
    found: list[str] = []
    star = False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls") and not found:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            star = True
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            found.append("*")
        text = "*" * (parameter.kind is parameter.VAR_POSITIONAL)
        text += "**" * (parameter.kind is parameter.VAR_KEYWORD)
        text += parameter.name
        typed = parameter.annotation is not parameter.empty
        if typed:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f"{' = ' if typed else '='}{_default(parameter.default)}"
        found.append(text)
    return found


def written_signature(name: str, function: Any) -> str:
    """The call of a function or class, with types, as a block of code."""
    signature = inspect.signature(function)
    parameters = _parameters(signature)
    returned = ""
    if signature.return_annotation is not signature.empty and not inspect.isclass(function):
        returned = f" -> {_annotation(signature.return_annotation)}"
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    start = f"{'async ' * is_async}{name}("
    line = f"{start}{', '.join(parameters)}){returned}"
    if len(line) > WIDTH:
        inside = "".join(f"    {parameter},\n" for parameter in parameters)
        line = f"{start}\n{inside}){returned}"
    return f"```python\n{line}\n```"


def owner_of(cls: type, member: str) -> type:
    """The class that defines a member."""
    return next(base for base in cls.__mro__ if member in vars(base))


def documented_bases(name: str) -> list[type]:
    """The base classes of a class that are on the page, too."""
    cls = public(name)
    above = cls.__mro__[1:] if inspect.isclass(cls) else ()
    return [base for base in above if base.__name__ in NAMES and base is public(base.__name__)]


def members(name: str) -> list[str]:
    """The methods and properties of a class that the page has; the inherited ones come last."""
    cls = public(name)
    only = ONLY.get(name)
    # What a class on the page has is documented there; but all of Task is in one place.
    elsewhere = [] if name == "Task" else documented_bases(name)
    own: list[str] = []
    inherited: list[str] = []
    for base in cls.__mro__:
        for member, value in vars(base).items():
            if member.startswith("_") or member in INTERNAL.get(name, ()):
                continue
            if base.__module__ == "builtins" or owner_of(cls, member) is not base:
                continue
            if not (inspect.isroutine(value) or isinstance(value, property)):
                continue
            if only is not None and member not in only:
                continue
            if any(inspect.getattr_static(each, member, None) is value for each in elsewhere):
                continue
            is_ours = base.__module__.startswith("asyncnb.")
            (own if is_ours and f"{name}.{member}" not in _CALLS else inherited).append(member)
    return own + sorted(inherited)


def member_part(name: str, member: str) -> str:
    """The part of the page on one method or property."""
    cls = public(name)
    value = inspect.getattr_static(cls, member)
    heading = f"#### {name}.{member}"
    call = _CALLS.get(f"{name}.{member}")
    if call is not None:
        return f"{heading}\n\n```python\n{call}\n```\n\n{INHERITED[call]}\n"
    if isinstance(value, property):
        returned = inspect.signature(value.fget).return_annotation
        line = f"{name}.{member}: {_annotation(returned)}"
        doc = inspect.getdoc(value) or ""
        return f"{heading}\n\n```python\n{line}\n```\n\n{markdown(doc)}\n"
    function = getattr(cls, member)
    doc = inspect.getdoc(function) or ""
    assert doc and owner_of(cls, member).__module__.startswith("asyncnb."), (name, member)
    return f"{heading}\n\n{written_signature(f'{name}.{member}', value)}\n\n{markdown(doc)}\n"


def part(name: str) -> str:
    """The part of the page on one function or class."""
    found = public(name)
    lines = [f"### {title(name)}", ""]
    is_error = inspect.isclass(found) and issubclass(found, BaseException)
    if name in IN_DOCSTRING or name in RETURNED or is_error:
        if is_error:
            base = next(each for each in found.__mro__[1:] if each.__name__ != "CommandError")
            lines += [f"```python\nclass {name}({base.__name__})\n```", ""]
    else:
        lines += [written_signature(name, found), ""]
    lines += [markdown(inspect.getdoc(found) or ""), ""]
    above = documented_bases(name)
    if above and name not in ("Task", "OpenGroup") and not is_error:
        lines += [f"It has the methods of {link(above[0].__name__)}.", ""]
    if inspect.isclass(found):
        lines += [member_part(name, member) for member in members(name)]
    return "\n".join(lines)


def index(names: list[str]) -> str:
    """A table of the parts of a section, each with its first sentence."""
    rows = ["| name | what it is or does |", "|---|---|"]
    for name in names:
        summary = markdown((inspect.getdoc(public(name)) or "").partition("\n\n")[0])
        rows.append(f"| {link(name)} | {' '.join(summary.split())} |")
    return "\n".join(rows)


def testing_part() -> str:
    """The part of the page on the tools for tests."""
    module = asyncnb.testing
    lines = ["## Testing", "", markdown(inspect.getdoc(module) or ""), ""]
    for name in module.__all__:
        found = getattr(module, name)
        if inspect.isroutine(found) or inspect.isclass(found):
            full = f"testing.{name}"
            kind = "class " * inspect.isclass(found)
            lines += [f"### {kind}{full}", "", written_signature(full, found), ""]
            lines += [markdown(inspect.getdoc(found) or ""), ""]
            for member, value in vars(found).items() if inspect.isclass(found) else ():
                if member.startswith("_") or member in INTERNAL.get(full, ()):
                    continue
                if inspect.isroutine(value) and inspect.getdoc(value):
                    call = written_signature(f"{name}.{member}", value)
                    doc = markdown(inspect.getdoc(value) or "")
                    lines += [f"#### {full}.{member}", "", call, "", doc, ""]
    return "\n".join(lines)


def page() -> str:
    """The page as it has to be."""
    names = [f"`{name}`" for name in of_asyncio()]
    parts = [HEAD.format(of_asyncio=", ".join(names[:-1]) + " and " + names[-1])]
    for subject, section in SECTIONS.items():
        parts += [f"## {subject}\n", index(section.split()) + "\n"]
        parts += [part(name) for name in section.split()]
    parts.append(testing_part())
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
