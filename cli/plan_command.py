"""`kubectl unigpu plan` as a command: arguments, requests to the API server, output. It changes nothing."""

import argparse
import asyncio
import contextlib
import dataclasses
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli import options, plan
from unigpu import budgets, documents, errors, shrinks
from unigpu.budgets import Budget
from unigpu.placement import Rules
from unigpu.requests import PlacementPolicy
from webhook.translation import namespaces
from webhook.translation.options import Options

if TYPE_CHECKING:
    from cli.api_client import Item
    from unigpu_kube.client import Client

FITS, NOWHERE, UNREADABLE = 0, 1, 2
_PRIORITY_CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
ABOUT = (
    "Shows where the pods of manifests would go: for each node whether it takes the pod, or why not, GPU by GPU, and "
    "which pods of lower priority would have to go, or have their limits lowered. "
    "Nothing is changed. Nodes that take the pod come in the order that the scheduler's extender prefers with binpack; "
    "what else the kube-scheduler weighs, such as taints and affinities, isn't looked at. Each pod is planned on its "
    "own. Exit status: 0 every pod fits somewhere, 1 a pod is refused or fits nowhere, 2 a file can't be read or the "
    "cluster doesn't answer."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "-f", "--filename", action="append", required=True, metavar="FILE|-|FOLDER", help="manifests; may be repeated"
    )
    options.namespace(parser, "namespace whose rules apply (default: the kubeconfig's)")
    rules = Rules()
    parser.add_argument(
        "--shares-per-gpu",
        type=int,
        default=rules.shares_per_gpu,
        metavar="NUMBER",
        help="the chart's placement.sharesPerGpu (default: %(default)s)",
    )
    parser.add_argument(
        "--gpu-policy",
        choices=list(PlacementPolicy),
        default=rules.gpu_policy,
        help="the chart's placement.gpus (default: %(default)s)",
    )
    options.meaning(parser)
    options.connection(parser)


def run(given: argparse.Namespace) -> int:
    """Print the plan and return the exit code."""
    try:
        manifests = list(plan.read(given.filename))
        options.choices(given)
    except errors.Malformed as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREADABLE
    known = asyncio.run(_ask(given))
    return _show(
        given, [pod for manifest in manifests for pod in plan.pods(manifest, known.choices, known.rest)], known
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What the cluster says."""

    nodes: "list[Item]"
    pods: "list[Item]"
    choices: Options
    rest: plan.Rest


def _show(given: argparse.Namespace, wanted: list[plan.PlannedPod], known: _Known) -> int:
    rules = Rules(given.shares_per_gpu, PlacementPolicy(given.gpu_policy))
    ledger = plan.ledger(known.nodes, known.pods)
    code = FITS
    for pod in wanted:
        if pod.refusal:
            print(f"refused: {pod.title}: {pod.refusal}", file=sys.stderr)
        elif pod.request is None:
            print(f"{pod.title}: asks for no GPU that unigpu allocates")
        found = plan.verdicts(ledger, pod, rules, known.rest) if pod.request is not None else []
        if pod.request is not None:
            print("\n".join(plan.lines(pod, found)))
            if found and plan.unplaceable(pod, found):
                print("\n".join(f"  {said}" for said in plan.helps(ledger, pod, rules, known.rest)))
        if plan.unplaceable(pod, found):
            code = NOWHERE
    if not wanted:
        print("the manifests have no pod", file=sys.stderr)
    return code


async def _ask(given: argparse.Namespace) -> _Known:
    from cli import api_client, kubeconfig  # not at the top: Kubernetes' client takes longer to load than a translation
    from unigpu_kube import objects

    choices = options.choices(given)
    async with api_client.connected(given.kubeconfig, given.context) as api:
        name = given.namespace or kubeconfig.namespace(given.kubeconfig, given.context)
        namespace = await api.find(f"/api/v1/namespaces/{name}")
        if namespace is None:
            raise errors.Denied(f"namespace = {name}: there is no such namespace; accepted: one that exists")
        metadata = namespace["metadata"]
        choices = namespaces.apply(choices, metadata.get("annotations") or {}, metadata.get("labels") or {})
        nodes = await api.items(objects.NODES, limit=500)
        server = str((await api.get("/version")).get("gitVersion") or "")  # the kube-scheduler's too, by the chart
        rest = dataclasses.replace(
            await _rest(api),
            lowerable=plan.lowerable(nodes),
            tries_again=shrinks.tried_again(server),
            conditions=plan.conditions(nodes),
        )
        return _Known(nodes, await api.items(objects.PODS, limit=500), choices, rest)


async def _rest(api: "Client") -> plan.Rest:
    """Return what the caller may see of priority classes and budgets."""
    from unigpu_kube import errors as kube_errors

    priorities: dict[str, int] = {}
    found: list[Budget] = []
    with contextlib.suppress(kube_errors.Rejected):
        for document in await api.items(_PRIORITY_CLASSES):
            value = int(document["value"])
            priorities[document["metadata"]["name"]] = value
            if document.get("globalDefault"):
                priorities[""] = value
    with contextlib.suppress(kube_errors.Rejected):
        for document in await api.items(budgets.PATH, limit=500):
            with contextlib.suppress(*documents.INVALID):
                found.append(budgets.load(document))
    return plan.Rest(priorities, found)
