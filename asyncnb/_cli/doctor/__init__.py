"""``asyncnb doctor``: versions, kernels and front ends, and how to fix what does not work."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import groupby
from typing import Final

from asyncnb._cli.doctor import kernelspecs, labextension, machine, packages
from asyncnb._cli.doctor.finding import Finding
from asyncnb._core.base.text import count, escape_control_chars

MARKS: Final = {"ok": " ", "note": "-", "problem": "!"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no arguments: everything is looked at."""


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; return 1 if something does not work."""
    found = [
        each for part in (packages, labextension, kernelspecs, machine) for each in part.findings()
    ]
    problems = [each for each in found if each.status == "problem"]
    code = 1 if problems else 0
    if arguments.json:
        print(json.dumps({"findings": [asdict(each) for each in found], "exit_code": code}))
        return code
    for section, group in groupby(found, lambda each: each.section):
        print(section)
        for each in group:
            _print(each)
        print()
    if problems:
        print(f"{count(len(problems), 'problem')}, marked with {MARKS['problem']}.")
    else:
        print("Everything works. A - marks what is optional, or may surprise.")
    return code


def _print(each: Finding) -> None:
    text = escape_control_chars(each.text)
    print(f"{MARKS[each.status]} {escape_control_chars(each.name):20} {text}")
    if each.fix:
        print(f"{'':23}{escape_control_chars(each.fix)}")
