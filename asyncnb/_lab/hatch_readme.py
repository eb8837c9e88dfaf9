"""Make the links of the README absolute in the package's metadata: PyPI shows it without the files.

The address is ``Source`` of ``[project.urls]``, and the files are those of the release's tag. As
long as there is no address, the links stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_FENCED = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")
_PICTURES = (".gif", ".jpg", ".png", ".svg", ".webp")


def absolute(readme: str, source: str, tag: str) -> str:
    """Return the README with links to files at ``source`` (``https://host/owner/name``)."""

    def replaced(found: re.Match[str]) -> str:
        path = found[1]
        view = "raw" if path.endswith(_PICTURES) else "tree" if path.endswith("/") else "blob"
        return f"]({source.rstrip('/')}/{view}/{tag}/{path})"

    parts = _FENCED.split(readme)  # code at the odd places
    parts[::2] = [_LINK.sub(replaced, part) for part in parts[::2]]
    return "".join(parts)


class Readme(MetadataHookInterface):
    """Gives the package its long description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme`` of the metadata."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        if source:
            text = absolute(text, source, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
