"""Every command on the pages is one that `asyncnb` takes."""

from __future__ import annotations

import re
import shlex
from types import SimpleNamespace

import pytest

from asyncnb._cli import main as cli
from tests.kernel.driver import ROOT

PAGES = ("README.md", "notebooks/reference/command_line.md", "notebooks/reference/agents.md")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """The lines of a page that call asyncnb, up to what the shell does with them."""
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    lines = [line for kind, block in blocks if kind in ("", "bash") for line in block.splitlines()]
    return [re.split(r" && | \| ", line)[0] for line in lines if line.startswith("asyncnb ")]


def test_the_pages_have_commands() -> None:
    assert len(commands("notebooks/reference/command_line.md")) > 15


@pytest.mark.parametrize("line", [line for page in PAGES for line in commands(page)])
def test_asyncnb_takes_a_command_of_a_page(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    module_of = cli._module

    def parsed_only(name: str) -> SimpleNamespace:
        add = module_of(name).add_arguments
        return SimpleNamespace(add_arguments=add, run=lambda arguments: ran.append(name) or 0)

    monkeypatch.setattr(cli, "_module", parsed_only)
    words = shlex.split(line, comments=True)[1:]
    assert cli.main(words) == 0
    assert ran == [words[0]]


def test_a_command_that_is_not_one_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["cancle", "crawl"])
    assert "cancle" in capsys.readouterr().err
