"""Ask a Prometheus: by its address, or through the API server's proxy of services with the caller's own rights."""

import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from unigpu import errors
from unigpu_kube import errors as kube_errors
from unigpu_kube import objects
from unigpu_kube.client import Client

Get = Callable[[str, Mapping[str, str]], Awaitable[Mapping[str, Any]]]
"""Asks for a path below the Prometheus' own address, with a query; returns the JSON object."""
_SERVICE = re.compile(r"([a-z0-9][-a-z0-9]*)/((?:https?:)?[a-z0-9][-a-z0-9]*:[a-z0-9][-a-z0-9]*)(/[-\w./]*)?")


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    """Seconds since the epoch, and the value."""

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


def service(text: str) -> str:
    """Return the path of a service's proxy. Raises Malformed for what isn't NAMESPACE/NAME:PORT."""
    found = _SERVICE.fullmatch(text)
    if found is None:
        raise errors.Malformed(
            f"{text}: not a service; accepted: NAMESPACE/NAME:PORT, NAMESPACE/https:NAME:PORT, and a path after it "
            "where Prometheus has one"
        )
    return f"{objects.NAMESPACES}/{found[1]}/services/{found[2]}/proxy{(found[3] or '').rstrip('/')}"


def through_api_server(api: Client, path: str) -> Get:
    """Return what asks the service whose proxy is at the path."""

    async def get(below: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            return await api.get(f"{path}{below}", query)
        except kube_errors.Rejected as error:
            # The API server passes on what Prometheus answers to a query that it can't evaluate.
            if error.status in (400, 422):
                raise errors.Denied(f"Prometheus can't answer: {error.message}") from error
            raise

    return get


@contextlib.asynccontextmanager
async def at(address: str, deadline: float) -> AsyncIterator[Get]:
    """Connect to a Prometheus by its address. Raises Malformed for what can't be one."""
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", address):
        raise errors.Malformed(
            f"--prometheus = {address}: not an address; accepted: http://HOST:PORT, https://HOST/PATH"
        )

    async def get(below: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            async with session.get(f"{address.rstrip('/')}{below}", params=query) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise errors.Unavailable(f"Prometheus doesn't answer at {address}: {reason}") from error
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise errors.Unavailable(
                f"Prometheus at {address} answers {response.status}, and not as Prometheus does: is it one?"
            )
        return found

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=deadline)) as session:
        yield get


async def instant(get: Get, expression: str, at: float | None = None) -> list[Series]:
    """Return the value of each series, now or at a time. Raises Denied for what Prometheus can't evaluate."""
    query = {"query": expression} | ({"time": f"{at:.3f}"} if at is not None else {})
    return [_series(one, [one["value"]]) for one in await _result(get, "/api/v1/query", query)]


async def range_(get: Get, expression: str, start: float, end: float, step: float) -> list[Series]:
    """Return the values of each series over a time."""
    query = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
    return [_series(one, one["values"]) for one in await _result(get, "/api/v1/query_range", query)]


async def _result(get: Get, path: str, query: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    document = await get(path, query)
    if document.get("status") != "success":
        raise errors.Denied(f"Prometheus can't answer: {document.get('error') or document}")
    found = (document.get("data") or {}).get("result")
    if not isinstance(found, list):
        raise errors.Unavailable(f"Prometheus' answer to {path} has no result: is it a Prometheus?")
    return found


def _series(one: Mapping[str, Any], points: Sequence[Sequence[Any]]) -> Series:
    labels = {str(name): str(value) for name, value in (one.get("metric") or {}).items()}
    return Series(labels, [(float(at), float(value)) for at, value in points])
