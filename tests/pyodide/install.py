"""Install Pyodide from npm and wheels beside it, once, where it need not be removed by hand.

``python -m tests.pyodide.install`` prints the folder. Nothing of it is part of this repository or
of an environment of ours.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What JupyterLite's kernel of `requirements.txt` starts, to the patch. Its Python is 3.14.
PYODIDE = os.environ.get("ASYNCNB_PYODIDE", "314.0.7")
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def missing() -> str | None:
    """Return what this machine lacks for it, as a sentence, or None."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Node 20 or later runs Pyodide)"
    return None


def installed() -> Path:
    """Return the folder with ``node_modules/pyodide`` and ``site``; make it the first time."""
    mark = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = ROOT / ".venvs" / f"pyodide-{PYODIDE}-{mark}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    # Under another name until it is whole: two runs may get here at the same time.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="pyodide-") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        (new / "package.json").write_text('{"private": true}')
        npm = [shutil.which("npm") or "npm", "install", "--no-audit", "--no-fund", "--silent"]
        _run([*npm, f"pyodide@{PYODIDE}"], cwd=new)
        site = new / "site"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--no-deps"]
        pip += ["--only-binary", ":all:", "--platform", "any", "--python-version", "3.14"]
        _run([*pip, "--target", str(site), "-r", str(REQUIREMENTS)], cwd=ROOT)
        for wheel in site.glob("share/**/static/pypi/*.whl"):
            if wheel.name.startswith(("pyodide_kernel-", "ipykernel-")):  # the second: a stand-in
                zipfile.ZipFile(wheel).extractall(site)
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def _run(command: list[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    print(installed())
