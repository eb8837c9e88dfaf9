"""``asyncnb mcp``: a server for agents, on stdin and stdout."""

from __future__ import annotations

import argparse
import importlib.metadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: the client says the rest in its requests."""


def run(arguments: argparse.Namespace) -> int:
    """Serve one agent until it closes stdin."""
    try:
        from asyncnb._mcp.server import serve
    except ImportError as exc:
        if str(exc.name).startswith("asyncnb"):
            raise
        raise argparse.ArgumentError(
            None,
            "the package mcp is missing, or older than version 2. Install it: "
            "pip install 'asyncnb[mcp]'",
        ) from None
    serve(importlib.metadata.version("asyncnb"))
    return 0
