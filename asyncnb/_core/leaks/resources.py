"""The clients, servers and connections that may be left open, by the names of their classes.

Nothing is imported for it: a library that is not imported has made none.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any, NamedTuple

#: Modules of the transports of asyncio and uvloop.
_LOOPS = ("asyncio.selector_events", "asyncio.proactor_events", "uvloop.loop", "winloop.loop")


class Resource(NamedTuple):
    """A kind of object that has to be closed."""

    kind: str
    is_open: Callable[[Any], bool]
    describe: Callable[[Any], str]
    advice: str


def _address(name: Any) -> str:
    if isinstance(name, tuple) and len(name) >= 2:
        host = f"[{name[0]}]" if ":" in str(name[0]) else name[0]
        return f"{host}:{name[1]}"
    return str(name) if name else "an unnamed socket"


def _server(server: Any) -> str:
    addresses = dict.fromkeys(_address(each.getsockname()) for each in server.sockets)
    maker = _maker(server)
    return f"{maker and maker + ' '}server on {', '.join(addresses)}"


def _maker(server: Any) -> str:
    """Return the library whose protocol the server speaks, if it is not asyncio itself."""
    for held in gc.get_referents(server):
        for each in (held, *(gc.get_referents(held) if type(held) is dict else ())):
            module = getattr(type(each), "__module__", None)
            if module == "aiohttp.web_server":
                return "aiohttp.web"
    return ""


def _transport_is_open(transport: Any) -> bool:
    if transport.is_closing() or transport.get_extra_info("socket") is None:
        return False
    # The connections of a server that this process runs are closed with it.
    for held in gc.get_referents(transport):
        for each in (held, *(gc.get_referents(held) if type(held) is dict else ())):
            if type(each).__name__ == "Server" and hasattr(each, "is_serving"):
                return False
    return True


def _connection(transport: Any) -> str:
    return f"connection to {_address(transport.get_extra_info('peername'))}"


def _client(client: Any) -> str:
    return f"{type(client).__module__.partition('.')[0]}.{type(client).__name__}"


_SERVER = Resource(
    "server",
    lambda server: bool(server.sockets),
    _server,
    "close it before the cell makes a new one: `async with`, or `server.close()`",
)
_TRANSPORT = Resource(
    "connection",
    _transport_is_open,
    _connection,
    "close the client that opened it, or its writer: `async with`, or `writer.close()`",
)
_SESSION = Resource(
    "client",
    lambda client: not client.closed,
    _client,
    "`async with aiohttp.ClientSession() as session`, or `await session.close()`",
)
_HTTPX = Resource(
    "client",
    lambda client: not client.is_closed,
    _client,
    "`async with httpx.AsyncClient() as client`, or `await client.aclose()`",
)


@functools.lru_cache(maxsize=4096)
def _by_name(module: str, name: str) -> Resource | None:
    top = module.partition(".")[0]
    if module in _LOOPS and name.endswith(("SocketTransport", "TCPTransport", "UnixTransport")):
        return _TRANSPORT
    if name == "Server" and module in ("asyncio.base_events", "uvloop.loop", "winloop.loop"):
        return _SERVER
    if top == "aiohttp" and name == "ClientSession":
        return _SESSION
    if top == "httpx" and name == "AsyncClient":
        return _HTTPX
    return None


def module_of(kind: type) -> str:
    """Return the module of a class; empty if the class has put something else there."""
    module = getattr(kind, "__module__", None)  # not in its dictionary if it is compiled
    return module if isinstance(module, str) else ""


def resource_of(kind: type) -> Resource | None:
    """Return what to look at in objects of this class, or None if they need not be closed."""
    for base in type.__dict__["__mro__"].__get__(kind):
        found = _by_name(module_of(base), base.__name__)
        if found is not None:
            return found
    return None
