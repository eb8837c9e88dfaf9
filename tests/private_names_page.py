"""The page of the private names that the code relies on, from the table of them.

``make names-page`` writes it; a test compares it with the table.
"""

from __future__ import annotations

from pathlib import Path

from tests.leans import ELSEWHERE, NOTEBOOK, PYTHON, Lean

PAGE = Path(__file__).parent.parent / "notebooks/reference/private_names.md"

HEAD = """# Private names

Every private name of Python and of other packages that asyncnb relies on, where, and what breaks without it. Each has its own test, run on every supported Python and ipykernel; another test finds a private name in the code that has no row. The table is `tests/leans.py`.
"""  # noqa: E501


def part(title: str, leans: list[Lean]) -> str:
    rows = []
    for lean in leans:
        pythons = ""
        if lean.since > 11 or lean.until < 99:
            first = f"3.{lean.since}" if lean.since > 11 else ""
            last = f"3.{lean.until}" if lean.until < 99 else ""
            pythons = f" ({first} to {last})" if first and last else f" (until {last})"
            pythons = f" (since {first})" if first and not last else pythons
        used = "many files" if lean.used == "*" else ", ".join(f"`{f}`" for f in lean.used.split())
        rows.append(f"| `{lean.name}`{pythons} | {used} | {lean.breaks} |")
    head = f"## {title}\n\n| name | used in | without it |\n|---|---|---|\n"
    return head + "\n".join(dict.fromkeys(rows)) + "\n"


def page() -> str:
    parts = [
        part("Python", PYTHON),
        part("IPython and ipykernel", NOTEBOOK),
        part("Packages that run work elsewhere", ELSEWHERE),
    ]
    return HEAD + "\n" + "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
