"""What the site needs beyond its configuration: pages from elsewhere, contents of notebooks."""

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
    """Add what GitHub wants at the top of the repository, and what only the site needs."""
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", ".docs/site.css", ".docs/site.js"):
        path = ROOT / name
        files.append(File.generated(config, path.name.lower(), abs_src_path=str(path)))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take a notebook's contents from its page: mkdocs-jupyter's forget the code in headings."""
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
