"""What makes ``asyncnb run`` give up, each in a sentence to show."""

from __future__ import annotations

from asyncnb._client.errors import ClientError


class NotebookError(ClientError):
    """What was given is not a notebook that can be run, so nothing was started."""


class KernelStartError(ClientError):
    """The kernel did not start, or cannot run this notebook."""
