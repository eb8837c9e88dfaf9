"""The recording of the running code: what tasks launched or made by it are recorded in.

Separate from the code that records, which is imported for the first recording.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

#: The ``Recording`` for tasks created by the running code; None: they are not recorded.
current_recording: ContextVar[Any] = ContextVar("asyncnb_recording", default=None)
