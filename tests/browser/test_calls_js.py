"""A run of many calls in the dashboard, without a kernel: its row, its details, its limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from asyncnb.widgets._static import chip_js, dashboard_css, dashboard_js
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
    """A dashboard with one run, of which 120 of 1,000 items have ended."""
    _page.open(dashboard_js(), dashboard_css())
    _page.view()
    _page.snapshot([run()], calls=[calls()])
    return _page


def run(state: str = "waiting", **more: Any) -> dict[str, Any]:
    return task(1, "pages", state, **{"done": 120, "total": 1000, "waits_for": "8 calls"} | more)


def calls(**more: Any) -> list[Any]:
    known = {"id": 1, "failed": 3, "retried": 5, "saved": 0, "per_second": 4.2}
    known |= {"finish": time.time() + 209.9, "limit": 8, "rate": "300/min"}  # type: ignore[dict-item]
    return [(known | more)[column] for column in FORMAT["calls"]]


def details(*failures: list[str]) -> dict[str, Any]:
    of = {"output": "", "waits": "", "traceback": "", "awaited_by": [], "failures": [*failures]}
    return {"k": "detail", "id": 1, "of": of}


def field(page: FakeKernel, name: str) -> str:
    return str(page.do(page.role("textbox", name).input_value()))


def type_into(page: FakeKernel, name: str, text: str) -> None:
    page.do(page.role("textbox", name).fill(text))
    page.press("Enter")


def test_a_row_says_what_failed_how_fast_it_is_and_when_it_will_end(page: FakeKernel) -> None:
    assert "| 120/1,000 | 3 failed, 5 retried, 4.2/s, 3 min 29 s left |" in page.row("pages")
    page.delta([run(done=121)])
    assert "| 121/1,000 | 3 failed, 5 retried, 4.2/s, 3 min 29 s left |" in page.row("pages")
    page.delta([run()], calls=[calls(failed=0, retried=0, per_second=0.4, finish=None)])
    assert "| 24/min |" in page.row("pages")
    page.delta([run()], calls=[calls(failed=0, retried=0, per_second=None, finish=None)])
    assert "| 8 calls |" in page.row("pages")
    page.delta([run("done", done=1000)], calls=[calls(finish=None, saved=40)])
    assert "| 3 failed, 5 retried, 40 from the file |" in page.row("pages")


def test_the_details_list_the_failed_items_and_set_limit_and_rate(page: FakeKernel) -> None:
    page.click("row", "pages")
    page.tell(details(["https://a", "TimeoutError: slow"], ["<b>x</b>", "OSError: <i>"]))
    items = page.do(page.page.locator("#one .asyncnb-failures li").all_text_contents())
    assert items == ["https://aTimeoutError: slow", "<b>x</b>OSError: <i>"]
    assert "Failed items, the last 2 of 3" in page.text()
    assert (field(page, "Limit of pages"), field(page, "Rate of pages")) == ("8", "300/min")
    type_into(page, "Limit of pages", "5")
    assert {"c": "limit", "id": 1, "calls": "5"}.items() <= page.sent()[-1].items()
    type_into(page, "Rate of pages", "often")
    assert {"c": "rate", "id": 1, "rate": "often"}.items() <= page.sent()[-1].items()
    page.answer(ok=False, text="A rate is a number of calls per time.")
    assert "A rate is a number of calls per time." in page.text()
    assert field(page, "Rate of pages") == "300/min"


def test_what_is_being_typed_is_kept_while_the_run_goes_on(page: FakeKernel) -> None:
    page.click("row", "pages")
    page.tell(details())
    page.do(page.role("textbox", "Limit of pages").fill("12"))
    page.delta([run(done=300)], calls=[calls(limit=9)])
    page.tell(details(["a", "OSError: no"]))
    assert field(page, "Limit of pages") == "12"
    page.press("Escape")
    assert field(page, "Limit of pages") == "9"
    assert not page.sent()[-1].items() >= {"c": "limit"}.items()


def test_the_failed_items_of_an_ended_run_can_be_run_again(page: FakeKernel) -> None:
    page.click("row", "pages")
    page.tell(details(["a", "OSError: no"]))
    assert page.do(page.role("button", "Retry failed items").count()) == 0
    page.delta([run("failed", note="ItemsFailedError: 3 of 1,000")], calls=[calls(finish=None)])
    assert page.do(page.role("textbox", "Limit of pages").is_disabled())
    page.click("button", "Retry failed items")
    assert {"c": "retry", "id": 1}.items() <= page.sent()[-1].items()


def test_a_chip_says_it_in_one_line(_page: FakeKernel) -> None:
    _page.open(chip_js(), "")
    _page.ask(
        """() => {
            model.get = name => (name === 'css' ? '' : 'key');
            widget.initialize({ model });
            const [hub] = globalThis[Symbol.for('asyncnb.chips')].values();
            const el = document.createElement('div');
            el.id = 'one';
            document.body.append(el);
            hub.mount(el, 1, 'a task');
        }"""
    )
    _page.page.locator("#one .asyncnb-chip")
    _page.snapshot([run()], calls=[calls()])
    text = _page.text()
    assert "120/1,000" in text
    assert "3 failed, 5 retried, 4.2/s, 3 min 29 s left" in text
