"""Read what `status` shows from the API server, within the rights that the caller has."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from cli import failures
from cli.status import pending, view
from cli.status.view import NodeObject, View
from unigpu import errors
from unigpu_kube import objects
from unigpu_kube.client import Client

_PAGE = 2000
"""Rows and metadata are small: about a kilobyte each."""
_PENDING = "status.phase=Pending"
T = TypeVar("T")


async def cluster(api: Client, own: str, *, namespace: str = "", everywhere: bool = False, node: str = "") -> View:
    """Return the view of the cluster; of namespace `own` alone where the caller may not list all pods.

    `everywhere`: refuse instead of showing less. Raises Rejected, Unavailable.
    """
    # Metadata carries all annotations. The API server's table adds a node's condition, at a tenth of the whole object.
    nodes, pods, waiting = await asyncio.gather(
        _allowed(api.rows(objects.NODES, limit=_PAGE)),
        _allowed(api.items(objects.PODS, {"fieldSelector": objects.RUNNING}, limit=_PAGE, metadata_only=True)),
        _allowed(api.items(objects.PODS, {"fieldSelector": _PENDING})),
    )
    notes = []
    here = namespace
    if isinstance(pods, Exception) or isinstance(waiting, Exception):
        if everywhere:
            raise pods if isinstance(pods, Exception) else waiting
        here = namespace or own
        path = f"{objects.NAMESPACES}/{here}/pods"
        pods = await api.items(path, {"fieldSelector": objects.RUNNING}, metadata_only=True)
        waiting = await api.items(path, {"fieldSelector": _PENDING})
        notes.append(
            f"you may not list the pods of all namespaces, so only those of namespace {here} are shown and counted."
        )
    complete = not notes
    if isinstance(nodes, Exception):
        notes.append("you may not list nodes, so only GPUs that pods have are shown, without their size and health.")
        nodes, complete = [], False
    seen = view.view(
        [NodeObject(row.metadata, str(row.cells.get("Status") or "")) for row in nodes],
        [_metadata(pod) for pod in pods],
    )
    seen = dataclasses.replace(seen, pending=pending.pending(waiting), complete=complete, notes=tuple(notes))
    return seen.only(node=node, namespace=here)


async def _allowed(call: Awaitable[T]) -> T | errors.UnigpuError:
    """Return the answer, or the error where the caller lacks the right."""
    try:
        return await call
    except errors.UnigpuError as error:
        if failures.forbidden(error):
            return error
        raise


def _metadata(item: Mapping[str, Any]) -> Mapping[str, Any]:
    found = item.get("metadata")
    return found if isinstance(found, Mapping) else {}
