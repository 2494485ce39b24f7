"""One connection to the API server: reads, writes, lists in pages, and watches.

Every method raises `unigpu.errors.Unavailable` where no answer came that says how the request ended, and `Rejected` or
one of its kinds (`unigpu_kube.errors`) where the API server refuses it for good.
"""

import asyncio
import contextlib
import enum
import logging
import os
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import yaml

from unigpu import errors
from unigpu_kube import annotated, answers, library, session
from unigpu_kube import errors as kube_errors
from unigpu_kube.annotated import Annotated
from unigpu_kube.library import config

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
_UNUSABLE = (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""What reading a kubeconfig of any content raises."""
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


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
            await answers.check(response)
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

    async def create(self, path: str, body: Mapping[str, Any], *, within: float | None = None) -> Json:
        """Create an object in the collection. Raises Conflict where its name is taken.

        `within`: seconds after which the connection is ended, and nothing more is sent; None: the usual deadline.
        """
        return await self._ask("POST", path, body=body, within=within)

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

    async def annotated(
        self, path: str, query: Query | None = None, *, limit: int = 500
    ) -> AsyncIterator[list[Annotated]]:
        """Yield what `Annotated` has of each object of a list, part by part, `limit` objects each.

        It takes a quarter of the time of `pages`. Raises Expired where the list is older than the API server
        remembers: start again.
        """
        asked: dict[str, str | int] = {**(query or {}), "limit": limit}
        while True:
            within = max(LIST_SECONDS, self.deadline)
            async with self._answer("GET", path, asked, accept=_METADATA.format("List"), within=within) as answer:
                found, more = annotated.decode(answer)
            yield found
            if not more:
                return
            asked["continue"] = more

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
        async with contextlib.AsyncExitStack() as stack:
            # The API server answers at once. Without this bound a network that goes now would be noticed by `silence`.
            try:
                async with asyncio.timeout(max(self.deadline, DEADLINE)):
                    request = self._request("GET", path, asked, limits, accept=accept)
                    response = await stack.enter_async_context(request)
            except TimeoutError as error:
                raise errors.Unavailable(f"API server doesn't answer: GET {path}") from error
            await answers.check(response)
            answers.keep_alive(response)
            async for line in answers.lines(response.content):
                event = orjson.loads(line)
                kind, found = answers.event(event)
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
        async with self._answer(method, path, query, body, content=content, accept=accept, within=within) as answer:
            document = orjson.loads(answer)
        if not isinstance(document, dict):
            raise kube_errors.Garbled(f"API server's answer to {method} {path} is not an object")
        return document

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        *,
        content: str = _JSON,
        accept: str = _JSON,
        within: float | None = None,
    ) -> AsyncIterator[bytes]:
        """Give the block an answer; a ValueError of the block says that it can't be read."""
        limits = aiohttp.ClientTimeout(total=self.deadline if within is None else within)
        async with self._request(method, path, query or {}, limits, body, content, accept) as response:
            await answers.check(response)
            yield await response.read()

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
            response = await self._send(method, path, query, limits, body, content, accept)
            async with response:
                if self._warned is not None:
                    for warning in answers.warnings(response.headers.getall("Warning", ())):
                        self._warned(warning)
                yield response
        except (aiohttp.ClientError, config.ConfigException, library.ApiException, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise errors.Unavailable(f"API server doesn't answer {method} {path}: {reason}") from error
        except ValueError as error:
            raise kube_errors.Garbled(f"API server's answer to {method} {path} can't be read: {error}") from error

    async def _send(
        self,
        method: str,
        path: str,
        query: Query,
        limits: aiohttp.ClientTimeout,
        body: object,
        content: str,
        accept: str,
    ) -> aiohttp.ClientResponse:
        """The library's own way to send copies and searches each request, at five times the cost."""
        rest = self._api.rest_client
        headers = {**self._api.default_headers, "Accept": accept, "Content-Type": content}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"])
        response: aiohttp.ClientResponse = await rest.pool_manager.request(
            method,
            f"{self._api.configuration.host}{path}{f'?{urllib.parse.urlencode(query)}' if query else ''}",
            headers=headers,
            data=None if body is None else orjson.dumps(body),
            timeout=limits,
            proxy=rest.proxy,
            proxy_headers=rest.proxy_headers,
            server_hostname=rest.server_hostname,
        )
        return response


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
        session.prepare(api)
        api.user_agent = user_agent
        yield Client(api, deadline, warned)


@contextlib.asynccontextmanager
async def as_bearer(
    address: str, token: str, authority: str = "", *, user_agent: str = "unigpu", deadline: float = DEADLINE
) -> AsyncIterator[Client]:
    """Connect to the address with this token and no other credentials, for as long as the context lasts.

    `authority`: file with the certificate authority; empty: the system's. Raises Malformed where it can't be read.
    """
    settings = library.Configuration(host=address)
    settings.connection_pool_maxsize = CONNECTIONS
    settings.ssl_ca_cert = authority or None
    settings.api_key["BearerToken"] = f"Bearer {token}"
    try:
        api = library.ApiClient(settings)
    except OSError as error:
        raise errors.Malformed(
            f"certificate authority = {authority}: it can't be read: {error}; accepted: a file in PEM"
        ) from error
    async with api:
        session.prepare(api)
        api.user_agent = user_agent
        yield Client(api, deadline)
