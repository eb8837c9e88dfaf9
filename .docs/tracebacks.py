"""Colour the tracebacks of tasks: a saved notebook has them as plain text, without colours."""

import re
from typing import Any

TRACEBACK = re.compile(
    r"<pre>(?P<rule>-{70,})\n(?P<error>[\w.]+) +Traceback \(most recent call last\)\n.*?</pre>",
    re.DOTALL,
)
ARROW = re.compile(r"^ *-+&gt; .*$", re.MULTILINE)
PLACE = re.compile(r"^ *(?:Cell|File) .*$", re.MULTILINE)
#: The last line of each error of a group; the name of the error may have a module.
ERROR = re.compile(r"^( *)([A-Z][\w.]*|[\w.]+\.[A-Z]\w*)(: .*)?(?=\n|</pre>)", re.MULTILINE)


def on_page_content(html: str, **_: Any) -> str:
    """Mark the parts of each traceback, for the colours of the style sheet."""
    return TRACEBACK.sub(_marked, html)


def _marked(found: re.Match[str]) -> str:
    head, text = found["rule"] + "\n", found[0][len("<pre>") + len(found["rule"]) + 1 :]
    first, rest = text.split("\n", 1)
    rest = ERROR.sub(r'\1<span class="tb-error">\2</span>\3', rest)
    rest = ARROW.sub(r'<span class="tb-arrow">\g<0></span>', rest)
    rest = PLACE.sub(r'<span class="tb-place">\g<0></span>', rest)
    first = first.replace(found["error"], f'<span class="tb-error">{found["error"]}</span>', 1)
    return f'<pre class="traceback"><span class="tb-rule">{head}</span>{first}\n{rest}'
