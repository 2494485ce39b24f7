"""The API server, as far as the command line needs it."""

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes_asyncio import client, config

from unigpu import errors
from webhook import kube, watching

# It warns of a missing file before it raises for what follows from that.
logging.getLogger("kubernetes_asyncio.config").setLevel(logging.ERROR)

_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT = aiohttp.ClientTimeout(total=30)
Item = Mapping[str, Any]


class Refused(errors.Denied):
    """The API server refuses; the text is its own."""


class Changed(errors.Unavailable):
    """The object has changed since it was read: read it again."""


@contextlib.asynccontextmanager
async def connected(kubeconfig: str) -> AsyncIterator[client.ApiClient]:
    """A connection, as kubectl would have it.

    Raises Unavailable where there is no cluster.
    """
    try:
        api = await kube.connect(kubeconfig)
    except (config.ConfigException, OSError) as error:
        message = f"no cluster to ask: {error}; name its file with --kubeconfig or in KUBECONFIG"
        raise errors.Unavailable(message) from error
    async with api:
        yield api


async def everything(kubeconfig: str) -> tuple[list[Item], list[Item]]:
    """All nodes and all pods.

    Raises Unavailable where there is no cluster, or it doesn't answer.
    """
    async with connected(kubeconfig) as api:
        found: list[list[Item]] = []
        for path in ("/api/v1/nodes", "/api/v1/pods"):
            found.append([item async for page, _ in watching.pages(api, path, {}, metadata=False) for item in page])
        return found[0], found[1]


def namespace(kubeconfig: str) -> str:
    """The namespace that is meant where none is named: the kubeconfig's, or the pod's own."""
    try:
        _, current = config.list_kube_config_contexts(config_file=kubeconfig or None)
    except (config.ConfigException, OSError):
        with contextlib.suppress(OSError):
            return _ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
        return "default"
    return str(((current or {}).get("context") or {}).get("namespace") or "default")


async def pod(api: client.ApiClient, namespace: str, name: str) -> Item:
    """The pod as it is now.

    Raises Refused, Unavailable.
    """
    return await _ask(api, "GET", namespace, name)


async def annotate(api: client.ApiClient, item: Item, annotation: str, text: str | None) -> Item:
    """Write or remove (None) an annotation of a pod that hasn't changed since it was read. Returns the pod.

    Raises Changed, Refused, Unavailable.
    """
    about = item["metadata"]
    metadata = {"resourceVersion": about["resourceVersion"], "annotations": {annotation: text}}
    return await _ask(api, "PATCH", about["namespace"], about["name"], {"metadata": metadata})


async def told(api: client.ApiClient, item: Item, reason: str) -> str:
    """The message of a pod's latest event with this reason; empty where there is none, or it may not be read."""
    about = item["metadata"]
    query = {"fieldSelector": f"involvedObject.uid={about['uid']},reason={reason}"}
    path = f"/api/v1/namespaces/{about['namespace']}/events"
    try:
        found = [event async for page, _ in watching.pages(api, path, query, metadata=False) for event in page]
    except errors.Unavailable:
        return ""
    latest = max(found, key=lambda event: str(event.get("lastTimestamp") or ""), default={})
    return str(latest.get("message") or "")


async def _ask(
    api: client.ApiClient, method: str, namespace: str, name: str, body: dict[str, Any] | None = None
) -> Item:
    try:
        response: aiohttp.ClientResponse = await api.call_api(
            f"/api/v1/namespaces/{namespace}/pods/{name}",
            method,
            header_params={"Accept": "application/json", "Content-Type": "application/merge-patch+json"},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=_TIMEOUT,
        )
        async with response:
            answer = json.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise errors.Unavailable(f"the API server doesn't answer: {str(error) or type(error).__name__}") from error
    if response.status < 300:
        found: Item = answer
        return found
    message = str(answer.get("message") or response.reason) if isinstance(answer, dict) else str(response.reason)
    if response.status == 409:
        raise Changed(message)
    raise Refused(message)
