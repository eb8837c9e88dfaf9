"""Add pages from other folders to the site, and tables of contents to its notebooks."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import get_toc

ROOT = Path(__file__).parents[1]
HEADING = re.compile(r'<h([1-6]) id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that GitHub expects in the root of the repository, and the site's own files."""
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", ".docs/site.css", ".docs/site.js"):
        path = ROOT / name
        files.append(File.generated(config, path.name.lower(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of pages from the root of the repository at the pages of the site."""
    if page.file.src_uri in ("contributing.md", "changelog.md"):
        return markdown.replace("](notebooks/", "](")
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Build a table of contents from a notebook's page; mkdocs-jupyter's omits code in headings."""
    if page.file.src_uri.endswith(".ipynb"):
        top: list[dict[str, Any]] = []
        above = [(0, top)]
        for level, ident, inner in HEADING.findall(html):
            name = re.sub(r"<[^>]+>", "", inner)
            entry = {"level": int(level), "id": ident, "name": name, "children": []}
            while above[-1][0] >= int(level):
                above.pop()
            above[-1][1].append(entry)
            above.append((int(level), entry["children"]))
        page.toc = get_toc(top)
    return html
