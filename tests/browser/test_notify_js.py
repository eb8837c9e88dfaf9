"""The notifier's JavaScript without a kernel: where a notification appears, and where not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncnb.widgets._static import notify_js
from tests.browser.lab import DEADLINE, Lab
from tests.widgets.xss import CORPUS

pytestmark = pytest.mark.browser

#: Records the notifications of the desktop, which headless browsers show nowhere, and plays that
#: the page is hidden. `permission` is what the browser would answer.
PRELUDE = """() => {
    window.desktop = [];
    const Real = window.Notification;
    window.allowed = Real.permission;
    window.Notification = class extends Real {
        constructor(title, options) { super(title, options); desktop.push([title, options.body]); }
        static get permission() { return window.allowed; }
        static async requestPermission() {
            window.asked = (window.asked ?? 0) + 1;
            return (window.allowed = window.answer ?? 'granted');
        }
    };
    window.hide = (hidden) => {
        Object.defineProperty(document, 'visibilityState',
            { configurable: true, get: () => hidden ? 'hidden' : 'visible' });
        document.dispatchEvent(new Event('visibilitychange'));
    };
}"""
OPEN = """async ([js, key]) => {
    const made = await import(URL.createObjectURL(new Blob([js], { type: 'text/javascript' })));
    const listeners = [];
    window.sent = [];
    const model = {
        get: () => key,
        on: (_, f) => listeners.push(f),
        send: message => { if (window.isGone) throw new Error('gone'); sent.push(message); },
    };
    window.tell = message => Promise.all(listeners.map(f => f(message)));
    window.arrive = message => { listeners.forEach(f => f(message)); };
    made.default().initialize({ model });
}"""
SHOWN = "() => [...document.querySelectorAll('.asyncnb-notice')].map(node => node.textContent)"


class FakePage:
    """A page with a notifier; `tell` is what the kernel sends."""

    def __init__(self, lab: Lab, key: str) -> None:
        self._lab = lab
        self.page = lab.blank_page()
        # Of the server's origin, because a page without one has neither locks nor permissions.
        self.do(self.page.route("**/empty", _answer))
        self.do(self.page.goto(f"{lab.url}/empty"))
        self.ask(PRELUDE)
        self.ask("() => { localStorage.clear(); document.title = 'run.ipynb'; }")
        self.number = 0
        self.key = key

    def begin(self) -> None:
        """Create the widget, as its module does in a notebook."""
        self.ask(OPEN, [notify_js(), self.key])

    def ask(self, script: str, argument: Any = None) -> Any:
        """Evaluate on the page."""
        return self._lab.call(self.page.evaluate(script, argument))

    def do(self, step: Any) -> Any:
        """Run one step of playwright's."""
        return self._lab.call(step)

    def note(self, title: str = "job is done", *, n: int | None = None, **more: Any) -> None:
        """Send a notification; return when the page has handled it."""
        self.number += 1
        note = {"k": "note", "n": n or self.number, "title": title, "text": "after 61 s"}
        told = json.dumps(note | {"level": "info", "onlyUnseen": False} | more)
        # Not waiting for the lock, which is held on so that other pages find it taken.
        self.ask("told => arrive(JSON.parse(told))", told)
        self.see("n => sent.some(m => m.c === 'shown' && m.n === n)", note["n"])

    def see(self, condition: str, argument: Any = None) -> None:
        """Wait until a condition holds on the page."""
        seen = self.page.wait_for_function(condition, arg=argument, timeout=1000 * DEADLINE)
        self._lab.call(seen, DEADLINE + 1)

    def click(self, name: str) -> None:
        """Click the button of this name."""
        self.do(self.page.get_by_role("button", name=name, exact=True).click(timeout=5000))

    @property
    def on_page(self) -> list[str]:
        return list(self.ask(SHOWN))

    @property
    def desktop(self) -> list[list[str]]:
        return list(self.ask("() => desktop"))

    @property
    def title(self) -> str:
        return str(self.ask("() => document.title"))


async def _answer(route: Any) -> None:
    await route.fulfill(body="<!doctype html><title>empty</title>", content_type="text/html")


