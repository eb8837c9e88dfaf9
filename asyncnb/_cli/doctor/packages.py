"""Versions of this Python and its packages, against what asyncnb asks for, and the loop."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from asyncnb._cli.doctor.finding import Finding

SECTION: Final = "This Python"
#: What the extras are for, in the order of the report.
EXTRAS: Final = {
    "fast": "a faster loop",
    "run": "asyncnb run",
    "mcp": "asyncnb mcp",
    "cron": "%%atask --cron",
    "dask": "%%atask --on a client of dask",
    "ipyparallel": "%%atask --on a view of ipyparallel",
}
#: Front ends that run from this environment.
FRONT_ENDS: Final = ("jupyterlab", "notebook", "nbclassic", "voila")


def version_of(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def findings() -> Iterator[Finding]:
    """Yield Python, asyncnb and what it needs, extras, front ends and the loop."""
    text = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    yield Finding(SECTION, "python", text)
    own = version_of("asyncnb")
    if own is None:
        yield Finding(
            SECTION,
            "asyncnb",
            "runs from a folder, and is not installed",
            "note",
            f"{sys.executable} -m pip install asyncnb",
        )
    else:
        yield Finding(SECTION, "asyncnb", own)
    extras: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("asyncnb") or () if own else ():
        name, extra, missing = _requirement(line)
        if extra is None and name:
            found = version_of(name)
            if found is None or missing:
                yield Finding(
                    SECTION,
                    name,
                    f"{found or 'missing'}; asyncnb needs {missing or name}",
                    "problem",
                    f"{sys.executable} -m pip install --upgrade '{missing or name}'",
                )
            else:
                yield Finding(SECTION, name, found)
        elif extra is not None and name:
            extras.setdefault(extra, []).extend([missing] if missing else [])
    for extra, purpose in EXTRAS.items():
        if extras.get(extra):
            yield Finding(
                SECTION,
                f"asyncnb[{extra}]",
                f"for {purpose}; missing: {', '.join(extras[extra])}",
                "note",
                f"{sys.executable} -m pip install 'asyncnb[{extra}]'",
            )
        elif extra in extras:
            yield Finding(SECTION, f"asyncnb[{extra}]", f"for {purpose}: installed")
    yield from _front_ends()
    yield _loop()


def _requirement(line: str) -> tuple[str, str | None, str]:
    """Return name, extra and what is not fulfilled of it, for this Python; no name if not for it.

    The requirement of an extra on other extras of asyncnb says nothing here.
    """
    from packaging.requirements import Requirement

    wanted = Requirement(line)
    found = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
    extra = found[1] if found else None
    if wanted.name == "asyncnb" or extra == "all":
        return "", None, ""
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra or ""}):
        return "", None, ""
    version = version_of(wanted.name)
    fits = version is not None and wanted.specifier.contains(version, prereleases=True)
    return wanted.name, extra, "" if fits else f"{wanted.name}{wanted.specifier}"


def _front_ends() -> Iterator[Finding]:
    found = [f"{name} {version}" for name in FRONT_ENDS if (version := version_of(name))]
    if found:
        yield Finding(SECTION, "front ends", ", ".join(found))
    else:
        yield Finding(
            SECTION,
            "front ends",
            "none here; one of another environment, and VS Code, work as well",
            "note",
            f"{sys.executable} -m pip install jupyterlab",
        )


def _loop() -> Finding:
    fast = "winloop" if sys.platform == "win32" else "uvloop"
    wanted = os.environ.get("ASYNCNB_LOOP", "").strip().lower()
    version = version_of(fast) if find_spec(fast) else None
    if wanted not in ("", "asyncio", "uvloop", "winloop"):
        text = f"ASYNCNB_LOOP={wanted!r} is not a known loop, so asyncnb cannot be imported"
        return Finding(SECTION, "loop", text, "problem", "unset ASYNCNB_LOOP, or set it to asyncio")
    if wanted in ("uvloop", "winloop") and version is None:
        text = f"ASYNCNB_LOOP={wanted}, but {fast} is not installed"
        fix = f"{sys.executable} -m pip install 'asyncnb[fast]'"
        return Finding(SECTION, "loop", text, "problem", fix)
    why = f", by ASYNCNB_LOOP={wanted}" if wanted else ""
    used = "asyncio" if wanted == "asyncio" or version is None else f"{fast} {version}"
    return Finding(SECTION, "loop", f"{used}{why}")
