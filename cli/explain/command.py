"""`kubectl unigpu explain` as a command: arguments, requests to the API server, output."""

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cli import failures, options, text
from cli.explain import facts, report, waiting
from cli.explain.facts import Json, Objects
from cli.explain.report import Fact, Section
from cli.status import pending
from cli.status.view import View
from unigpu import errors, names, requests
from unigpu.placement import Rules
from unigpu.requests import PodRequest

if TYPE_CHECKING:
    from unigpu_kube.client import Client

DONE = 0
ABOUT = (
    "Explains a pod: what its author asked for, what the webhook made of it, which GPUs the scheduler chose, what is "
    "enforced now, each with its source. For a pod that waits: why, GPU by GPU, and what would help. Exit status: 0 "
    "explained, 1 no such pod, or no right to read it, 2 the cluster doesn't answer."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("pod", metavar="POD", help="name of the pod, or pod/NAME")
    options.namespace(parser)
    parser.add_argument(
        "--nodes",
        type=int,
        default=waiting.MOST_NODES,
        metavar="NUMBER",
        help="nodes to explain GPU by GPU for a pod that waits; the rest is counted by reason (default: %(default)s)",
    )
    options.connection(parser)


def run(given: argparse.Namespace) -> int:
    """Explain; return the exit status."""
    return asyncio.run(_run(given))


async def _run(given: argparse.Namespace) -> int:
    # Not at the top: Kubernetes' client takes longer to load than a translation.
    from cli import api_client, kubeconfig
    from unigpu_kube import objects

    namespace = given.namespace or kubeconfig.namespace(given.kubeconfig, given.context)
    name = given.pod.removeprefix("pod/").removeprefix("pods/").removeprefix("po/")
    async with api_client.connected(given.kubeconfig, given.context) as api:
        pod = await api.get(objects.pod(namespace, name))
        found = await _objects(api, pod)
        sections = [*facts.sections(found)]
        if _waits(pod):
            sections += await _waiting(api, pod, namespace, given.nodes)
        sections += facts.events(found)
    for line in report.lines(sections, text.style()):
        print(line)
    return DONE


def _waits(pod: Json) -> bool:
    status = pod.get("status") or {}
    return status.get("phase") in (None, "Pending") and bool(pending.asked(pod))


async def _objects(api: "Client", pod: Json) -> Objects:
    from unigpu_kube import objects

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
    from unigpu_kube import errors as kube_errors

    try:
        return await call
    except kube_errors.Rejected:
        return None


async def _nothing() -> None:
    return None


async def _waiting(api: "Client", pod: Json, namespace: str, most: int) -> list[Section]:
    from cli.status import read

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
    nothing = Fact(
        "", "Nothing short of other nodes: no single change places it on the nodes as they are.", kind="warn"
    )
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


async def _rules(api: "Client", seen: View) -> Rules:
    """Return the platform's rules, as far as a node shows them: slots for each of its GPUs."""
    from unigpu_kube import objects

    for node in seen.nodes[:1]:
        status = ((await _readable(api.get(objects.node(node.name)))) or {}).get("status") or {}
        slots = str((status.get("capacity") or {}).get(names.RESOURCE_VGPU) or "")
        if slots.isdecimal() and node.gpus and int(slots):
            return Rules(shares_per_gpu=max(1, int(slots) // len(node.gpus)))
    return Rules()