@pytest.fixture
def open_page(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Callable[..., FakePage]]:
    assert lab._context is not None
    lab.call(lab._context.grant_permissions(["notifications"], origin=lab.url))
    opened: list[FakePage] = []

    def open_(*, begin: bool = True) -> FakePage:
        opened.append(FakePage(lab, request.node.name))
        if begin:
            opened[-1].begin()
        return opened[-1]

    yield open_
    for each in opened:
        lab.call(each.page.close())
    lab.call(lab._context.clear_permissions())


@pytest.fixture
def page(open_page: Callable[..., FakePage]) -> FakePage:
    return open_page()


def test_a_page_that_is_looked_at_shows_it_itself(page: FakePage) -> None:
    [hello] = page.ask("() => sent")
    assert hello["c"] == "hello"
    assert 0 < hello["age"] < 600
    page.note()
    assert page.on_page == ["job is done: after 61 s"]
    assert page.desktop == []
    assert page.title == "run.ipynb"


def test_a_hidden_page_shows_it_on_the_desktop_and_counts_it_in_the_title(page: FakePage) -> None:
    page.ask("() => hide(true)")
    page.note("a failed", level="error", onlyUnseen=True)
    page.note("", text="half of it")  # the title is the notebook's
    assert page.desktop == [["a failed", "after 61 s"], ["run.ipynb", "half of it"]]
    assert page.title == "(2) run.ipynb"
    assert page.on_page == ["a failed: after 61 s", "half of it"]  # for when it is seen
    page.ask("() => hide(false)")
    assert page.title == "run.ipynb"
    page.ask("() => hide(true)")
    page.note()
    assert page.title == "(1) run.ipynb"


def test_a_failure_that_was_not_asked_about_is_shown_in_hidden_pages_only(page: FakePage) -> None:
    page.note("a failed", onlyUnseen=True)
    assert (page.on_page, page.desktop, page.title) == ([], [], "run.ipynb")
    page.note("while no page was open failed", onlyUnseen=True, late=True)
    assert page.on_page == ["while no page was open failed: after 61 s"]


def test_the_number_stays_while_others_change_the_title(page: FakePage) -> None:
    page.ask("() => hide(true)")
    page.note()
    for change in ("document.title = 'other.ipynb'", "document.title = '* ' + document.title"):
        page.ask(f"async () => {{ {change}; await new Promise(requestAnimationFrame); }}")
        assert page.title.count("(1) ") == 1
    page.ask("() => hide(false)")
    assert page.title == "* other.ipynb"


def test_it_gives_way_to_code_that_wants_the_title_for_itself(page: FakePage) -> None:
    page.ask("""() => {
        window.writes = 0;
        new MutationObserver(() => {
            if (document.title !== 'mine') { window.writes++; document.title = 'mine'; }
        }).observe(document.head, { subtree: true, childList: true, characterData: true });
        hide(true);
    }""")
    page.note()
    page.see("() => document.title === 'mine' && window.writes > 50")
    assert page.ask("() => window.writes") < 300


@pytest.mark.parametrize("looked_at", [0, 1, None])
def test_of_several_pages_one_shows_it(
    open_page: Callable[..., FakePage], looked_at: int | None
) -> None:
    pages = [open_page(), open_page(), open_page()]
    for n, each in enumerate(pages):
        each.ask("hidden => hide(hidden)", n != looked_at)
    note = {"k": "note", "n": 1, "title": "t", "text": "x", "level": "info", "onlyUnseen": False}
    for each in pages:
        each.ask("note => { tell(note).then(() => (window.gaveWay = true)); }", note)
    for each in pages:  # the one that shows it holds the lock for a while
        each.see("() => window.gaveWay || sent.some(m => m.c === 'shown')")
    shown = [len(each.on_page) for each in pages]
    assert sum(shown) == 1
    assert looked_at is None or shown[looked_at] == 1
    assert sum(len(each.desktop) for each in pages) == (1 if looked_at is None else 0)


def test_the_same_one_sent_again_is_shown_once(page: FakePage) -> None:
    page.note(n=5)
    page.note(n=5, late=True)
    assert len(page.on_page) == 1


