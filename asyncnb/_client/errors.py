"""What can go wrong between a client and a kernel, each in a sentence to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncnb._client.processes import Process


class ClientError(Exception):
    """A kernel cannot be reached, or what was asked for cannot be done; ``str()`` says why."""

    #: The process of the kernel, if it does not answer as asyncnb does, and is known.
    process: Process | None = None


class NoAnswerError(ClientError):
    """The kernel has not answered in time."""


class RefusedError(ClientError):
    """The kernel has refused a request, and has changed nothing."""


class NotLoadedError(ClientError):
    """The kernel runs without asyncnb."""
