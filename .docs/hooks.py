"""Pages of the site that stand elsewhere in the repository."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what GitHub wants at the top of the repository, and what only the site needs."""
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", ".docs/site.css", ".docs/site.js"):
        path = ROOT / name
        files.append(File.generated(config, path.name.lower(), abs_src_path=str(path)))
    return files
