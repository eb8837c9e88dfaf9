"""The site: what its hooks make of pages, and that its search finds options as they are typed."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
PAGES = ("11_errors_and_cancellation.ipynb", "reference/magics.md")
OPTION = re.compile(r"--[a-z]+(?:-[a-z]+)*")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two pages, and one with a note, made as ``make docs`` makes all of it."""
    config = pytest.importorskip("mkdocs.config")
    from mkdocs.commands.build import build

    folder = tmp_path_factory.mktemp("site")
    for page in PAGES:
        (folder / "docs" / page).parent.mkdir(parents=True, exist_ok=True)
        # Links lead to pages that this site does not have.
        shutil.copy(NOTEBOOKS / page, folder / "docs" / page)
    (folder / "docs" / "index.md").write_text("# Start\n\n> [!NOTE]\n> Twice: `a`\n> and b.\n\nc\n")
    made = config.load_config(
        str(ROOT / ".docs" / "mkdocs.yml"),
        docs_dir=str(folder / "docs"),
        site_dir=str(folder / "site"),
        nav=None,
        validation={"links": {"not_found": "ignore", "anchors": "ignore"}},
    )
    build(made)
    return folder / "site"


def read(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def test_a_note_of_github_is_one_of_the_site(site: Path) -> None:
    note = re.search(r'<div class="admonition note">.*?</div>', read(site, "index.html"), re.DOTALL)
    assert note
    assert re.sub(r"<[^>]+>", "", note[0]).split() == ["Note", "Twice:", "a", "and", "b."]


def test_the_traceback_of_a_task_has_colours(site: Path) -> None:
    page = read(site, "11_errors_and_cancellation.html")
    traceback = re.search(r'<pre class="traceback">.*?</pre>', page, re.DOTALL)
    assert traceback
    marked = re.findall(r'<span class="tb-(\w+)">(.*?)</span>', traceback[0], re.DOTALL)
    parts = [(kind, text.strip(" \n-")) for kind, text in marked]
    assert parts == [
        ("rule", ""),
        ("error", "ZeroDivisionError"),
        ("place", "Cell In[2], line 3, in divide(a, b)"),
        ("arrow", "&gt; 3     return a / b"),
        ("error", "ZeroDivisionError"),
    ]


def test_the_code_of_a_notebook_is_indexed_under_its_heading(site: Path) -> None:
    docs = json.loads(read(site, "search/search_index.json"))["docs"]
    texts = {doc["location"]: doc["text"] for doc in docs}
    section = "11_errors_and_cancellation.html#rule-1-let-cancellederror-propagate"
    assert "async def swallows():" in texts[section]
    assert not [where for where, text in texts.items() if "Copied!" in text or "In [" in text]


def test_every_option_is_in_the_index_with_hyphens_and_without(site: Path) -> None:
    docs = json.loads(read(site, "search/search_index.json"))["docs"]
    text = " ".join(doc["text"] for doc in docs if doc["location"].startswith("reference/magics"))
    words = set(re.findall(r"[\w\N{HYPHEN}-]+", text))
    options = set(OPTION.findall((NOTEBOOKS / "reference/magics.md").read_text("utf-8")))
    assert {"--in", "--again", "--after-any"} < options
    assert {option.replace("-", "\N{HYPHEN}") for option in options} <= words
    assert {option.strip("-") for option in options} <= words


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.browser
def test_the_search_finds_an_option_as_it_is_typed(served: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    from tests.browser.lab import find_chromium

    words = ["--in", "--again", "--after-any", "--on-error", "keep_alive", "%%agroup"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{served}/index.html")
        field = page.locator("input[name=query]")
        found = page.locator(".md-search-result__meta")
        field.click()
        missing = []
        for word in words:
            field.fill("")
            field.press("End")
            sync_api.expect(found).to_have_text("Type to start searching")
            field.fill(word)
            field.press("End")  # the theme listens to keys
            sync_api.expect(found).to_have_text(re.compile("matching"))
            link = page.locator("a.md-search-result__link[href*='magics.html']")
            if "No matching" in found.inner_text() or not link.count():
                missing.append(word)
        browser.close()
    assert not missing
