"""The API server, for commands that ask a cluster."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from kubernetes_asyncio import config

from unigpu import errors
from unigpu_kube import client, objects
from unigpu_kube.client import Client

_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT = 30.0
_PAGE = 100
Item = Mapping[str, Any]


@contextlib.asynccontextmanager
async def connected(kubeconfig: str, context: str = "") -> AsyncIterator[Client]:
    """Connect as kubectl would. Raises Unavailable where no cluster is known."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            connection = client.connect(kubeconfig, context=context, user_agent="kubectl-unigpu", deadline=_TIMEOUT)
            api = await stack.enter_async_context(connection)
        except errors.Malformed as error:
            raise errors.Unavailable(f"no cluster to ask: {error}") from error
        yield api


async def nodes_and_pods(kubeconfig: str, context: str = "") -> tuple[list[Item], list[Item]]:
    """Return all nodes and all pods.

    Raises Unavailable where there is no cluster, or it doesn't answer; Rejected where it refuses.
    """
    async with connected(kubeconfig, context) as api:
        return await api.items(objects.NODES, limit=_PAGE), await api.items(objects.PODS, limit=_PAGE)


def namespace(kubeconfig: str, context: str = "") -> str:
    """Return the namespace that is meant where none is named: the kubeconfig's, or the pod's own."""
    try:
        contexts, current = config.list_kube_config_contexts(config_file=kubeconfig or None)
    except (config.ConfigException, OSError):
        with contextlib.suppress(OSError):
            return _ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
        return "default"
    chosen = next((one for one in contexts if one.get("name") == context), current) if context else current
    return str(((chosen or {}).get("context") or {}).get("namespace") or "default")


async def last_event(api: Client, pod: Item, reason: str) -> str:
    """Return the message of a pod's latest event with this reason; empty where there is none, or it may not be read."""
    about = pod["metadata"]
    query = {"fieldSelector": f"involvedObject.uid={about['uid']},reason={reason}"}
    try:
        found = await api.items(objects.events(about["namespace"]), query)
    except errors.UnigpuError:
        return ""
    latest: Item = max(found, key=lambda event: str(event.get("lastTimestamp") or ""), default={})
    return str(latest.get("message") or "")
