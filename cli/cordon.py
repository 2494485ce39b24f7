"""`kubectl unigpu cordon` and `uncordon`: keep new pods off one GPU; those that are there stay."""

import argparse
import asyncio
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli import options
from unigpu import cordons, errors, gpus, names
from unigpu.cordons import Cordons
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid

if TYPE_CHECKING:
    from unigpu_kube.client import Client

ABOUT = (
    f"Writes annotation {names.ANNOTATION_CORDONED} of a node: nothing new is placed on the GPU. Pods with a share "
    "of it keep running, and their limits can still be raised. Exit status: 0 done, 1 refused, 2 the cluster doesn't "
    "answer."
)
ABOUT_UNCORDON = (
    f"Removes a GPU from annotation {names.ANNOTATION_CORDONED} of a node: pods are placed there again. Exit status: 0 "
    "done, 1 refused, 2 the cluster doesn't answer."
)
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command writes, and what it says."""

    text: str | None
    """The annotation; None removes it."""
    said: str
    changes: bool


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `cordon`."""
    uncordon_arguments(parser)
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for people: shown by status")


def uncordon_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `uncordon`."""
    parser.add_argument("gpu", metavar="NODE/GPU", help="node, and index or UUID of the GPU: node-1/0")
    options.connection(parser)


def plan(node: Mapping[str, Any], gpu: str, reason: str | None, now: str) -> Plan:
    """Return what to write on the node object. `reason` None ends the cordon; `now` is UTC.

    Raises Denied where the node has no such GPU, Malformed where its annotations can't be read.
    """
    annotations = _annotations(node)
    inventory = annotations.get(names.ANNOTATION_INVENTORY)
    found: tuple[Gpu, ...] = () if inventory is None else gpus.load(inventory)
    before = cordons.load(annotations.get(names.ANNOTATION_CORDONED))
    uuid = cordons.find_gpu(gpu, found, before)
    after: Cordons = cordons.uncordon(before, uuid) if reason is None else cordons.cordon(before, uuid, reason, now)
    shown = title(str(node["metadata"]["name"]), uuid, found)
    if reason is None:
        said = f"{shown} uncordoned" if uuid in before else f"{shown} is not cordoned"
    else:
        kept = after[uuid]
        said = f"{shown} cordoned since {kept.since or 'an unknown time'}" + (f": {kept.reason}" if kept.reason else "")
    return Plan(cordons.dump(after), said, after != before)


def run(given: argparse.Namespace) -> int:
    """Cordon or uncordon, print what was done, and return the exit status."""
    reason = given.reason if given.command == "cordon" else None
    print(asyncio.run(_write(given, reason)))
    return 0


async def _write(given: argparse.Namespace, reason: str | None) -> str:
    from cli import api_client  # not at the top: Kubernetes' client takes longer to load than a translation

    name, gpu = split(given.gpu)
    async with api_client.connected(given.kubeconfig, given.context) as api:
        return await annotate(api, name, gpu, reason)


def split(text: str) -> tuple[str, str]:
    """Return the node and the GPU that NODE/GPU names. Raises Denied where it doesn't name both."""
    name, slash, gpu = text.partition("/")
    if not (name and slash and gpu):
        raise errors.Denied(f"GPU = {text}: it names no GPU of a node; accepted: NODE/GPU, such as node-1/0")
    return name, gpu


async def annotate(api: "Client", name: str, gpu: str, reason: str | None) -> str:
    """Cordon the GPU, or end its cordon where `reason` is None; return what was done.

    Raises Denied where the node has no such GPU, and what the API server's client raises.
    """
    from unigpu_kube import errors as kube_errors
    from unigpu_kube import objects

    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for tries in range(_TRIES):
        node = await api.get(objects.node(name))
        wanted = plan(node, gpu, reason, now)
        if not wanted.changes:
            break
        metadata = {
            "resourceVersion": node["metadata"]["resourceVersion"],
            "annotations": {names.ANNOTATION_CORDONED: wanted.text},
        }
        try:
            await api.patch(objects.node(name), {"metadata": metadata})
            break
        except kube_errors.Conflict:
            if tries == _TRIES - 1:
                raise
    return wanted.said


def title(node: str, uuid: GpuUuid, found: Iterable[Gpu]) -> str:
    """Return `GPU 0 (GPU-5c…) of node node-1`, without the index where the GPU has left the node."""
    index = next((f"{gpu.index} " for gpu in found if gpu.uuid == uuid), "")
    return f"GPU {index}({uuid}) of node {node}"


def _annotations(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return (node.get("metadata") or {}).get("annotations") or {}
