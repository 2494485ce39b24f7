"""What the API server's answers say: errors, warnings, and the events of a watch."""

import contextlib
import re
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import orjson

from unigpu import errors
from unigpu_kube import errors as kube_errors

Json = dict[str, Any]

MOST_LINE = 16 << 20
"""Bytes of one event of a watch."""
_KEEP_ALIVE = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3, socket.TCP_USER_TIMEOUT: 20_000}
"""Seconds of silence before the kernel asks the peer for a sign of life, between two such questions, how many stay
unanswered, and the same in all, ms."""
_WARNING = re.compile(r'^299 \S+ "((?:[^"\\]|\\.)*)"')


def keep_alive(response: aiohttp.ClientResponse) -> None:
    """Let the kernel end a watch whose peer is gone: silence alone says nothing for a minute or more.

    After a partition the watch then begins again within seconds, rather than when both ends' retransmissions meet.
    """
    transport = response.connection.transport if response.connection is not None else None
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def warnings(headers: Iterable[str]) -> list[str]:
    """Return the texts of Warning headers (RFC 9111, code 299)."""
    matches = map(_WARNING.match, headers)
    return [re.sub(r"\\(.)", r"\1", match[1]) for match in matches if match]


def event(line: object) -> tuple[str, Json]:
    """Return the type and the object of a watch's event; of what is neither, the closest thing. Raises ValueError."""
    if not isinstance(line, dict):
        raise ValueError("an event is not an object")
    found = line.get("object")
    return str(line.get("type")), found if isinstance(found, dict) else {}


async def check(response: aiohttp.ClientResponse) -> None:
    """Raise the error, with the API server's own words, where the answer isn't what was asked for."""
    if response.status < 300:
        return
    body = await response.read()
    message = body[:1000].decode(errors="replace") or str(response.reason)
    with contextlib.suppress(ValueError):
        document = orjson.loads(body)
        if isinstance(document, dict):
            message = str(document.get("message") or message)
    raise kube_errors.of_status(response.status, message)


async def lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines of any length; the last one must be whole. Raises Unavailable, Garbled."""
    rest = b""
    async for chunk in stream.iter_any():
        first, *others = chunk.split(b"\n")
        rest += first
        for part in others:
            if rest.strip():
                yield rest
            rest = part
        if len(rest) > MOST_LINE:
            raise kube_errors.Garbled(f"API server sends an event of more than {MOST_LINE} bytes")
    if rest.strip():
        raise errors.Unavailable("API server ended a watch in the middle of an event")
