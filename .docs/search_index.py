"""Make what a reader types findable: sections of notebooks, and options such as `--in`."""

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.pages import Page

HEADING = re.compile(
    r'<h[1-6] id="(?P<id>[^"]+)">(?P<title>.*?)<a class="anchor-link".*?</a></h[1-6]>', re.DOTALL
)
#: Styles and scripts, the second copy of each cell for its copy button, tags and prompts.
UNREAD = re.compile(
    r"<style.*?</style>|<script.*?</script>|<svg.*?</svg>|<clipboard-copy.*?</clipboard-copy>"
    r'|<div class="clipboard-copy-txt".*?</div>|<div class="celltoolbar".*?</div>\s*</div>'
    r'|<div class="jp-InputPrompt.*?</div>|<!--.*?-->',
    re.DOTALL,
)
#: For the search, a hyphen separates words, and `in` or `all` is none. With another kind of hyphen,
#: an option is one word; `site.js` does the same with what the reader types.
OPTION = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])")
#: Where options are defined. Their names are found there without hyphens, too.
DEFINING = ("reference/magics.html", "reference/command_line.html")

notebooks: dict[str, list[dict[str, str]]] = {}


def on_page_content(html: str, page: Page, **_: Any) -> None:
    """Keep the text of a notebook by its headings; the search plugin takes code as one section."""
    if page.file.src_uri.endswith(".ipynb"):
        html = UNREAD.sub(" ", html)
        found = list(HEADING.finditer(html))
        ends = [match.start() for match in found[1:]] + [len(html)]
        notebooks[page.url] = [
            {
                "location": page.url + (f"#{match['id']}" if i else ""),
                "title": _words(match["title"]),
                "text": _words(html[match.end() : end]),
            }
            for i, (match, end) in enumerate(zip(found, ends, strict=True))
        ]


@event_priority(-100)  # after the search plugin, which writes the index in this event
def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Write the sections of notebooks and the options into the index."""
    path = Path(config.site_dir, "search", "search_index.json")
    index = json.loads(path.read_text(encoding="utf-8"))
    docs: list[dict[str, Any]] = []
    for doc in index["docs"]:
        url, _anchor, heading = doc["location"].partition("#")
        if url not in notebooks:
            docs.append(doc)
        elif not heading:
            docs += notebooks[url]
    for doc in docs:
        options = dict.fromkeys(OPTION.findall(doc["text"]))
        doc["text"] = OPTION.sub(lambda found: found[0].replace("-", "\N{HYPHEN}"), doc["text"])
        if doc["location"].startswith(DEFINING):
            doc["text"] += " ".join(["", *(option.strip("-") for option in options)])
    index["docs"] = docs
    path.write_text(json.dumps(index, separators=(",", ":")), encoding="utf-8")


def _words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html)).strip()
