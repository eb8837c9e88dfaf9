"""What PyPI gets: a README whose links lead to files of the release."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

hatch_readme = pytest.importorskip("asyncnb._lab.hatch_readme")

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCE = "https://example.org/owner/asyncnb"


def metadata(**urls: str) -> str:
    """The README as the build hook gives it to the package."""
    found: dict[str, Any] = {"version": "1.2.3", "urls": urls}
    hook = SimpleNamespace(root=str(ROOT))
    hatch_readme.Readme.update(hook, found)
    assert found["readme"]["content-type"] == "text/markdown"
    return found["readme"]["text"]


def test_with_an_address_all_links_lead_to_files_of_the_tag():
    text = metadata(Source=SOURCE + "/")
    outside_of_code = re.sub(r"^```.*?^```|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", outside_of_code)
    assert len(links) > 40
    for link in links:
        view, path = re.fullmatch(rf"{SOURCE}/(blob|raw|tree)/v1\.2\.3/(\S+)", link).groups()
        path = path.partition("#")[0]
        assert (ROOT / path).is_dir() if view == "tree" else (ROOT / path).is_file(), link
        assert (view == "raw") == (Path(path).suffix in (".png", ".webp", ".svg", ".gif")), link
    assert re.sub(rf"{SOURCE}/(blob|raw|tree)/v1\.2\.3/", "", text) == README


def test_without_one_the_readme_is_as_it_is():
    assert metadata() == README


def test_code_and_links_to_elsewhere_stay():
    text = "[a](b.md) `[c](d.md)` [e](https://example.org/f) [g](#h)\n```\n[i](j.md)\n```\n"
    changed = hatch_readme.absolute(text, SOURCE, "v1")
    assert changed == text.replace("(b.md)", f"({SOURCE}/blob/v1/b.md)")


def test_the_build_asks_the_hook():
    core = pytest.importorskip("hatchling.metadata.core")
    manager = pytest.importorskip("hatchling.plugin.manager").PluginManager()
    built = core.ProjectMetadata(str(ROOT), manager).core
    assert "readme" in PROJECT["dynamic"]
    assert built.readme_content_type == "text/markdown"
    assert built.readme.startswith("# asyncnb\n")
    assert PROJECT.get("urls") or built.readme == README


def test_the_changelog_has_an_entry_for_the_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = PROJECT["version"]
    heading = "## [Unreleased]" if ".dev" in version else f"## [{version}]"
    assert heading in text
