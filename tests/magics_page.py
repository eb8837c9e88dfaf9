"""The page of the magics and settings, from their parsers, their help texts and the options.

``make magics-page`` writes it; a test compares it with the code.
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

from asyncnb._kernel.arguments import Parser, agroup_parser, atask_parser
from asyncnb._kernel.magics.magics import AsyncMagics
from asyncnb._kernel.magics.settings_list import options
from asyncnb._kernel.map_arguments import map_parser

PAGE = Path(__file__).parent.parent / "notebooks/reference/magics.md"

HEAD = """# Magics and settings

Every magic with its options, and every setting. In a notebook, `%%atask?` shows the same. `%load_ext asyncnb` adds them.

On each line, `$name` and `{expression}` are replaced by values, and a `#` between words starts a comment. Tab completes options and names.
"""  # noqa: E501

_AFTER = "starts the cell when these tasks, and all tasks of these groups, are done"
#: What each option means, where its name is the same in several magics.
MEANINGS = {
    "name": "the task's name, and the variable for it; without it `cell5` in In[5]",
    "--group": "adds the task to a group, whose tasks are cancelled when one of them fails",
    "--timeout": "cancels the task after this many seconds; a repeated cell, each run",
    "--out": "binds the result to this variable",
    "--on": "where the cell runs: on the embedded loop, in a worker thread, in a worker process, "
    "on the kernel's own loop, or on the executor in this variable",
    "--in": "sends only these variables to where the cell runs",
    "--every": "repeats the cell, with this many seconds from one start to the next",
    "--at": "runs the cell once, at the next time that the clock shows this local time",
    "--cron": "repeats the cell as cron would",
    "--retry": "runs the cell again if it fails, at most this many times, after longer and "
    "longer pauses",
    "--after": _AFTER,
    "--after-any": "starts the cell when the first of these is done",
    "--even-if-failed": "starts the cell when those tasks have ended, even if some failed or "
    "were cancelled",
    "--follow": "runs the cell again whenever one of those tasks is run again",
    "--again": "what running the cell again does to its task, if that is still running",
    "--wait": "keeps the cell busy until the task has ended",
    "--notify": "shows a notification in the browser when the task ends",
    "--show": "displays the task as one live line",
    "--trace": "records the steps of the task, for `%tasks timeline`",
    "--profile": "shows below the cell, when the task ends, where its time went",
    "--quiet": "hides the result",
    "--on-error": "what the failure of one does to the others",
    "--limit": "how many items run at a time",
    "--rate": "how often items start: `5/s`, `60/min`, `1000/h`",
    "--save": "writes each result to this file; when the cell is run again, it continues there",
}
#: Options that mean something else in one magic.
SPECIAL_MEANINGS = {
    "%%agroup": {
        "name": "the name of the group, and of the variable that holds it",
        "--timeout": "cancels the whole group after this many seconds",
        "--on-error": "whether the first failure cancels the other tasks",
    },
    "%%amap": {
        "name": "the name of the run, and of the variable that holds it",
        "--timeout": "limits each call, in seconds",
        "--out": "binds the list of results to this variable",
        "--on": "where the items run: on the embedded loop, in worker threads, in worker "
        "processes, or on the executor in this variable",
        "--on-error": "whether the first failure cancels the other items",
        "--retry": "runs an item again if it fails, at most this many times, after longer "
        "and longer pauses; or a variable that holds an `asyncnb.Retry`",
    },
}


def meaning(magic: str, option: str) -> str:
    """What an option, by its long name, means for a magic."""
    return SPECIAL_MEANINGS.get(magic, {}).get(option) or MEANINGS[option]


def takes(action: argparse.Action, parser: Parser) -> str:
    """What is written after an option, from the usage; nothing after a switch."""
    if action.nargs == 0:
        return ""
    names = "|".join(map(re.escape, action.option_strings))
    found = re.search(rf"\[(?:{names}) ([^\]]+)\]", parser.usage or "") if names else None
    if not action.option_strings:
        return ""
    written = found.group(1) if found else str(action.metavar or action.dest.upper())
    written = written.partition(" | ")[0]
    return "`" + written.replace("|", "` `") + "`"


def option_rows(parser: Parser) -> list[str]:
    """The table of the options of a cell magic."""
    rows = ["| option | takes | meaning |", "|---|---|---|"]
    for action in parser._actions:
        names = action.option_strings or [action.dest]
        shown = " ".join(f"`{name}`" for name in action.option_strings) or "`NAME`"
        default = f" (default: `{action.default}`)" if isinstance(action.default, str) else ""
        text = meaning(parser.prog, names[-1])
        rows.append(f"| {shown} | {takes(action, parser)} | {text}{default} |")
    return rows


def blocks(doc: str) -> list[str]:
    """The paragraphs of a help text; a block of code may have empty lines."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(doc)):
        if block.startswith("    ") and found and found[-1].startswith("    "):
            found[-1] += "\n\n" + block
        else:
            found.append(block)
    return found


