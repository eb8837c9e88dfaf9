"""What a frame's module says about it, wherever the file is."""

from __future__ import annotations

import selectors
import sys
import types

import pytest

from asyncnb._core.base import frames as _frames


def frame_in(filename: str, mark: str | None = None) -> types.FrameType:
    names = {"sys": sys} if mark is None else {"sys": sys, "__asyncnb_frames__": mark}
    exec(compile("frame = sys._getframe()", filename, "exec"), names)
    frame = names["frame"]
    assert isinstance(frame, types.FrameType)
    return frame


@pytest.mark.parametrize(
    ("mark", "launches", "waits", "rests"),
    [
        (None, False, False, False),
        ("launches", True, False, False),
        ("waits", True, True, False),
        ("loop", False, False, True),
        ("x", False, False, False),
    ],
)
def test_a_module_declares_what_its_frames_are(
    mark: str | None, launches: bool, waits: bool, rests: bool
) -> None:
    frame = frame_in("/anywhere.py", mark)
    assert _frames.is_launching_frame(frame) == launches
    assert _frames.is_waiting_frame(frame) == waits
    assert _frames.is_idle_frame(frame) == rests


@pytest.mark.parametrize("layer", ["_kernel", "_offload"])
def test_all_frames_of_the_kernel_layer_are_launching_frames(layer: str) -> None:
    frame = frame_in(_frames.PACKAGE + f"{layer}/x/y.py")
    assert _frames.is_launching_frame(frame)
    assert _frames.is_internal_frame(frame)
    assert _frames.is_loop_frame(frame)


def test_a_frame_of_the_selector_is_idle_too() -> None:
    assert _frames.is_idle_frame(frame_in(selectors.__file__))
    assert not _frames.is_internal_frame(frame_in(selectors.__file__))
