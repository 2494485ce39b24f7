"""One connection to the API server: reads, writes, lists in pages, and watches.

Every method raises `unigpu.errors.Unavailable` where no answer came that says how the request ended, and `Rejected` or
one of its kinds (`unigpu_kube.errors`) where the API server refuses it for good.
"""

import contextlib
import enum
import logging
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import yaml
from kubernetes_asyncio import client as library
from kubernetes_asyncio import config

from unigpu import errors
from unigpu_kube import errors as kube_errors

# It warns of a missing file before it raises for that.
logging.getLogger("kubernetes_asyncio.config").setLevel(logging.ERROR)

Json = dict[str, Any]
Query = Mapping[str, str | int]

CONNECTIONS = 128
"""At once; binding a gang of pods uses one for each."""
DEADLINE = 10.0
"""Seconds for a short request, unless the caller chooses another."""
LIST_SECONDS = 60.0
"""For one page of a list."""
MOST_LINE = 16 << 20
"""Bytes of one event of a watch."""
_UNUSABLE = (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""What reading a kubeconfig of any content raises."""
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
_WARNING = re.compile(r'^299 \S+ "((?:[^"\\]|\\.)*)"')


class Patch(enum.StrEnum):
    """How a patch is written, by its content type."""

    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


@dataclass(frozen=True, slots=True)
class Row:
    """An object as `kubectl get` shows it."""

    cells: Mapping[str, Any]
    """Values by the name of their column, `Status` for instance."""
    metadata: Json


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: list[Any]
    """Objects; what isn't one is still among them."""
    version: str
    """resourceVersion of the whole list."""
    more: str
    """Where the next part starts; empty: this was the last."""


class Client:
    """A connection. Paths are as in the Kubernetes API reference; `unigpu_kube.objects` has the usual ones."""

    def __init__(
        self, api: library.ApiClient, deadline: float = DEADLINE, warned: Callable[[str], None] | None = None
    ) -> None:
        """`warned` is called with each warning that the API server attaches to an answer."""
        self._api = api
        self._warned = warned
        self.deadline = deadline
        """Seconds for a short request."""

    @property
    def api(self) -> library.ApiClient:
        """The library's client beneath."""
        return self._api

    async def get(self, path: str, query: Query | None = None) -> Json:
        """Return the object as it is now."""
        return await self._ask("GET", path, query)

    async def find(self, path: str) -> Json | None:
        """Return the object as it is now; None where there is none."""
        try:
            return await self.get(path)
        except kube_errors.Missing:
            return None

    async def text(self, path: str) -> str:
        """Return what is at the path, as text: a page of a pod through the API server's proxy, for instance."""
        limits = aiohttp.ClientTimeout(total=self.deadline)
        async with self._request("GET", path, {}, limits, accept="*/*") as response:
            await _check(response)
            return (await response.read()).decode(errors="replace")

    async def rows(self, path: str, query: Query | None = None, *, limit: int = 500) -> list[Row]:
        """Return every object of a list as a row of the API server's table: metadata, and a few words on its state.

        It costs a fraction of the whole objects. Source: "Receiving resources as Tables" in the API concepts.
        """
        found: list[Row] = []
        more = ""
        columns: list[str] = []
        while True:
            asked: dict[str, str | int] = {**(query or {}), "limit": limit}
            document = await self._ask(
                "GET",
                path,
                asked | ({"continue": more} if more else {}),
                accept=_TABLE,
                within=max(LIST_SECONDS, self.deadline),
            )
            try:
                columns = [column["name"] for column in document.get("columnDefinitions") or ()] or columns
                for row in document.get("rows") or ():
                    cells = dict(zip(columns, row["cells"], strict=False))
                    found.append(Row(cells, row["object"]["metadata"]))
                more = str(document["metadata"].get("continue") or "")
            except (LookupError, TypeError, AttributeError) as error:
                raise kube_errors.Garbled(f"API server's answer to GET {path} is not a table") from error
            if not more:
                return found

    async def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """Create an object in the collection. Raises Conflict where its name is taken."""
        return await self._ask("POST", path, body=body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> Json:
        """Replace an object. Raises Conflict where it has changed since the version that the body names."""
        return await self._ask("PUT", path, body=body)

    async def patch(self, path: str, body: object, kind: Patch = Patch.MERGE) -> Json:
        """Patch an object and return it. Raises Conflict where it isn't as the patch expects it."""
        try:
            return await self._ask("PATCH", path, body=body, content=kind)
        except kube_errors.Rejected as error:
            if kind is Patch.JSON and error.status == 422:  # a `test` of the patch doesn't hold
                raise kube_errors.Conflict(error.status, error.message) from error
            raise

    async def pages(
        self, path: str, query: Query | None = None, *, limit: int = 500, metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """Yield a list part by part, `limit` objects each; `metadata_only`: without spec and status.

        Raises Expired where the list is older than the API server remembers: start again.
        """
        more = ""
        while True:
            page = await self._page(path, {**(query or {}), "limit": limit}, more, metadata_only=metadata_only)
            yield page
            more = page.more
            if not more:
                return

    async def items(
        self, path: str, query: Query | None = None, *, limit: int = 500, metadata_only: bool = False
    ) -> list[Any]:
        """Return every object of a list."""
        pages = self.pages(path, query, limit=limit, metadata_only=metadata_only)
        return [item async for page in pages for item in page.items]

    async def short_list(self, path: str, query: Query | None = None) -> list[Any]:
        """Return every object of a list that is known to be short, within the deadline of a short request."""
        return list((await self._ask("GET", path, query)).get("items") or ())

    async def watch(
        self, path: str, query: Query, *, silence: float, metadata_only: bool = False
    ) -> AsyncGenerator[tuple[str, Json], None]:
        """Yield type and object of each event, until the API server ends the watch.

        `silence`: seconds without a byte after which the watch counts as dead. Raises Expired, and Rejected or
        ServerError for an event that says so.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self.deadline, sock_read=silence)
        accept = _METADATA.format("") if metadata_only else _JSON
        asked = {"watch": "true", "allowWatchBookmarks": "true", **query}
        async with self._request("GET", path, asked, limits, accept=accept) as response:
            await _check(response)
            async for line in _lines(response.content):
                event = orjson.loads(line)
                kind, found = _parts(event)
                if kind == "ERROR":
                    code = found.get("code")
                    message = str(found.get("message") or found)
                    raise kube_errors.of_status(code if isinstance(code, int) and code >= 300 else 500, message)
                yield kind, found

    async def _page(self, path: str, query: Query, more: str, *, metadata_only: bool) -> Page:
        accept = _METADATA.format("List") if metadata_only else _JSON
        asked = {**query, "continue": more} if more else query
        document = await self._ask("GET", path, asked, accept=accept, within=max(LIST_SECONDS, self.deadline))
        about, items = document.get("metadata"), document.get("items")
        if not isinstance(about, dict) or not isinstance(items or [], list):
            raise kube_errors.Garbled(f"API server's answer to GET {path} is not a list")
        return Page(items or [], str(about.get("resourceVersion") or ""), str(about.get("continue") or ""))

    async def _ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        *,
        content: str = _JSON,
        accept: str = _JSON,
        within: float | None = None,
    ) -> Json:
        limits = aiohttp.ClientTimeout(total=self.deadline if within is None else within)
        async with self._request(method, path, query or {}, limits, body, content, accept) as response:
            await _check(response)
            document = orjson.loads(await response.read())
        if not isinstance(document, dict):
            raise kube_errors.Garbled(f"API server's answer to {method} {path} is not an object")
        return document

    @contextlib.asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        query: Query,
        limits: aiohttp.ClientTimeout,
        body: object = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            response: aiohttp.ClientResponse = await self._api.call_api(
                path,
                method,
                query_params=[(name, str(value)) for name, value in query.items()],
                header_params={"Accept": accept, "Content-Type": content},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=limits,
            )
            async with response:
                if self._warned is not None:
                    for warning in warnings(response.headers.getall("Warning", ())):
                        self._warned(warning)
                yield response
        except (aiohttp.ClientError, config.ConfigException, library.ApiException, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise errors.Unavailable(f"API server doesn't answer {method} {path}: {reason}") from error
        except ValueError as error:
            raise kube_errors.Garbled(f"API server's answer to {method} {path} can't be read: {error}") from error


@contextlib.asynccontextmanager
async def connect(
    kubeconfig: str | os.PathLike[str] | None,
    *,
    context: str | None = None,
    user_agent: str = "unigpu",
    deadline: float = DEADLINE,
    warned: Callable[[str], None] | None = None,
) -> AsyncIterator[Client]:
    """Connect as the kubeconfig says, for as long as the context lasts.

    Without a kubeconfig, and without a `context` in one: as a pod does, by its service account; outside of a pod by
    KUBECONFIG or ~/.kube/config. Raises Malformed where none of these says how to reach the API server.
    """
    settings = library.Configuration()
    settings.connection_pool_maxsize = CONNECTIONS
    try:
        if not kubeconfig and not context and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(
                config_file=os.fspath(kubeconfig) if kubeconfig else None,
                context=context or None,
                client_configuration=settings,
            )
    except _UNUSABLE as error:
        raise errors.Malformed(
            f"the API server's address isn't known: {str(error) or type(error).__name__}; name a kubeconfig with "
            f"--kubeconfig or in KUBECONFIG"
        ) from error
    async with library.ApiClient(settings) as api:
        api.user_agent = user_agent
        yield Client(api, deadline, warned)


def warnings(headers: Iterable[str]) -> list[str]:
    """Return the texts of Warning headers (RFC 9111, code 299)."""
    matches = map(_WARNING.match, headers)
    return [re.sub(r"\\(.)", r"\1", match[1]) for match in matches if match]


def _parts(event: object) -> tuple[str, Json]:
    """Type and object; of what is neither, the closest thing."""
    if not isinstance(event, dict):
        raise ValueError("an event is not an object")
    found = event.get("object")
    return str(event.get("type")), found if isinstance(found, dict) else {}


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status < 300:
        return
    body = await response.read()
    message = body[:1000].decode(errors="replace") or str(response.reason)
    with contextlib.suppress(ValueError):
        document = orjson.loads(body)
        if isinstance(document, dict):
            message = str(document.get("message") or message)
    raise kube_errors.of_status(response.status, message)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; the last one must be whole."""
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
