"""`kubectl unigpu limit` as a command: its arguments, the conversation with the API server, and what it prints."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from cli import limit
from cli.limit import Wish
from unigpu import errors, names
from unigpu.limits import Applied

if TYPE_CHECKING:
    from kubernetes_asyncio import client

    from cli.cluster import Item

DONE, REFUSED, UNREACHABLE = 0, 1, 2
ABOUT = (
    f"Changes annotation {names.ANNOTATION_LIMITS} of a pod: memory, share, ceiling and policy of its containers, "
    "while they run. What isn't named stays as it is; with nothing named, it shows them. Exit status: 0 changed "
    "(with --wait: in force), 1 refused, or not in force in time, 2 no cluster to ask."
)
_FIELDS = {
    "memory": ("AMOUNT", "of each GPU: MiB, or a quantity such as 1Gi"),
    "cores": ("PERCENT", "guaranteed share of each GPU"),
    "ceiling": ("PERCENT", "what the container may use of each GPU while others leave it idle"),
    "policy": ("POLICY", "hard, soft or unlimited"),
}
_TRIES = 10
_LOOK_SECONDS = 0.1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("pod")
    parser.add_argument("-n", "--namespace", help="default: the kubeconfig's")
    parser.add_argument("-c", "--container", default="", help="default: the only one with a GPU")
    for field, (shape, text) in _FIELDS.items():
        parser.add_argument(f"--{field}", metavar=shape, help=text)
    parser.add_argument(
        "--reset", action="store_true", help="back to what was requested, but for what is named beside it"
    )
    parser.add_argument("--wait", action="store_true", help="until the limits are in force")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="how long at most (default: %(default)g)"
    )
    parser.add_argument("--kubeconfig", default="", help="path; default: KUBECONFIG, or the pod's service account")


def run(given: argparse.Namespace) -> int:
    """Change, print, wait. The exit code."""
    fields = {field: value for field in _FIELDS if (value := getattr(given, field)) is not None}
    try:
        return asyncio.run(_change(given, Wish(given.container, fields, given.reset)))
    except errors.Unavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREACHABLE
    except errors.UnigpuError as error:
        print(f"refused: {limit.refusal(str(error))}", file=sys.stderr)
        return REFUSED


async def _change(given: argparse.Namespace, wish: Wish) -> int:
    from cli import cluster  # not at the top: Kubernetes' client takes longer to load than a translation

    namespace = given.namespace or cluster.namespace(given.kubeconfig)
    async with cluster.connected(given.kubeconfig) as api:
        item = await cluster.pod(api, namespace, given.pod)
        if not wish.fields and not wish.reset and not given.wait:
            for line in limit.shown(_annotations(item)):
                print(line)
            return DONE
        for tries in range(_TRIES):
            plan = limit.plan(_annotations(item), wish)
            if not plan.changes:
                break
            try:
                item = await cluster.annotate(api, item, names.ANNOTATION_LIMITS, plan.text)
                break
            except cluster.Changed:
                if tries == _TRIES - 1:
                    raise
                item = await cluster.pod(api, namespace, given.pod)
        for line in plan.changes or ("nothing to change",):
            print(line, flush=True)
        return await _wait(api, item, given.timeout) if given.wait else DONE


async def _wait(api: "client.ApiClient", item: "Item", seconds: float) -> int:
    from cli import cluster

    about = item["metadata"]
    said: Applied | None = None
    try:
        async with asyncio.timeout(seconds):
            while (said := limit.applied(_annotations(item))) is None:
                await asyncio.sleep(_LOOK_SECONDS)
                item = await cluster.pod(api, about["namespace"], about["name"])
                if item["metadata"]["uid"] != about["uid"]:
                    raise errors.Denied(f"pod {about['name']} is another one now")
    except TimeoutError:
        phase = (item.get("status") or {}).get("phase", "unknown")
        refused = await cluster.told(api, item, names.EVENT_LIMITS_REFUSED)
        last = f"; the node agent's last refusal: {refused}" if refused else ""
        print(f"error: not in force after {seconds:g} s, the pod is {phase}{last}", file=sys.stderr)
        return REFUSED
    for line in ("in force", *limit.beyond(said)):
        print(line)
    return DONE


def _annotations(item: "Item") -> dict[str, str]:
    return item["metadata"].get("annotations") or {}
