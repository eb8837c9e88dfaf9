"""The interactive profile, with zoom and search, for front ends with widgets."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from asyncnb._core.listing.rows import sendable
from asyncnb.widgets._static import joined


class ProfileWidget(anywidget.AnyWidget):
    """A profile whose flame graphs can be zoomed and searched. Displaying a profile shows one."""

    _esm = joined("format.js", "profile.js", "profile_widget.js")
    _css = joined("profile.css")

    data = traitlets.Dict().tag(sync=True)

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data=sendable(data))
