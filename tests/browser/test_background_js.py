"""What "Run in Background" sends for a cell, by its text and tags: no kernel, no JupyterLab."""

from __future__ import annotations

import pytest

from asyncnb._lab.build import SOURCES
from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

NAMES = [
    ("# crawl\nx", [], "crawl"),
    ("\n\n#  Crawl the site: \nx", [], "Crawl the site"),
    ("## 2. Überprüfen, dann laden\nx", [], "2. Überprüfen, dann laden"),
    ("# seite-1/größe\n", [], "seite-1/größe"),
    ("x = 1\n# later", [], ""),
    ("x = 1  # why", [], ""),
    ("# df = load('x')\nx", [], ""),  # code
    ("# type: ignore\nx", [], ""),
    ("# noqa: E501\nx", [], ""),
    ("#!shebang\nx", [], ""),
    ("# %%\nx", [], ""),
    ("# -*- coding: utf-8 -*-\nx", [], ""),
    ("# all [*] of {them} $x\nx", [], ""),
    ('# the "quoted" one\nx', [], ""),
    ("# <img src=x onerror=alert(1)>\nx", [], ""),
    ("# " + "long " * 20 + "\nx", [], ""),
    ("#\nx", [], ""),
    ("", [], ""),
    ("# crawl\nx", ["nightly"], "nightly"),
    ("# crawl\nx", ["raises-exception", "hide-input", "parameters", "--on x"], "crawl"),
    ("x", ["remove_cell", "nbval-skip", "fetch pages"], "fetch pages"),
]
CODES = [
    ("await x", "%%atask\nawait x", 1),
    ("# crawl\nawait x", "%%atask crawl\n# crawl\nawait x", 1),
    ("# crawl all\nawait x", '%%atask "crawl all"\n# crawl all\nawait x', 1),
    ("\n\nx", "%%atask\n\n\nx", 1),
    ("%%bash\nsleep 1", "%%atask\n%%bash\nsleep 1", 1),
    ("%%time\nx", "%%atask\n%%time\nx", 1),
    ("%%atask_of_mine\nx", "%%atask\n%%atask_of_mine\nx", 1),
    ("%%atask y -t 5\nx", "%%atask y -t 5\nx", 0),
    ("\n%%agroup y\nx", "\n%%agroup y\nx", 0),
    ("%%amap x in y\nx", "%%amap x in y\nx", 0),
]


def test_a_cell_is_sent_as_a_task_with_the_name_that_its_tag_or_comment_makes(lab: Lab) -> None:
    page = lab.blank_page()
    try:
        source = (SOURCES / "background.js").read_text(encoding="utf-8")
        lab.call(page.add_script_tag(content=source))
        for text, tags, name in NAMES:
            found = lab.call(page.evaluate("([text, tags]) => taskName(text, tags)", [text, tags]))
            assert found == name, (text, tags)
        for text, code, added in CODES:
            sent = lab.call(page.evaluate("text => backgroundCode(text, [])", text))
            assert sent == {"code": code, "added": added}, text
    finally:
        lab.call(page.close())
