"""What the tools return, and the schemas of it."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ErrorFacts(BaseModel):
    """An exception of a cell."""

    type: str
    message: str
    line: int | None = Field(default=None, description="line of the cell's code, from 1 on")
    in_cell: int | None = Field(default=None, description="n of its In[n] if it is in another cell")
    lines: str = Field(default="", description="the cell's lines around it; --> marks the line")


class KernelFacts(BaseModel):
    """A kernel."""

    kernel: str = Field(description="id, for the argument `kernel`")
    notebook: str | None = None
    state: str = Field(description='"alive", "without asyncnb" or "no answer"')
    pid: int | None = None
    python: str | None = None
    started_here: bool = False
    running: str | None = Field(default=None, description="the cell in the foreground")
    error: str | None = None


class KernelList(BaseModel):
    """All kernels."""

    kernels: list[KernelFacts]


class TaskFacts(BaseModel):
    """A background task."""

    task: int = Field(description="id")
    name: str
    state: str = Field(
        description="pending, running, waiting, paused, cancelling, done, failed or cancelled"
    )
    cell: str | None = Field(default=None, description="id of its cell: its handle")
    kernel: str
    seconds: float | None = Field(default=None, description="for how long it has run")
    waits_for: str | None = None
    note: str | None = Field(default=None, description="its error, or when it runs next")
    progress: str | None = None


class TaskList(BaseModel):
    """Tasks of one kernel or of all."""

    total: int = Field(description="how many there are; `tasks` are the newest of them")
    tasks: list[TaskFacts]


class CellFacts(BaseModel):
    """A cell, or a task that is named by its name or id, and how it is."""

    cell: str = Field(description="the handle: pass it to the other tools")
    kernel: str
    state: str = Field(
        description="queued, pending, running, waiting, paused, cancelling, done, failed, "
        "cancelled, or lost if the kernel is gone"
    )
    tasks: list[TaskFacts] = Field(default_factory=list)
    error: ErrorFacts | None = None
    note: str | None = None


class Output(BaseModel):
    """What a cell has printed and displayed."""

    cell: str
    state: str
    text: str
    cursor: int = Field(description="pass it next time to get what is new")
    lines: int = Field(description="lines from the given cursor on")
    omitted: int = Field(default=0, description="lines of these that `text` leaves out")
    gone: int = Field(default=0, description="characters that are no longer kept")
    images: int = Field(default=0, description="images in this answer, as image content")
    error: ErrorFacts | None = None


class CellState(BaseModel):
    """How a cell is after a wait."""

    cell: str
    state: str
    lines: int = 0
    tail: str = Field(default="", description="the last lines of its output")
    error: ErrorFacts | None = None


class Waited(BaseModel):
    """What a wait has ended with."""

    ended: bool = Field(description="whether all, or any, have ended; else the time was up")
    cells: list[CellState]


class Changed(BaseModel):
    """What a command has done."""

    cell: str
    text: str
    state: str


class Frame(BaseModel):
    """A line that a task is at, or was when it failed."""

    file: str
    line: int
    function: str
    source: str


class TaskStack(BaseModel):
    """Where a task is."""

    task: int
    name: str
    state: str
    waits_for: str | None = None
    frames: list[Frame]
    traceback: str | None = Field(default=None, description="the end of it, of a failed task")
    awaited_by: list[str] = Field(default_factory=list)


class Stack(BaseModel):
    """Where the tasks of a cell are; the innermost frame is the last one."""

    cell: str
    tasks: list[TaskStack]


class Variable(BaseModel):
    """A variable of the notebook."""

    name: str
    type: str
    length: int | None = None
    shape: list[int] | None = None
    dtype: str | None = None
    value: str | None = Field(default=None, description="of a number, a truth value or a text")


class Variables(BaseModel):
    """Variables of the notebook."""

    total: int
    variables: list[Variable]


class Stopped(BaseModel):
    """A kernel that was shut down."""

    kernel: str
    text: str
