"""The parts of a static SVG: colours that follow a theme where one is, texts, coordinates."""

from __future__ import annotations

from typing import TypeAlias

#: A variable of JupyterLab's theme, and the colour where there is none: in an image, say.
Colour: TypeAlias = tuple[str, str]

INK, QUIET, GROUND, RULE = (
    ("--jp-ui-font-color1", "#1f2328"),
    ("--jp-ui-font-color2", "#59636e"),
    ("--jp-layout-color0", "#ffffff"),
    ("--jp-border-color2", "#d8dee4"),
)
BLUE = ("--jp-brand-color1", "#1769aa")
RED = ("--jp-error-color1", "#c62828")
AMBER = ("--jp-warn-color1", "#b15c00")
GREEN = ("--jp-success-color1", "#2e7d32")


def paint(what: str, colour: Colour) -> str:
    """Return the attributes that give ``what``, such as "fill", a colour."""
    # The attribute for viewers that ignore or strip CSS, the style for pages with a theme.
    return f'{what}="{colour[1]}" style="{what}:var({colour[0]},{colour[1]})"'


def write(
    x: float,
    y: float,
    words: str,
    colour: Colour,
    size: int,
    anchor: str = "start",
    weight: str = "",
) -> str:
    """Return a line of text, with everything in it escaped."""
    more = f' text-anchor="{anchor}"' if anchor != "start" else ""
    more += f' font-weight="{weight}"' if weight else ""
    more += f' font-size="{size}"' if size != 12 else ""
    at = f'x="{px(x)}" y="{px(y)}"'
    return f"<text {at}{more} {paint('fill', colour)}>{escape(words)}</text>"


def escape(words: str) -> str:
    """Escape text for use between tags, without the characters that XML does not allow."""
    words = "".join(c for c in words if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF)
    return (
        words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )


def px(value: float) -> str:
    """Format a coordinate; a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")


def document(width: float, height: float, title: str, parts: list[str]) -> str:
    """Return a whole document: ``parts`` on a background, from the back to the front."""
    size = f'width="{px(width)}" height="{px(height)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
            f'viewBox="0 0 {px(width)} {px(height)}" role="img" '
            'font-family="system-ui,-apple-system,Segoe UI,Roboto,sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            f'<rect {size} rx="4" {paint("fill", GROUND)}/>',
            *parts,
            "</svg>",
        ]
    )
