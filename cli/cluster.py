"""The API server, as far as the command line needs it."""

from collections.abc import Mapping
from typing import Any

from kubernetes_asyncio import config

from unigpu import errors
from webhook import kube, watching


async def everything(kubeconfig: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """All nodes and all pods.

    Raises Unavailable where there is no cluster, or it doesn't answer.
    """
    try:
        api = await kube.connect(kubeconfig)
    except (config.ConfigException, OSError) as error:
        raise errors.Unavailable(f"no cluster to ask: {error}") from error
    try:
        found: list[list[Mapping[str, Any]]] = []
        for path in ("/api/v1/nodes", "/api/v1/pods"):
            found.append([item async for page, _ in watching.pages(api, path, {}, metadata=False) for item in page])
        return found[0], found[1]
    finally:
        await api.close()
