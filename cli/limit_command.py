"""`kubectl unigpu limit` as a command: arguments, requests to the API server, output."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from cli import limit
from cli.limit import LimitChange
from unigpu import errors, names
from unigpu.limits import Applied

if TYPE_CHECKING:
    from cli.api_client import Item
    from unigpu_kube.client import Client

DONE, REFUSED, UNREACHABLE = 0, 1, 2
ABOUT = (
    f"Changes annotation {names.ANNOTATION_LIMITS} of a pod: memory, share, ceiling and policy of its containers, "
    "while they run. Limits that aren't named stay as they are; without any, the command shows them. Exit status: 0 "
    "changed (with --wait: in force), 1 refused, or not in force in time, 2 the cluster doesn't answer."
)
_FIELDS = {
    "memory": ("AMOUNT", "memory on each GPU: MiB, or a quantity such as 1Gi"),
    "cores": ("PERCENT", "guaranteed share of each GPU"),
    "ceiling": ("PERCENT", "highest part of each GPU that the container may use while others leave it idle"),
    "policy": ("POLICY", "hard, soft or unlimited: how the share of compute time is enforced"),
}
_TRIES = 10
_POLL_SECONDS = 0.1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("pod", help="name of the pod")
    parser.add_argument("-n", "--namespace", help="namespace of the pod (default: the kubeconfig's)")
    parser.add_argument("-c", "--container", default="", help="container to change (default: the only one with a GPU)")
    for field, (shape, text) in _FIELDS.items():
        parser.add_argument(f"--{field}", metavar=shape, help=text)
    parser.add_argument(
        "--reset",
        action="store_true",
        help="return to the requested limits, except for those named in the same command",
    )
    parser.add_argument("--wait", action="store_true", help="wait until the limits are in force")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="longest time to wait (default: %(default)g)"
    )
    connection_arguments(parser)


def connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which cluster is asked."""
    parser.add_argument(
        "--kubeconfig",
        default="",
        metavar="PATH",
        help="kubeconfig of the cluster (default: the pod's service account, else KUBECONFIG)",
    )
    parser.add_argument("--context", default="", metavar="NAME", help="context of the kubeconfig, if not its current")


def run(given: argparse.Namespace) -> int:
    """Change, print, wait; return the exit code."""
    fields = {field: value for field in _FIELDS if (value := getattr(given, field)) is not None}
    try:
        return asyncio.run(_change(given, LimitChange(given.container, fields, given.reset)))
    except errors.Unavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREACHABLE
    except errors.UnigpuError as error:
        print(f"refused: {limit.refusal(getattr(error, 'message', str(error)))}", file=sys.stderr)
        return REFUSED


async def _change(given: argparse.Namespace, change: LimitChange) -> int:
    # Not at the top: Kubernetes' client takes longer to load than a translation.
    from cli import api_client
    from unigpu_kube import errors as kube_errors
    from unigpu_kube import objects, pods

    namespace = given.namespace or api_client.namespace(given.kubeconfig, given.context)
    path = objects.pod(namespace, given.pod)
    async with api_client.connected(given.kubeconfig, given.context) as api:
        item: Item = await api.get(path)
        if not change.fields and not change.reset and not given.wait:
            for line in limit.shown(_annotations(item)):
                print(line)
            return DONE
        for tries in range(_TRIES):
            plan = limit.plan(_annotations(item), change)
            if not plan.changes:
                break
            try:
                item = await pods.annotate(api, item, {names.ANNOTATION_LIMITS: plan.text})
                break
            except kube_errors.Conflict:
                if tries == _TRIES - 1:
                    raise
                item = await api.get(path)
        for line in plan.changes or ("nothing to change",):
            print(line, flush=True)
        return await _wait(api, item, given.timeout) if given.wait else DONE


async def _wait(api: "Client", item: "Item", seconds: float) -> int:
    from cli import api_client
    from unigpu_kube import objects

    about = item["metadata"]
    said: Applied | None = None
    try:
        async with asyncio.timeout(seconds):
            while (said := limit.applied(_annotations(item))) is None:
                await asyncio.sleep(_POLL_SECONDS)
                item = await api.get(objects.pod(about["namespace"], about["name"]))
                if item["metadata"]["uid"] != about["uid"]:
                    raise errors.Denied(f"pod {about['name']} was deleted and created again while the command waited")
    except TimeoutError:
        phase = (item.get("status") or {}).get("phase", "unknown")
        refused = await api_client.last_event(api, item, names.EVENT_LIMITS_REFUSED)
        last = f"; the node agent's last refusal: {refused}" if refused else ""
        print(f"error: not in force after {seconds:g} s, the pod is {phase}{last}", file=sys.stderr)
        return REFUSED
    for line in ("in force", *limit.beyond(said)):
        print(line)
    return DONE


def _annotations(item: "Item") -> dict[str, str]:
    return item["metadata"].get("annotations") or {}
