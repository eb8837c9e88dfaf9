"""Show GitHub's notes (`> [!NOTE]`) as the theme's: the pages are read in both places."""

import re
from typing import Any

NOTE = re.compile(
    r"^> \[!(?P<kind>NOTE|TIP|IMPORTANT|WARNING|CAUTION)\]\n(?P<text>(?:^>.*(?:\n|\Z))+)",
    re.MULTILINE,
)
KINDS = {"IMPORTANT": "info", "CAUTION": "danger"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn each note into one that Markdown's extension `admonition` knows."""
    return NOTE.sub(_admonition, markdown)


def _admonition(found: re.Match[str]) -> str:
    kind = KINDS.get(found["kind"], found["kind"].lower())
    lines = [line.removeprefix(">").removeprefix(" ") for line in found["text"].splitlines()]
    body = "\n".join(f"    {line}".rstrip() for line in lines)
    return f'!!! {kind} "{found["kind"].capitalize()}"\n{body}\n'
