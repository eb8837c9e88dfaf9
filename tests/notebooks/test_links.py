"""Links lead somewhere: to a file and a heading that are there, or to an address of right form."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "notebooks").rglob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def text_of(page: Path) -> str:
    """A page without its code; of a notebook the cells that are text."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return FENCE.sub("", text)


def links(text: str) -> list[str]:
    return LINK.findall(CODE.sub("", text))


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in addresses, on GitHub as on the site."""
    headings = HEADING.findall(text_of(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, link: str) -> str | None:
    """Say what is wrong with a link of ``page``, or None."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        right = parts.scheme == "https" and re.fullmatch(r"[\w.-]+\.\w{2,}", parts.netloc)
        return None if right else "no https address of a host"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return "no such file"
    if parts.fragment and parts.fragment not in anchors(target):
        return "no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    found = [(link, broken(page, link)) for link in links(text_of(page))]
    assert not [problem for problem in found if problem[1]]


def test_a_link_that_leads_nowhere_is_found() -> None:
    readme = ROOT / "README.md"
    text = "[a](nowhere.md) [b](README.md#no-such) [c](http://x) [d](#try-it) `[e](code.md)`"
    assert [bool(broken(readme, link)) for link in links(text)] == [True, True, True, False]


def test_the_readme_leads_to_every_tutorial_and_the_site_to_every_page() -> None:
    readme = links(text_of(ROOT / "README.md"))
    site = (ROOT / ".docs" / "mkdocs.yml").read_text()
    for page in PAGES:
        if page.parent == ROOT:
            continue
        name = page.relative_to(ROOT / "notebooks").as_posix()
        assert page.suffix != ".ipynb" or f"notebooks/{name}" in readme, name
        assert re.search(rf" {re.escape(name)}$", site, re.MULTILINE), name
