"""What can go wrong between a client and a kernel, each in a sentence to show."""

from __future__ import annotations


class ClientError(Exception):
    """A kernel cannot be reached, or what was asked for cannot be done; ``str()`` says why."""


class NoAnswerError(ClientError):
    """The kernel has not answered in time."""


class RefusedError(ClientError):
    """The kernel has refused a request, and has changed nothing."""


class NotLoadedError(ClientError):
    """The kernel runs without asyncnb."""
