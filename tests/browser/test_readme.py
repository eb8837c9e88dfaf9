"""The first screen of the README: what asyncnb is, how it moves, how to install it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import find_chromium

pytestmark = pytest.mark.browser

README = Path(__file__).parents[2] / "README.md"
#: The measures of GitHub's style sheet for a page of Markdown.
STYLE = """
body { max-width: 948px; margin: 32px auto; font: 16px/1.5 sans-serif; }
h1 { font-size: 2em; padding-bottom: .3em; margin: 0 0 16px; } p, pre { margin: 0 0 16px; }
pre { padding: 16px; font-size: 85%; line-height: 1.45; } img { max-width: 100%; }
"""
SITE = "http://readme.invalid/"
VISIBLE = """selector => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return box.width > 0 && box.top >= 0 && box.bottom <= innerHeight;
}"""


def _file(route: Any) -> Path:
    return README.parent / route.request.url.removeprefix(SITE)


def test_tagline_animation_and_install_line_are_on_the_first_screen() -> None:
    mistune = pytest.importorskip("mistune")
    sync_api = pytest.importorskip("playwright.sync_api")
    text = f"<style>{STYLE}</style>{mistune.html(README.read_text(encoding='utf-8'))}"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.route(f"{SITE}notebooks/**", lambda route: route.fulfill(path=_file(route)))
        page.route(SITE, lambda route: route.fulfill(body=text, content_type="text/html"))
        page.goto(SITE)
        page.wait_for_function("document.querySelector('img').complete")
        shown = {each: page.evaluate(VISIBLE, each) for each in ("p strong", "img", "pre")}
        tagline = page.locator("p strong").first.inner_text()
        install = page.locator("pre").first.inner_text()
        height = page.evaluate("document.querySelector('img').naturalHeight")
        browser.close()
    assert all(shown.values()), shown
    assert len(tagline.split()) <= 15
    assert "pip install" in install
    assert height > 100, "the animation was not loaded"
