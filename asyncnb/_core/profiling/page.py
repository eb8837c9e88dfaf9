"""A profile as HTML for a saved notebook: the summary, and a flame graph of each kind."""

from __future__ import annotations

from typing import Any

from asyncnb._core.profiling.counts import RUNNING, WAITING, Facts, tree
from asyncnb._core.profiling.flame import as_data, escape, svg
from asyncnb._core.profiling.text import text, title, whole

_HEADS = {
    RUNNING: "What ran, from the outermost code at the top",
    WAITING: "What waited, and for what",
}


def picture(profile: Facts, kind: str) -> str:
    """Return the flame graph of ``kind`` as SVG."""
    total = whole(profile, kind)
    return svg(tree(profile.samples, kind), f"{kind}: {title(profile)}", total)


def widget_data(profile: Facts) -> dict[str, Any]:
    """Return what the widget shows: the summary, and the tree of each kind."""
    kinds = {sample.kind for sample in profile.samples}
    return {
        "text": text(profile),
        "panels": [
            {
                "kind": kind,
                "head": head,
                "total": whole(profile, kind),
                "root": as_data(tree(profile.samples, kind)),
            }
            for kind, head in _HEADS.items()
            if kind in kinds
        ],
    }


def html(profile: Facts) -> str:
    """Return ``profile`` as HTML without scripts; every text in it is escaped."""
    lines = escape(text(profile))
    parts = [
        "<div>",
        f'<pre style="white-space:pre-wrap;background:none;border:0">{lines}</pre>',
    ]
    kinds = {sample.kind for sample in profile.samples}
    for kind, head in _HEADS.items():
        if kind in kinds:
            parts += [f'<div style="margin:8px 0 2px">{head}</div>', picture(profile, kind)]
    return "\n".join([*parts, "</div>"])
