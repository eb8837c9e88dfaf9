"""The dashboard's JavaScript without a kernel: the tasks inside others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from asyncnb.widgets._static import dashboard_css, dashboard_js
from tests.browser.fake import FORMAT, FakeKernel, task
from tests.browser.lab import Lab

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def _page(lab: Lab) -> Iterator[FakeKernel]:
    page = FakeKernel(lab)
    yield page
    page.close()


@pytest.fixture
def page(_page: FakeKernel) -> FakeKernel:
    """A page with one view of two tasks, of which "crawl B" has three children."""
    _page.open(dashboard_js(), dashboard_css())
    _page.view()
    _page.snapshot([task(1, "crawl A"), task(2, "crawl B", cell=3)])
    _page.delta(inner={"counts": [[2, 3, 1, 0, 0]]})
    return _page


def child(id: int, name: str, state: str = "waiting", **more: Any) -> list[Any]:
    row = {"id": id, "name": name, "state": FORMAT["states"].index(state), "waits_for": ""}
    row |= {"note": "", "cell": 0} | more
    return [row[column] for column in FORMAT["inner"]]


def pages(page: FakeKernel, *numbers: int, parent: int = 2, gone: tuple[int, ...] = ()) -> None:
    named = [part for n in numbers for part in (-n, f"page {n}")]
    page.delta(inner={"lists": [[parent, list(gone), named]]})


def test_of_a_task_unfolded_again_the_page_has_what_the_kernel_sent_last(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    pages(page, 1, 2)
    page.click("button", "Collapse crawl B")
    pages(page, 3)  # on its way already
    page.click("button", "Expand crawl B")
    page.delta(inner={"lists": [[2, None, [-1, "page 1"]]]})
    assert page.rows() == ["crawl A", "crawl B", "crawl B/page 1"]


def asked(page: FakeKernel) -> list[int]:
    """The tasks that the page asked to see inside of, last."""
    found: list[int] = [m for m in page.ask("() => window.sent") if m["c"] == "unfold"][-1]["ids"]
    return found


def test_a_task_with_children_is_folded_and_says_how_many(page: FakeKernel) -> None:
    assert page.rows() == ["crawl A", "crawl B"]
    assert page.row("crawl B").startswith("crawl B4: 3 running, 1 done | waiting")
    assert page.do(page.role("button", "Expand crawl A").count()) == 0
    assert asked(page) == []
    page.delta(inner={"counts": [[2, 0, 0, 0, 0]]})
    assert page.row("crawl B").startswith("crawl B | waiting")
    assert page.do(page.role("button", "Expand crawl B").count()) == 0


def test_it_unfolds_and_folds_by_mouse_and_keyboard(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    assert asked(page) == [2]
    pages(page, 1, 2, 3)
    assert page.rows() == [
        "crawl A", "crawl B", "crawl B/page 1", "crawl B/page 2", "crawl B/page 3",
    ]  # fmt: skip
    twisty = page.role("button", "Collapse crawl B")
    assert page.do(twisty.get_attribute("aria-expanded")) == "true"
    page.click("button", "Collapse crawl B")
    assert page.rows() == ["crawl A", "crawl B"]
    assert asked(page) == []
    page.do(page.role("row", "crawl B").focus())
    page.press("ArrowRight")
    assert asked(page) == [2]
    pages(page, 1, 2, 3)
    page.press("ArrowRight")
    assert page.focused() == "crawl B/page 1"
    page.press("ArrowLeft")
    assert page.focused() == "crawl B"
    page.press("ArrowLeft")
    assert page.rows() == ["crawl A", "crawl B"]


def test_a_child_shows_what_it_does_and_is_cancelled_paused_and_opened(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    pages(page, 7, 8)
    page.delta(
        inner={"rows": [child(-7, "page 7", waits_for="Queue.get (0 in it)", cell=3),
                        child(-8, "page 8", "paused")]}
    )  # fmt: skip
    assert page.row("crawl B/page 7") == "page 7 | waiting |  |  | Queue.get (0 in it) | In[3] |"
    for verb in ("Rename", "Set time limit of"):
        assert page.do(page.role("button", f"{verb} crawl B/page 7").count()) == 0
    page.click("button", "Cancel crawl B/page 7")
    assert {"c": "cancel_inner", "id": -7, "name": "page 7"}.items() <= page.sent()[-1].items()
    page.answer(ok=False, text="'page 7' has ended.")
    assert "'page 7' has ended." in page.text()
    page.click("button", "Resume crawl B/page 8")
    assert {"c": "resume_inner", "id": -8, "name": "page 8"}.items() <= page.sent()[-1].items()
    page.answer()
    page.do(page.role("row", "crawl B/page 7").focus())
    page.press("Delete")
    assert page.sent()[-1]["c"] == "cancel_inner"
    page.press("F2", "t", "p", "Enter")
    assert page.sent()[-1] == {"c": "detail", "id": -7}
    page.tell({"k": "detail", "id": -7, "of": {"frames": [], "waits": "Queue.get (0 in it)"}})
    assert "crawl B/page 7" in page.text()
    assert "Waits for" in page.text()


def test_children_of_children_are_indented_below_them(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    pages(page, 7, 8)
    page.delta(inner={"counts": [[-7, 1, 0, 0, 0]]})
    page.click("button", "Expand crawl B/page 7")
    assert asked(page) == [-7, 2]
    pages(page, 9, parent=-7)
    assert page.rows()[1:] == [
        "crawl B", "crawl B/page 7", "crawl B/page 7/page 9", "crawl B/page 8",
    ]  # fmt: skip
    left = """name => document.querySelector(`[aria-label='${name}'] .asyncnb-name-text`)
        .getBoundingClientRect().left"""
    assert page.ask(left, "crawl B/page 7/page 9") > page.ask(left, "crawl B/page 7")
    pages(page, parent=2, gone=(-7,))
    assert page.rows()[1:] == ["crawl B", "crawl B/page 8"]


def test_the_filter_finds_children_of_unfolded_tasks(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    pages(page, *range(1, 12))

    def filtered(text: str) -> list[str]:
        page.do(page.role("searchbox", "Filter tasks").fill(text))
        page.ask("async () => { await painted(); }")
        return page.rows()

    assert filtered("page 11") == ["crawl B", "crawl B/page 11"]
    assert filtered("nothing") == []
    assert filtered("crawl b page 3") == ["crawl B", "crawl B/page 3"]
    assert len(filtered("crawl B")) == 12
    filtered("")
    page.do(page.page.get_by_text("2 waiting").first.click())
    page.ask("async () => { await painted(); }")
    assert len(page.rows()) == 13


def test_focus_and_scroll_stay_where_they_are_while_children_come_and_go(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    pages(page, *range(1, 101))
    page.do(page.role("row", "crawl B").focus())
    page.press("PageDown", "PageDown", "PageDown", "PageDown")
    focused = page.focused()
    top = "name => document.querySelector(`[aria-label='${name}']`).getBoundingClientRect().top"
    stood = page.ask(top, focused)
    here = int(focused.rpartition(" ")[2])
    pages(page, 101, 102, gone=(-1, -2, -3))
    assert page.focused() == focused
    assert page.ask(top, focused) == stood
    pages(page, gone=(-here,))
    assert page.focused() == f"crawl B/page {here + 1}"


def test_a_child_whose_id_is_used_again_is_a_new_row(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    pages(page, 7)
    page.delta(inner={"rows": [child(-7, "page 7", "failed", note="ValueError")]})
    assert page.row("crawl B/page 7").startswith("page 7 | failed |  |  | ValueError")
    page.delta(inner={"lists": [[2, [], [-7, "other"]]]})
    assert page.row("crawl B/other").startswith("other |  |  |  |  |")


def test_after_a_new_snapshot_the_page_asks_for_what_is_unfolded(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    pages(page, 7)
    page.seq += 1  # a message is lost
    page.delta()
    page.snapshot([task(2, "crawl B")])
    assert asked(page) == [2]
    assert page.row("crawl B").startswith("crawl B | waiting"), "what was inside is not known now"
    page.delta(inner={"counts": [[2, 1, 0, 0, 0]], "lists": [[2, [], [-7, "page 7"]]]})
    assert page.rows() == ["crawl B", "crawl B/page 7"]
    page.delta(gone=[2])
    assert page.rows() == []


def test_ten_thousand_children_are_at_most_sixty_elements(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    pages(page, *range(1, 10_001))
    page.ask(
        """async () => {
            document.querySelector('#one [role=rowgroup]').scrollTop = 140_000;
            await painted();
        }"""
    )
    assert page.ask("() => document.querySelectorAll('#one [role=row]').length") <= 60
    assert "crawl B/page 5000" in page.rows()
    view = page.ask(
        """async () => {
            const view = () => window.sent.findLast(message => message.c === 'view');
            while (!view().ids.includes(-5001)) await painted();
            return view();
        }"""
    )
    assert len(view["ids"]) < 40


def test_names_of_children_are_text(page: FakeKernel) -> None:
    page.click("button", "Expand crawl B")
    xss = "<img src=x onerror=window.hacked=1>"
    page.delta(inner={"lists": [[2, [], [-7, xss]]]})
    page.delta(inner={"rows": [child(-7, xss, waits_for=xss, note=xss)]})
    assert page.rows()[-1] == f"crawl B/{xss}"
    assert page.ask("() => window.hacked") is None
