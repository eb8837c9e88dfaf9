"""The table of tasks as HTML, in the colours of the front end's theme and without scripts."""

from __future__ import annotations

import html
from collections.abc import Sequence

from asyncnb._core.base.text import escape_control_chars
from asyncnb._core.introspection.info import ENDED
from asyncnb._kernel.tables.rows import Row

#: The shape of each state and its colour: no information is given by colour alone.
_STATES = {
    "pending": ("\u25cb", "var(--jp-ui-font-color2, inherit)"),
    "running": ("\u25b6\ufe0e", "var(--jp-info-color1, #1976d2)"),
    "waiting": ("\u25d4", "var(--jp-info-color1, #1976d2)"),
    "paused": ("\u2016", "var(--jp-warn-color1, #e65100)"),
    "cancelling": ("\u25d1", "var(--jp-warn-color1, #e65100)"),
    "done": ("\u2713", "var(--jp-success-color1, #388e3c)"),
    "failed": ("\u2717", "var(--jp-error-color1, #d32f2f)"),
    "cancelled": ("\u2298", "var(--jp-ui-font-color2, inherit)"),
}

# Everything is below one class. The variables are those of JupyterLab's theme, with fallbacks for
# other front ends. A notebook that is not trusted drops the style and shows a plain table.
_STYLE = """
.asyncnb-tasks{overflow-x:auto;max-width:100%;container-type:inline-size;font-size:var(--jp-ui-font-size1,13px);
color:var(--jp-ui-font-color1,inherit)}
.asyncnb-tasks .asyncnb-table{border-collapse:collapse;table-layout:auto;margin:0;
font-size:inherit;color:inherit;border:none}
.asyncnb-tasks .asyncnb-table th,.asyncnb-tasks .asyncnb-table td{text-align:left;
vertical-align:top;padding:3px 14px 3px 0;white-space:nowrap;max-width:none;border:none;
background:transparent;unicode-bidi:isolate}
.asyncnb-tasks .asyncnb-table th{font-weight:600;color:var(--jp-ui-font-color2,inherit)}
.asyncnb-tasks .asyncnb-table tbody th{color:inherit;overflow-wrap:anywhere;white-space:normal;
min-width:9em}
.asyncnb-tasks .asyncnb-table thead tr{
border-bottom:1px solid var(--jp-border-color1,rgba(128,128,128,.6))}
.asyncnb-tasks .asyncnb-table tbody tr{background:transparent;
border-bottom:1px solid var(--jp-border-color2,rgba(128,128,128,.25))}
.asyncnb-tasks .asyncnb-table tbody tr:hover{
background:var(--jp-layout-color2,rgba(128,128,128,.12))}
.asyncnb-tasks .asyncnb-number{font-variant-numeric:tabular-nums}
.asyncnb-tasks .asyncnb-table td.asyncnb-text{white-space:normal;min-width:13em;
overflow-wrap:anywhere}
.asyncnb-tasks .asyncnb-state::before{display:inline-block;width:1.3em}
.asyncnb-tasks .asyncnb-child::before{content:"├ ";content:"├ " / ""}
.asyncnb-tasks .asyncnb-last::before{content:"└ ";content:"└ " / ""}
.asyncnb-tasks .asyncnb-bar{display:inline-block;width:5em;height:.5em;margin-right:.5em;
border-radius:.25em;overflow:hidden;background:var(--jp-border-color2,rgba(128,128,128,.25))}
.asyncnb-tasks .asyncnb-bar span{display:block;height:100%;
background:var(--jp-brand-color1,#1976d2)}
@container (max-width:700px){.asyncnb-tasks .asyncnb-on{display:none}
.asyncnb-tasks .asyncnb-table tbody th{white-space:normal;min-width:7em}
.asyncnb-tasks .asyncnb-table th,.asyncnb-tasks .asyncnb-table td{padding-right:8px}
.asyncnb-tasks .asyncnb-table td.asyncnb-text{min-width:8em}
.asyncnb-tasks .asyncnb-bar{width:2.5em}}
.asyncnb-tasks .asyncnb-more{margin:6px 0 0;color:var(--jp-ui-font-color2,inherit)}
""".replace("\n", "")

# In the style sheet and not in the text, so that screen readers and copied text do not have them.
_STYLE += "".join(
    f'.asyncnb-tasks .asyncnb-{state}::before{{content:"{shape}";content:"{shape}" / "";'
    f"color:{colour}}}"
    for state, (shape, colour) in _STATES.items()
)

_CLASSES = {
    "time": "asyncnb-number",
    "cell": "asyncnb-number",
    "on": "asyncnb-on",
    "waits for": "asyncnb-text",
    "note": "asyncnb-text",
}


def render(rows: Sequence[Row], columns: Sequence[str], below: str) -> str:
    """Return ``rows`` as HTML, with the sentence ``below`` under them; all texts are escaped.

    Without rows, return the sentence alone.
    """
    if not rows:
        return f"<p>{html.escape(below)}</p>"
    head = "".join(
        f'<th scope="col" class="{_CLASSES.get(name, "")}">{name}</th>' for name in columns
    )
    body = "".join(f"<tr>{''.join(_cell(row, name) for name in columns)}</tr>" for row in rows)
    more = f'<p class="asyncnb-more">{html.escape(below)}</p>' if below else ""
    return (
        f'<div class="asyncnb-tasks"><style>{_STYLE}</style><table class="asyncnb-table">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>"
    )


def _cell(row: Row, name: str) -> str:
    text = html.escape(row.texts[name])
    if name == "task":
        depth = len(row.branch)
        pad = f' style="padding-left:{min(depth, 8) * 1.4:g}em"' if depth else ""
        last = " asyncnb-last" if depth and row.branch[-1] else ""
        kind = f' class="asyncnb-child{last}"' if depth else ""
        whole = html.escape(escape_control_chars(row.info.name, 1000))
        title = f' title="{whole}"' if text != whole else ""
        return f'<th scope="row"{kind}{pad}{title}>{text}</th>'
    if name == "state":
        return f'<td class="asyncnb-state asyncnb-{row.info.state}">{text}</td>'
    if name == "note":
        text = _bar(row) + text
    given = _CLASSES.get(name)
    return f'<td class="{given}">{text}</td>' if given else f"<td>{text}</td>"


def _bar(row: Row) -> str:
    done, total = row.info.progress or (0, None)
    if not total or row.info.state in ENDED:
        return ""
    style = f"width:{max(0.0, min(1.0, done / total)):.0%}"
    return f'<span class="asyncnb-bar" aria-hidden="true"><span style="{style}"></span></span>'
