"""Read what `status` shows from the API server, within the rights that the caller has."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from cli import failures
from cli.status import pending, view
from cli.status.view import NodeObject, View
from unigpu import errors, names
from unigpu_kube import objects
from unigpu_kube.client import Client

_PAGE = 2000
"""Rows and metadata are small: about a kilobyte each."""
_PENDING = "status.phase=Pending"
T = TypeVar("T")


async def cluster(
    api: Client,
    own: str,
    *,
    namespace: str = "",
    everywhere: bool = False,
    node: str = "",
    early: Callable[[View], None] | None = None,
) -> View:
    """Return the view of the cluster; of namespace `own` alone where the caller may not list all pods.

    `everywhere`: refuse instead of showing less. `early` gets the nodes as soon as they are read, without any pod.
    Raises Rejected, Unavailable.
    """

    async def rows() -> list[NodeObject]:
        # The API server's table adds a node's condition to its metadata, at a tenth of the whole object.
        found = [
            NodeObject(row.metadata, str(row.cells.get("Status") or ""))
            for row in await api.rows(objects.NODES, limit=_PAGE)
        ]
        if early is not None:
            early(dataclasses.replace(await asyncio.to_thread(view.view, found, ()), complete=False))
        return found

    reading = asyncio.ensure_future(_allowed(rows()))
    if early is not None:
        await reading  # before pods, which take longer and keep the processor busy
    nodes, pods, waiting = await asyncio.gather(
        reading,
        _allowed(_allocated(api, objects.PODS)),
        _allowed(api.items(objects.PODS, {"fieldSelector": _PENDING})),
    )
    notes = []
    here = namespace
    if isinstance(pods, Exception) or isinstance(waiting, Exception):
        if everywhere:
            raise pods if isinstance(pods, Exception) else waiting
        here = namespace or own
        path = f"{objects.NAMESPACES}/{here}/pods"
        pods = await _allocated(api, path)
        waiting = await api.items(path, {"fieldSelector": _PENDING})
        notes.append(
            f"you may not list the pods of all namespaces, so only those of namespace {here} are shown and counted."
        )
    complete = not notes
    if isinstance(nodes, Exception):
        notes.append("you may not list nodes, so only GPUs that pods have are shown, without their size and health.")
        nodes, complete = [], False
    seen = await asyncio.to_thread(view.view, nodes, pods)
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


async def _allocated(api: Client, path: str) -> list[Mapping[str, Any]]:
    """Return what `view` needs of each pod with GPUs."""
    found: list[Mapping[str, Any]] = []
    async for page in api.annotated(path, {"fieldSelector": objects.RUNNING}, limit=_PAGE):
        for one in page:
            if one.annotations and names.ANNOTATION_ALLOCATION in one.annotations:
                found.append({"name": one.name, "namespace": one.namespace, "annotations": one.annotations})
    return found