def verb_rows(block: str) -> list[str]:
    """The table of a block of two columns: what to write, and what it does."""
    rows: list[list[str]] = []
    for line in block.splitlines():
        left, _, right = line.partition("  ")
        if line.startswith("%"):
            rows.append([left, right.strip()])
        elif line.strip():
            rows[-1][1] += " " + line.strip()
    table = ["| line | what it does |", "|---|---|"]
    for left, right in rows:
        text = right.strip() or "the same, filtered"
        table.append(f"| `{left.replace('|', chr(92) + '|')}` | {_names(text)} |")
    return table


def _names(text: str) -> str:
    """Set in code what is to be typed, outside of what is code already."""
    parts = text.split("`")
    for at in range(0, len(parts), 2):
        parts[at] = _TYPED.sub(r"`\g<0>`", parts[at])
    return "`".join(parts)


_HELP = inspect.cleandoc(AsyncMagics.tasks.__doc__ or "")
_VERBS = "|".join(sorted(set(re.findall(r"^%tasks ([a-z]+)", _HELP, re.MULTILINE))))
_TYPED = re.compile(
    rf"(?<![\w/-])(?:--?[a-z][a-z-]*|%tasks (?:{_VERBS})\b|%%?[a-z]+|asyncnb\.\w+|asyncnb\[\w+\])"
)


def code_blocks(code: str) -> list[str]:
    """One block for each cell of an example."""
    return "\n\n".join(f"```python\n{cell}\n```" for cell in code.split("\n\n")).splitlines()


def section(name: str, function: Any, parser: Parser | None) -> str:
    """The part of the page on one magic."""
    summary, *rest = blocks(function.__doc__)
    lines = [f"## {name}", "", summary]
    for block in rest:
        lines.append("")
        if block.startswith("    "):
            lines += code_blocks(textwrap.dedent(block))
        elif block.startswith(name) and parser is not None:
            lines += ["```text", block, "```", "", *option_rows(parser)]
        elif block.startswith(f"{name}  "):
            lines += verb_rows(block)
        elif block.startswith(f"{name} ["):
            lines += ["```text", block, "```"]
        else:
            lines.append(_names(" ".join(block.split())))
    return "\n".join(lines) + "\n"


def settings() -> str:
    """The part of the page on settings."""
    nothing = dict.fromkeys(inspect.signature(options).parameters, lambda value: None)
    rows = ["| option | default | takes | meaning |", "|---|---|---|---|"]
    for option in options(**nothing):
        default = option.kind.write(option.default)
        rows.append(
            f"| `{option.name}` | {default} | {option.kind.says} | {_names(option.meaning)} |"
        )
    table = "\n".join(rows)
    return f"""## Settings

`%asyncnb option NAME VALUE` sets one for this kernel. To set it for every kernel, set the environment variable `ASYNCNB_NAME` (`ASYNCNB_WATCHDOG=1`), or write into `ipython_config.py`:

```python
c.AsyncNB.watchdog = 1.0
```

{table}
"""  # noqa: E501


def page() -> str:
    """The page as it has to be."""
    return "\n".join(
        [
            HEAD,
            section("%%atask", AsyncMagics.atask, atask_parser("%%atask")),
            section("%atask", AsyncMagics.atask_line, None),
            section("%%agroup", AsyncMagics.agroup, agroup_parser()),
            section("%%amap", AsyncMagics.amap, map_parser()),
            section("%tasks", AsyncMagics.tasks, None),
            section("%asyncnb", AsyncMagics.asyncnb, None),
            settings(),
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
