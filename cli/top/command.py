"""`kubectl unigpu top` as a command: arguments, requests to the API server, output."""

import argparse
import asyncio
import json
from typing import Any

from cli import options, text
from cli.top import render, samples
from cli.top.samples import Page, Use
from unigpu import names

DONE = 0
ABOUT = (
    "Shows what containers use of their GPUs now: memory in use and its limit, the part of the GPU's time that they "
    "use and the part that they may have, and how long launches wait for it. The numbers come from the exporters, by "
    "the API server's proxy of pods: that needs `list` on pods and `get` on pods/proxy in unigpu's namespace. Exit "
    "status: 0 shown, 1 no right to read it, 2 the cluster doesn't answer."
)
API_VERSION = f"{names.DOMAIN}/top/v1"
_FIRST_PAUSE = 1.0
"""Seconds between the two readings of which the first rates are made."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "-n", "--namespace", default="", metavar="NAME", help="show only containers of this namespace (default: all)"
    )
    parser.add_argument("--node", default="", metavar="NAME", help="show only this node")
    parser.add_argument(
        "--sort", choices=["memory", "compute"], default="compute", help="what to sort by (default: %(default)s)"
    )
    parser.add_argument("--once", action="store_true", help="show once instead of refreshing")
    options.output(parser, "table", "json")
    options.refresh(parser)
    options.system(parser, names.SYSTEM_NAMESPACE)
    options.connection(parser)


def run(given: argparse.Namespace) -> int:
    """Show; return the exit status."""
    return asyncio.run(_run(given))


async def _run(given: argparse.Namespace) -> int:
    # Not at the top: Kubernetes' client takes longer to load than a translation.
    from cli import api_client, screen
    from cli.top import read

    async with api_client.connected(given.kubeconfig, given.context) as api:
        before: dict[str, Page] = dict((await read.all_pages(api, given.system_namespace, given.node)).pages)
        await asyncio.sleep(min(_FIRST_PAUSE, given.interval))

        async def draw() -> list[str]:
            now = await read.all_pages(api, given.system_namespace, given.node)
            found = chosen(before, now.pages, given.namespace, given.sort)
            before.update(now.pages)
            if given.output == "json":
                return [json.dumps(document(found, now.notes), indent=2)]
            return list(render.lines(found, now.notes, text.style()))

        await screen.refresh(draw, given.interval, times=1 if given.once or given.output == "json" else None)
    return DONE


def chosen(before: dict[str, Page], now: Any, namespace: str, by: str) -> list[Use]:
    """Return the uses of all pages, or of one namespace, sorted."""
    found = (use for node, page in now.items() for use in samples.uses(before.get(node), page))
    return samples.ordered((one for one in found if namespace in ("", one.key[0])), by)


def document(found: list[Use], notes: Any) -> dict[str, Any]:
    """Return the uses for programs. Fields may be added; none is renamed, removed or given another meaning."""
    return {
        "apiVersion": API_VERSION,
        "notes": list(notes),
        "containers": [container(one) for one in found],
    }


def container(one: Use) -> dict[str, Any]:
    """Return one container's use of a GPU."""
    return {
        "namespace": one.key[0],
        "pod": one.key[1],
        "container": one.key[2],
        "node": one.node,
        "gpu": one.gpu,
        "uuid": one.key[3],
        "memoryUsed": one.used,
        "memoryLimit": one.limit or None,
        "computeRatio": None if one.compute is None else round(one.compute, 4),
        "shareRatio": one.share or None,
        "waitingRatio": None if one.waiting is None else round(one.waiting, 4),
        "allocationFailures": one.failures,
    }
