"""What an object is, asked without running code of its class."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncnb._core.introspection.kinds import attributes_of, is_a, is_future


class Proxy:
    """Fails for every question, as a proxy for the request of a server does between requests."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("working outside of a request")

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("working outside of a request")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of a request")


class Plain:
    def __init__(self) -> None:
        self.lock = "here"


class Slotted:
    __slots__ = ("lock",)


def test_a_proxy_is_what_its_type_is() -> None:
    proxy = Proxy()
    assert is_a(proxy, Proxy)
    assert not is_a(proxy, asyncio.Task | dict)
    assert not is_future(proxy)
    assert attributes_of(proxy) == {}


def test_subclasses_and_futures_are_found() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert is_future(loop.create_future())
        assert is_a(loop, asyncio.AbstractEventLoop)
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("thing", "found"), [(Plain(), {"lock": "here"}), (Slotted(), {}), (7, {}), (Plain, {})]
)
def test_the_attributes_of_an_instance_are_those_in_its_dictionary(
    thing: object, found: dict[str, str]
) -> None:
    assert attributes_of(thing) == found
