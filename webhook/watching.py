"""Lists and watches of the API server's objects: everything once, then what changes, for ever."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

import aiohttp
import orjson
from kubernetes_asyncio import client

from unigpu import errors, logs

log = logging.getLogger(__name__)
PAGE = 500
"""Objects a page: bounds memory here and in the API server."""
WHOLE_PAGE = 100
"""Where whole objects are listed: bounds the time for which reading a page holds up reviews, too."""
WATCH_SECONDS = 240
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_RETRY_SECONDS = 10.0

Item = Mapping[str, Any]
Query = Mapping[str, str | int]
Kept = TypeVar("Kept")


async def pages(
    api: client.ApiClient, path: str, query: Query, *, metadata: bool
) -> AsyncIterator[tuple[list[Item], str]]:
    """Pages of a list, each with the list's resourceVersion; `metadata`: without spec and status.

    Raises Unavailable where the API server doesn't answer.
    """
    more = ""
    while True:
        asked = {**query, "limit": PAGE if metadata else WHOLE_PAGE} | ({"continue": more} if more else {})
        answer = await _get(api, path, asked, _METADATA.format("List") if metadata else "application/json")
        about = answer.get("metadata") or {}
        yield answer.get("items") or [], about.get("resourceVersion", "")
        more = about.get("continue") or ""
        if not more:
            return


async def list_and_watch(
    api: client.ApiClient,
    path: str,
    query: Query,
    *,
    keep: Callable[[Item], Kept],
    listed: Callable[[list[Kept]], None],
    changed: Callable[[str, Kept], None],
) -> None:
    """Give all objects to `listed`, then each change (ADDED, MODIFIED, DELETED) to `changed`; never returns.

    `keep` takes from an object's metadata what is wanted, page by page, so that nothing else is ever held in memory.
    After a watch that broke everything is listed anew.
    """
    pause = 1.0
    while True:
        try:
            kept: list[Kept] = []
            version = ""
            async for page, at in pages(api, path, query, metadata=True):
                kept += map(keep, page)
                version = at
            listed(kept)
            pause = 1.0
            while version:
                version = await _watch(api, path, {**query, "resourceVersion": version}, keep, changed)
        except (errors.Unavailable, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            logs.event(log, "watch broke", logging.WARNING, path=path, error=str(error) or type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RETRY_SECONDS)


async def _watch(
    api: client.ApiClient,
    path: str,
    query: Query,
    keep: Callable[[Item], Kept],
    changed: Callable[[str, Kept], None],
) -> str:
    """One watch until it ends by itself; the version to go on from, or empty: list anew."""
    version = str(query["resourceVersion"])
    asked = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": WATCH_SECONDS}
    timeout = aiohttp.ClientTimeout(connect=10, sock_read=WATCH_SECONDS + 60)
    response = await _call(api, path, asked, _METADATA.format(""), timeout)
    try:
        if response.status != 200:
            return ""
        async for line in response.content:
            event = orjson.loads(line)
            item = event.get("object") or {}
            if event.get("type") == "ERROR":
                return ""
            version = (item.get("metadata") or {}).get("resourceVersion") or version
            if event.get("type") != "BOOKMARK":
                changed(event.get("type", ""), keep(item))
        return version
    finally:
        response.close()


async def _get(api: client.ApiClient, path: str, query: Query, accept: str) -> dict[str, Any]:
    try:
        response = await _call(api, path, query, accept, aiohttp.ClientTimeout(total=60))
        async with response:
            if response.status != 200:
                raise errors.Unavailable(f"listing {path}: {response.status} {response.reason}")
            answer = orjson.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise errors.Unavailable(f"listing {path}: {str(error) or type(error).__name__}") from error
    if not isinstance(answer, dict):
        raise errors.Unavailable(f"listing {path}: the answer is no list")
    return answer


async def _call(
    api: client.ApiClient, path: str, query: Query, accept: str, limits: aiohttp.ClientTimeout
) -> aiohttp.ClientResponse:
    response: aiohttp.ClientResponse = await api.call_api(
        path,
        "GET",
        query_params=list(query.items()),
        header_params={"Accept": accept},
        auth_settings=["BearerToken"],
        _preload_content=False,
        _request_timeout=limits,
    )
    return response
