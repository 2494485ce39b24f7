"""`kubectl unigpu plan` as a command: arguments, requests to the API server, output. It changes nothing."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from cli import options, plan
from unigpu import errors
from unigpu.placement import Rules
from unigpu.requests import PlacementPolicy
from webhook.translation import namespaces
from webhook.translation.options import AliyunUnit, BareGpu, Options

if TYPE_CHECKING:
    from cli.api_client import Item

FITS, NOWHERE, UNREADABLE = 0, 1, 2
ABOUT = (
    "Shows where the pods of manifests would go: for each node whether it takes the pod, or why not, GPU by GPU. "
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
    except errors.Malformed as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREADABLE
    nodes, pods, choices = asyncio.run(_ask(given))
    return _show(given, [pod for manifest in manifests for pod in plan.pods(manifest, choices)], nodes, pods)


def _show(given: argparse.Namespace, wanted: "list[plan.PlannedPod]", nodes: "list[Item]", pods: "list[Item]") -> int:
    rules = Rules(given.shares_per_gpu, PlacementPolicy(given.gpu_policy))
    ledger = plan.ledger(nodes, pods)
    code = FITS
    for pod in wanted:
        if pod.refusal:
            print(f"refused: {pod.title}: {pod.refusal}", file=sys.stderr)
        elif pod.request is None:
            print(f"{pod.title}: asks for no GPU that unigpu allocates")
        found = plan.verdicts(ledger, pod.request, rules) if pod.request is not None else []
        if pod.request is not None:
            print("\n".join(plan.lines(pod, found)))
        if plan.unplaceable(pod, found):
            code = NOWHERE
    if not wanted:
        print("the manifests have no pod", file=sys.stderr)
    return code


async def _ask(given: argparse.Namespace) -> "tuple[list[Item], list[Item], Options]":
    from cli import api_client, kubeconfig  # not at the top: Kubernetes' client takes longer to load than a translation
    from unigpu_kube import objects

    choices = Options(aliyun_unit=AliyunUnit(given.aliyun_unit), bare_gpu=BareGpu(given.bare_nvidia_gpu))
    async with api_client.connected(given.kubeconfig, given.context) as api:
        name = given.namespace or kubeconfig.namespace(given.kubeconfig, given.context)
        namespace = await api.find(f"/api/v1/namespaces/{name}")
        if namespace is None:
            raise errors.Denied(f"namespace = {name}: there is no such namespace; accepted: one that exists")
        metadata = namespace["metadata"]
        choices = namespaces.apply(choices, metadata.get("annotations") or {}, metadata.get("labels") or {})
        return await api.items(objects.NODES, limit=500), await api.items(objects.PODS, limit=500), choices
