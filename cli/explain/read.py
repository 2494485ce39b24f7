"""Read what `explain` says about a pod from the API server, within the rights that the caller has."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from cli import failures
from cli.explain import facts, waiting
from cli.explain.facts import Json, Objects
from cli.explain.report import Fact, Section
from cli.status import pending, read
from cli.status.view import View
from unigpu import errors, names, remedies, requests
from unigpu.placement import Rules
from unigpu.requests import PodRequest
from unigpu_kube import errors as kube_errors
from unigpu_kube import objects
from unigpu_kube.client import Client


async def sections(api: Client, namespace: str, name: str, most: int = waiting.MOST_NODES) -> list[Section]:
    """Return the explanation of a pod; of one that waits with `most` nodes GPU by GPU.

    Raises Missing, Rejected, Unavailable.
    """
    pod = await api.get(objects.pod(namespace, name))
    found = await _objects(api, pod)
    explained_so_far = [*facts.sections(found)]
    if _waits(pod):
        explained_so_far += await _waiting(api, pod, namespace, most)
    return [*explained_so_far, *facts.events(found)]


def _waits(pod: Json) -> bool:
    status = pod.get("status") or {}
    return status.get("phase") in (None, "Pending") and bool(pending.asked(pod))


async def _objects(api: Client, pod: Json) -> Objects:
    about = pod["metadata"]
    namespace = about["namespace"]
    node = (pod.get("spec") or {}).get("nodeName")
    selector = {"fieldSelector": f"involvedObject.uid={about['uid']}"}
    found = await asyncio.gather(
        _readable(api.get(objects.node(node))) if node else _nothing(),
        _readable(api.get(f"{objects.NAMESPACES}/{namespace}")),
        _readable(api.short_list(objects.events(namespace), selector)),
    )
    return Objects(pod, found[0], found[1], tuple(found[2] or ()))


async def _readable(call: Any) -> Any:
    """Return what the call returns; None where the caller may not read it, or there is none."""
    try:
        return await call
    except kube_errors.Rejected:
        return None


async def _nothing() -> None:
    return None


async def _waiting(api: Client, pod: Json, namespace: str, most: int) -> list[Section]:
    reason, message = pending.why(pod)
    sections = [Section("Why it waits", (Fact("reason", f"{reason}: {message}", "status of the pod", "warn"),))]
    asked = request(pod)
    if (pod.get("spec") or {}).get("nodeName") or asked is None:
        return sections
    try:
        seen = await read.cluster(api, namespace)
    except errors.UnigpuError as error:
        if not failures.forbidden(error):
            raise
        return sections
    if not seen.complete:
        said = "; ".join(seen.notes)
        return [*sections, Section("Nodes", (Fact("", f"GPUs can't be explained one by one: {said}", kind="warn"),))]
    return [*sections, *explained(seen, asked, await _rules(api, seen), most)]


def explained(seen: View, asked: PodRequest, rules: Rules, most: int) -> Iterator[Section]:
    """Yield the sections of a pod that isn't placed: its nodes, and what would help."""
    found = waiting.candidates(seen.nodes, asked, rules)
    if not found:
        yield Section("Nodes", (Fact("", "no node has GPUs: `kubectl unigpu doctor` finds out why", kind="fail"),))
        return
    yield from waiting.by_gpu(found, asked, rules, most)
    helps = [Fact("", said) for said in waiting.helps(found, asked, rules)]
    nothing = Fact("", remedies.NOTHING, kind="warn")
    yield Section("What would help", tuple(helps) or (nothing,))


def request(pod: Mapping[str, Any]) -> PodRequest | None:
    """Return what the pod asks for, its containers in the order in which they start; None where it can't be read."""
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    try:
        asked = requests.load((metadata.get("annotations") or {}).get(names.ANNOTATION_REQUEST, ""))
    except errors.Malformed:
        return None
    order = [one.get("name") for group in ("initContainers", "containers") for one in spec.get(group) or ()]
    named = {name: asked.containers[name] for name in order if name in asked.containers}
    return PodRequest(named or asked.containers, asked.preferences)


async def _rules(api: Client, seen: View) -> Rules:
    """Return the platform's rules, as far as a node shows them: slots for each of its GPUs."""
    for node in seen.nodes[:1]:
        status = ((await _readable(api.get(objects.node(node.name)))) or {}).get("status") or {}
        slots = str((status.get("capacity") or {}).get(names.RESOURCE_VGPU) or "")
        if slots.isdecimal() and node.gpus and int(slots):
            return Rules(shares_per_gpu=max(1, int(slots) // len(node.gpus)))
    return Rules()
