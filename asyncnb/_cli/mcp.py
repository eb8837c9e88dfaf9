"""``asyncnb mcp``: a server for agents, on stdin and stdout."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: the client of the server says the rest."""


def run(arguments: argparse.Namespace) -> int:
    """Serve one agent until it closes stdin."""
    try:
        import mcp.server  # noqa: F401
    except ImportError as exc:
        print(
            "asyncnb: `asyncnb mcp` needs the package mcp, version 2 or later: "
            f"pip install 'asyncnb[mcp]' ({exc})",
            file=sys.stderr,
        )
        return 2
    from asyncnb._mcp.server import serve

    serve(importlib.metadata.version("asyncnb"))
    return 0
