"""A chart of ratios: a line for each row, a dot for each Python, on a logarithmic scale."""

from __future__ import annotations

import html
import math

LINE, PLOT, TOP = 18, 420, 30
#: Of text in the chart's font: wide enough for any row's name.
LETTER = 6.2
COLOURS = ("#1565c0", "#2e7d32", "#c77700", "#8e24aa", "#5d4037", "#455a64")
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def dots(ratios: dict[str, dict[str, float]], pythons: list[str]) -> str:
    """Return an SVG of the ratios of each row by Python; a ratio below the scale is at its edge."""
    values = [ratio for found in ratios.values() for ratio in found.values()]
    lowest = max((t for t in TICKS if t <= min(*values, 0.5)), default=TICKS[0])
    highest = min((t for t in TICKS if t >= max(*values, 2.0)), default=TICKS[-1])
    left = 12 + LETTER * max(len(name) for name in ratios)
    width, bottom = left + PLOT + 24, TOP + LINE * len(ratios)

    def x(ratio: float) -> float:
        within = min(max(ratio, lowest), highest)
        return left + PLOT * math.log(within / lowest) / math.log(highest / lowest)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {bottom + 34}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for i, version in enumerate(pythons):
        at = left + i * 60
        parts.append(
            f'<circle cx="{at:.1f}" cy="12" r="4" fill="{COLOURS[i % len(COLOURS)]}"/>'
            f'<text x="{at + 8:.1f}" y="16">{version}</text>'
        )
    for tick in TICKS:
        if lowest <= tick <= highest:
            style = 'stroke="#555"' if tick == 1 else 'stroke="#ddd"'
            parts.append(
                f'<path d="M{x(tick):.1f} {TOP - 4}V{bottom}" {style}/>'
                f'<text x="{x(tick):.1f}" y="{bottom + 13}" text-anchor="middle">{tick:g}</text>'
            )
    parts.append(
        f'<text x="{left:.1f}" y="{bottom + 28}" fill="#555">'
        "asyncnb's time as a multiple of the yardstick's; left of 1 it is faster</text>"
    )
    for i, (name, found) in enumerate(ratios.items()):
        y = TOP + LINE * i + LINE // 2
        parts.append(
            f'<text x="{left - 8:.1f}" y="{y + 4}" text-anchor="end">{html.escape(name)}</text>'
        )
        parts += [
            f'<circle cx="{x(found[version]):.1f}" cy="{y}" r="4" fill-opacity="0.8" '
            f'fill="{COLOURS[pythons.index(version) % len(COLOURS)]}"/>'
            for version in pythons
            if version in found
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
