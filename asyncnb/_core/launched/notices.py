"""Notices: what is worth reporting to the user, as short plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from asyncnb._core import frontend
from asyncnb._core.base.errors import did_you_mean
from asyncnb._core.base.text import brief_value, duration, escape_control_chars
from asyncnb._core.config import config
from asyncnb._core.launched.record import current_record

if TYPE_CHECKING:
    from asyncnb._core.launched.record import TaskRecord

#: What a notice can be about, the worst last.
LEVELS: Final = ("info", "success", "warning", "error")
#: Longer titles and texts are cut: no desktop shows more than a few lines.
MAX_TITLE: Final = 100
MAX_TEXT: Final = 300

#: What a task that has ended did, by its state, and the level of the notice.
_ENDS: Final = {
    "done": ("is done", "success"),
    "failed": ("failed", "error"),
    "cancelled": ("was cancelled", "warning"),
}


class Notice(NamedTuple):
    """One notification. Its texts are on one line, without control characters, and short."""

    #: "" for the name of the notebook, which only its page knows.
    title: str
    text: str
    level: str = "info"
    #: Of the end of a task: its state; else "".
    state: str = ""
    name: str = ""
    #: Whether to show it only if no page of the notebook is being looked at.
    only_unseen: bool = False

    def line(self) -> str:
        """Return it as one line, for a terminal."""
        return ": ".join(filter(None, (self.title, self.text)))


def notify(text: str, *, title: str | None = None, level: str = "info") -> None:
    """Show ``text`` to the user as a browser notification.

    If the page is hidden or has no focus, and the browser has permission, it is a desktop
    notification, otherwise one of JupyterLab or of the page itself; the page's title counts the
    notifications until you look at the page. If the notebook is open in several pages, one of them
    shows it; if in none, the next page that opens does. Many at once are combined into one that
    counts them. Texts are shown as plain text on one line, and cut after 300 characters. In a
    terminal and in JupyterLite the text is printed, in a terminal after a bell character; in a
    headless run nothing happens.

    ``title`` defaults to the name of the current task, or outside of a task to that of the
    notebook. ``level`` is ``"info"``, ``"success"``, ``"warning"`` or ``"error"``. Returns at once,
    on any thread and any loop, even while the loop is blocked.

    Raises TypeError if ``text`` or ``title`` is not a str, and ValueError for an empty ``text`` and
    an unknown ``level``.
    """
    given: list[tuple[str, object]] = [("text", text), ("title", "" if title is None else title)]
    for what, value in given:
        if not isinstance(value, str):
            raise TypeError(
                f"notify() takes a str as {what}, not {brief_value(value)}. "
                "Write str(...) around it."
            )
    if not text.strip():
        raise ValueError("notify() takes a text that says something; this one is empty.")
    if level not in LEVELS:
        known = ", ".join(map(repr, LEVELS))
        raise ValueError(
            f"notify() takes a level of {known}, not {level!r}.{did_you_mean(str(level), LEVELS)}"
        )
    if title is None:
        record = current_record.get()
        title = "" if record is None else record.name
    frontend.current.notify(_notice(title, text, level))


def notice_of_end(record: TaskRecord) -> Notice | None:
    """Return what to report about a task that has just ended, None if it is not worth a notice.

    It is if the task was asked to notify, or by the option ``notify`` if it ran for long.
    """
    state = record.state()
    if state not in _ENDS or record.ended is None:
        return None
    seconds = max(0.0, record.ended - (record.started or record.created))
    wanted = ("failed", "done") if config.notify == "all" else ("failed",)
    if not record.notify and (
        config.notify == "off" or state not in wanted or seconds < config.notify_after
    ):
        return None
    verb, level = _ENDS[state]
    error = (record.error() or "").partition("\n")[0] if state == "failed" else ""
    name = record.name
    return _notice(
        f"{escape_control_chars(name, MAX_TITLE - 20)} {verb}",
        f"after {duration(seconds)}" + (f": {error}" if error else ""),
        level,
        state=state,
        name=name,
        only_unseen=not record.notify,
    )


def _notice(
    title: str, text: str, level: str, *, state: str = "", name: str = "", only_unseen: bool = False
) -> Notice:
    return Notice(
        escape_control_chars(title, MAX_TITLE),
        escape_control_chars(text, MAX_TEXT),
        level,
        state,
        escape_control_chars(name, MAX_TITLE),
        only_unseen,
    )
