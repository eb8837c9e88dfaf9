"""The dashboard's JavaScript on an empty page, with a model that plays the kernel.

The test says what the kernel sends, in the feed's own format, and reads what the browser asked for.
"""

from __future__ import annotations

import array
import base64
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asyncnb._core.listing.rows import FORMAT as ROWS
from tests.browser.lab import Lab

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

#: What the feed says of its rows, as its snapshots do.
FORMAT = ROWS | {"acknowledge": 20}

OPEN = """async ([js, css, height]) => {
    document.head.append(Object.assign(document.createElement('style'), { textContent: css }));
    const listeners = {};
    const traits = { height };
    const model = window.model = {
        get: name => traits[name],
        on: (name, f) => (listeners[name] ??= []).push(f),
        off: (name, f) => listeners[name] = (listeners[name] ?? []).filter(each => each !== f),
        send: message => {
            if (window.isGone) throw new Error('Comm is closed');
            window.sent.push(structuredClone(message));
        },
        widget_manager: {},
    };
    window.sent = [];
    window.tell = (message, buffers = []) =>
        (listeners['msg:custom'] ?? []).forEach(f => f(message, buffers));
    window.fire = name => (listeners[name] ?? []).forEach(f => f());
    const made = await import(URL.createObjectURL(new Blob([js], { type: 'text/javascript' })));
    window.widget = made.default();
    widget.initialize({ model });
    window.view = id => {
        const el = document.createElement('div');
        el.id = id;
        document.body.append(el);
        return widget.render({ model, el });
    };
}"""


class FakeKernel:
    """A page with dashboards of one model; `tell` is what the kernel sends."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.page: Page = lab.blank_page()
        self.seq = 0

    def open(self, js: str, css: str, *, height: int = 320) -> None:
        """Begin anew, with one widget that no view shows yet."""
        self.do(self.page.goto("about:blank"))
        self.seq = 0
        self.ask(PAINTED)
        self.ask(OPEN, [js, css, height])

    def ask(self, script: str, argument: Any = None) -> Any:
        """Evaluate on the page."""
        return self._lab.call(self.page.evaluate(script, argument))

    def do(self, step: Any) -> Any:
        """Run one step of playwright's."""
        return self._lab.call(step)

    def view(self, name: str = "one") -> None:
        """Show the widget once more."""
        self.ask("name => { (window.closers ??= {})[name] = view(name); }", name)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message, and wait until it is painted."""
        told = json.dumps(message)  # as one text: playwright packs each number by itself
        self.ask("async told => { tell(JSON.parse(told)); await painted(); }", told)

    def snapshot(self, rows: Sequence[dict[str, Any]] = (), **more: Any) -> None:
        """Send a snapshot of these rows."""
        self._rows("snapshot", rows, more)

    def delta(self, rows: Sequence[dict[str, Any]] = (), **more: Any) -> None:
        """Send what has changed."""
        self.seq += 1
        self._rows("delta", rows, more)

    def _rows(self, kind: str, rows: Sequence[dict[str, Any]], more: dict[str, Any]) -> None:
        message = {"k": kind, "seq": self.seq, "now": time.time(), **encode(rows), **more}
        if kind == "snapshot":
            message = {"groups": [], "loop": {}, "can": ["pause"], "format": FORMAT} | message
        self.tell(message)

    def sent(self, verb: str | None = None) -> list[dict[str, Any]]:
        """What the browser sent so far, of one verb or of those that people give."""
        found = self.ask("() => window.sent")
        own = ("sync", "view", "unfold", "sample", "seen", "close")
        return [m for m in found if (m["c"] not in own if verb is None else m["c"] == verb)]

    def answer(self, *, ok: bool = True, text: str = "") -> None:
        """Answer the command that came last."""
        self.tell({"k": "ack", "n": self.sent()[-1]["n"], "ok": ok, "text": text})

    def role(self, role: Any, name: str, inside: str = "#one") -> Locator:
        """The element of this role and this very name."""
        return self.page.locator(inside).get_by_role(role, name=name, exact=True)

    def click(self, role: Any, name: str, inside: str = "#one") -> None:
        """Click it."""
        self.do(self.role(role, name, inside).click(timeout=5000))

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.do(self.page.keyboard.press(key))
        self.ask("async () => { await painted(); }")

    def rows(self, inside: str = "#one") -> list[str]:
        """The names of the rows on the page, from top to bottom."""
        return list(self.ask(NAMES, inside))

    def row(self, name: str, inside: str = "#one") -> str:
        """What one row shows."""
        row = self.role("row", name, inside)
        return " | ".join(self.do(row.get_by_role("gridcell").all_text_contents())).strip()

    def focused(self) -> str:
        """The name of what has the focus."""
        return str(self.ask("() => document.activeElement.getAttribute('aria-label') ?? ''"))

    def text(self, inside: str = "#one") -> str:
        """All the text there."""
        return str(self.ask("inside => document.querySelector(inside).textContent", inside))

    def close(self) -> None:
        """Close the page."""
        self._lab.call(self.page.close())


PAINTED = """() => {
    window.painted ??= () => new Promise(done =>
        requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
NAMES = """inside => [...document.querySelectorAll(`${inside} [role=rowgroup] [role=row]`)]
    .map(row => [row.getBoundingClientRect().top, row.getAttribute('aria-label')])
    .sort((a, b) => a[0] - b[0]).map(pair => pair[1])"""


def task(id: int, name: str = "", state: str = "waiting", **more: Any) -> dict[str, Any]:
    """One row, as the tests write it."""
    now = time.time()
    row: dict[str, Any] = dict.fromkeys((*FORMAT["numbers"], *FORMAT["texts"]))
    row |= {"id": id, "name": name or f"task {id}", "state": state, "kind": "loop", "note": ""}
    row |= {"cell": 0, "started": now - 1, "waits_for": ""}
    if state in FORMAT["ended"]:
        row["ended"] = now
    return row | more


def encode(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rows as the feed sends them."""
    numbers: list[Any] = []
    for row in rows:
        known = {**row, "state": FORMAT["states"].index(row["state"])}
        numbers += [known[name] for name in FORMAT["numbers"]]
    texts = [[row[name] for name in FORMAT["texts"]] for row in rows]
    return {"numbers": numbers, "texts": texts}


def as_bytes(numbers: list[Any]) -> str:
    """The numbers of many rows, as the feed sends them, in base 64."""
    doubles = array.array("d", [float("nan") if n is None else n for n in numbers])
    return base64.b64encode(doubles.tobytes()).decode()


def quoted(text: str) -> str:
    """A text as JavaScript."""
    return json.dumps(text)
