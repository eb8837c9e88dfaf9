"""The kernels that notebooks can choose, and whether their Pythons have asyncnb.

The commonest failure: the notebook's kernel runs in another environment than the one that asyncnb
was installed in.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jupyter_core.paths import jupyter_path

from asyncnb._cli.doctor.finding import Finding, Status
from asyncnb._cli.doctor.packages import version_of

SECTION: Final = "Kernels to choose"
#: Seconds that all the Pythons have, together, to say what they have.
PATIENCE: Final = 20.0
OLDEST: Final = (3, 11)

#: For any Python from 2.7 on.
_QUESTION: Final = """
import json, sys
facts = {"python": list(sys.version_info[:3]), "executable": sys.executable, "versions": {}}
try:
    from importlib import metadata, util
    for name in ("asyncnb", "ipykernel"):
        try:
            facts["versions"][name] = metadata.version(name)
        except Exception:
            facts["versions"][name] = "?" if util.find_spec(name) else None
except ImportError:
    pass
print(json.dumps(facts))
"""


@dataclass
class Spec:
    """A kernel spec that starts Python: what precedes ``-m`` or ``-c`` in its command."""

    name: str
    python: list[str]
    env: dict[str, str]


def findings() -> Iterator[Finding]:
    """Yield a line for each kernel spec; the commands are run to ask their Pythons."""
    specs, others = _specs()
    if not specs:
        fix = f"{sys.executable} -m ipykernel install --sys-prefix"
        yield Finding(SECTION, "none", "No kernel runs Python.", "problem", fix)
    with tempfile.TemporaryDirectory() as empty:  # else `python -c` would import from here
        asked = [(spec, _ask(spec, empty)) for spec in specs]
        until = time.monotonic() + PATIENCE
        answers = [(spec, _answer(process, until)) for spec, process in asked]
    without = [spec for spec, answer in answers if not _has_asyncnb(answer)]
    for spec, answer in answers:
        yield _finding(spec, answer, default=spec.name == "python3" or len(without) == len(specs))
    for name, text in others:
        yield Finding(SECTION, name, text)


def _has_asyncnb(answer: Any) -> bool:
    return isinstance(answer, dict) and bool(answer["versions"].get("asyncnb"))


def _finding(spec: Spec, answer: Any, default: bool) -> Finding:
    command = " ".join(spec.python)
    bad: Status = "problem" if default else "note"
    if isinstance(answer, str):
        fix = f"jupyter kernelspec remove {spec.name}, or repair that environment"
        return Finding(SECTION, spec.name, f"{command}: {answer}", bad, fix)
    python = tuple(answer["python"])
    version = ".".join(map(str, python))
    found = answer["versions"]
    if python < OLDEST:
        text = f"Python {version} is too old for asyncnb, which needs {'.'.join(map(str, OLDEST))}"
        return Finding(SECTION, spec.name, f"{text}: {command}", "note")
    pip = f"{command} -m pip install"
    if not found.get("ipykernel"):
        text = f"Python {version} without ipykernel, so the kernel cannot start: {command}"
        return Finding(SECTION, spec.name, text, bad, f"{pip} ipykernel asyncnb")
    if not found.get("asyncnb"):
        text = f"Python {version} without asyncnb: {command}"
        return Finding(SECTION, spec.name, text, bad, f"{pip} asyncnb")
    text = (
        f"Python {version}, ipykernel {found['ipykernel']}, asyncnb {found['asyncnb']}: {command}"
    )
    own = version_of("asyncnb")
    if own is not None and found["asyncnb"] not in (own, "?"):
        return Finding(SECTION, spec.name, text, "note", f"{pip} --upgrade asyncnb")
    return Finding(SECTION, spec.name, text)


def _specs() -> tuple[list[Spec], list[tuple[str, str]]]:
    """Return the specs of Python, and name and sentence of the others.

    Of several with one name, Jupyter takes the first.
    """
    folders: dict[str, Path] = {}
    for path in jupyter_path("kernels"):
        try:
            names = sorted(os.listdir(path))
        except OSError:
            continue
        for name in names:
            folder = Path(path, name)
            if (folder / "kernel.json").is_file():
                folders.setdefault(name.lower(), folder)
    specs, others = [], []
    for name, folder in folders.items():
        try:
            said = json.loads((folder / "kernel.json").read_text(encoding="utf-8"))
            command = [str(part) for part in said["argv"]]
            language, env = str(said.get("language", "")), dict(said.get("env") or {})
        except (OSError, ValueError, KeyError, TypeError):
            others.append((name, f"{folder / 'kernel.json'} cannot be read"))
            continue
        cut = next((i for i, part in enumerate(command) if part in ("-m", "-c")), 0)
        if language.lower() != "python":
            others.append((name, f"is for {language or 'an unknown language'}"))
        elif not cut:
            others.append(
                (name, f"is started by {command[0] if command else 'nothing'}: not asked")
            )
        else:
            python = command[:cut]
            # Jupyter takes the server's own Python for these.
            if re.fullmatch(r"python(3(\.\d+)?)?", python[0]):
                python[0] = sys.executable
            specs.append(Spec(name, python, {str(k): str(v) for k, v in env.items()}))
    return specs, others


def _ask(spec: Spec, folder: str) -> subprocess.Popen[str] | str:
    try:
        return subprocess.Popen(
            [*spec.python, "-c", _QUESTION],
            cwd=folder,
            env=os.environ | spec.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError as exc:
        return f"cannot be started ({exc.strerror or exc})"


def _answer(process: subprocess.Popen[str] | str, until: float) -> Any:
    if isinstance(process, str):
        return process
    try:
        out, _ = process.communicate(timeout=max(0.1, until - time.monotonic()))
        answer = json.loads(out.splitlines()[-1])
        return answer if isinstance(answer["versions"], dict) else "gives no answer"
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"gives no answer within {PATIENCE:g} s"
    except (ValueError, IndexError, KeyError, TypeError):
        return f"gives no answer (exit code {process.returncode})"
