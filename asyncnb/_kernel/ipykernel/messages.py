"""Messages of the Jupyter protocol that asyncnb itself sends on IOPub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncnb._kernel.ipykernel.kernel import kernel_of


def error_sender(ip: Any) -> Callable[[str, str, list[str]], None] | None:
    """Return what sends an ``error`` message to the cell of the running code.

    It is called with the exception's name, its message and the lines of the traceback. None where
    no such message can be sent: in a terminal, and in JupyterLite.
    """
    kernel, hook = kernel_of(ip), ip.displayhook
    if kernel is None or not hasattr(hook, "session"):
        return None

    def send(ename: str, evalue: str, lines: list[str]) -> None:
        hook.session.send(
            hook.pub_socket,
            "error",
            {"ename": ename, "evalue": evalue, "traceback": lines},
            parent=hook.parent_header,
            ident=kernel._topic("error"),
        )

    return send