def test_permission_is_asked_for_once_in_a_click(open_page: Callable[..., FakePage]) -> None:
    page = open_page(begin=False)
    page.ask("() => { window.allowed = 'default'; }")
    page.begin()
    page.ask("() => arrive({ k: 'ask' })")
    page.ask("() => arrive({ k: 'ask' })")
    page.note()
    assert page.ask("() => document.querySelectorAll('[data-ask]').length") == 1
    assert page.ask("() => window.asked") is None  # not before the click
    page.click("Allow notifications")
    assert page.ask("() => window.asked") == 1
    page.see("() => !document.querySelector('[data-ask]')")
    page.ask("() => hide(true)")
    page.note()
    assert len(page.desktop) == 1
    page.ask("() => arrive({ k: 'ask' })")
    assert page.ask("() => [window.asked, document.querySelectorAll('[data-ask]').length]") == [
        1,
        0,
    ]


def test_a_no_is_heard(open_page: Callable[..., FakePage]) -> None:
    page = open_page(begin=False)
    page.ask("() => { window.allowed = 'default'; window.answer = 'denied'; }")
    page.begin()
    page.ask("() => arrive({ k: 'ask' })")
    page.click("Not now")
    page.ask("() => arrive({ k: 'ask' })")
    assert page.ask("() => document.querySelectorAll('[data-ask]').length") == 0
    page.ask("() => { localStorage.clear(); arrive({ k: 'ask' }); }")
    page.click("Allow notifications")
    page.see("() => document.querySelector('.asyncnb-notice')")
    [sentence] = page.on_page
    assert sentence.startswith("The browser blocks notifications of this page. They appear on")
    page.ask("() => { hide(true); arrive({ k: 'ask' }); arrive({ k: 'ask' }); }")
    page.note()
    assert page.desktop == []
    assert page.title == "(1) run.ipynb"
    assert page.on_page.count(sentence) == 2  # in this browser it is shown once more, not each time


def test_jupyterlab_gets_it_where_there_is_a_way(page: FakePage) -> None:
    page.ask("""() => {
        window.given = [];
        window.jupyterapp = { commands: {
            hasCommand: name => name === 'apputils:notify',
            execute: async (name, what) => given.push(what),
        } };
    }""")
    page.note(level="error")
    form = {"message": "job is done: after 61 s", "type": "error", "options": {"autoClose": 10000}}
    assert page.ask("() => given") == [form]
    assert page.on_page == []
    page.ask("""() => document.addEventListener('asyncnb:notify', event => {
        window.taken = event.detail;
        event.preventDefault();
    })""")
    page.note(level="error")
    assert page.ask("() => [taken, given.length]") == [form, 1]  # an extension comes first


def test_texts_are_text(page: FakePage) -> None:
    before = page.ask("() => [...document.querySelectorAll('*')].length")
    page.ask("() => hide(true)")
    notes = [
        {"k": "note", "n": n, "title": text, "text": text, "level": "info", "onlyUnseen": False}
        for n, text in enumerate(CORPUS)
    ]
    page.ask("told => JSON.parse(told).forEach(arrive)", json.dumps(notes))
    page.see("number => sent.filter(m => m.c === 'shown').length === number", len(notes))
    assert page.ask("() => window.hacked") is None
    # The corner, and the few messages that stay.
    assert page.ask("() => [...document.querySelectorAll('*')].length") <= before + 8
    # A browser grants the locks of different notes in any order: which of them are last varies.
    assert set(page.on_page) <= {f"{text}: {text}" for text in CORPUS}
    assert len(page.on_page) == 4
    assert sorted(page.desktop) == sorted([text, text] for text in CORPUS)


def test_a_kernel_that_is_gone_and_odd_messages_harm_nothing(page: FakePage) -> None:
    page.ask("() => { window.isGone = true; arrive({}); arrive({ k: 'bye' }); }")
    page.ask("() => arrive({ k: 'note', n: 1, title: 't', text: '', level: 'constructor' })")
    page.see("() => document.querySelector('.asyncnb-notice')")
    assert page.on_page == ["t"]
