"""The API server, for commands that ask a cluster."""

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cli import kubeconfig, text
from unigpu import errors
from unigpu_kube import client, objects
from unigpu_kube.client import Client

_TIMEOUT = 30.0
Item = Mapping[str, Any]


@contextlib.asynccontextmanager
async def connected(path: str, context: str = "") -> AsyncIterator[Client]:
    """Connect as kubectl would, and print the API server's warnings. Raises Unavailable where no cluster is known."""
    kubeconfig.check(path, context)
    headers = kubeconfig.impersonation(path, context)
    async with contextlib.AsyncExitStack() as stack:
        try:
            connection = client.connect(
                path, context=context, user_agent="kubectl-unigpu", deadline=_TIMEOUT, warned=_Warnings()
            )
            api = await stack.enter_async_context(connection)
        except errors.Malformed as error:
            raise errors.Unavailable(f"no cluster to ask: {error}") from error
        for name, value in headers.items():
            api.api.set_default_header(name, value)
        yield api


class _Warnings:
    """Prints each warning of the API server once, as kubectl does."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, warning: str) -> None:
        if warning not in self._seen:
            self._seen.add(warning)
            print(f"Warning: {text.safe(warning)}", file=sys.stderr, flush=True)


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
