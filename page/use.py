"""Live use of the GPUs of a few nodes, from their exporters, through the API server with the viewer's own rights."""

import asyncio
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any

from cli.top import command as top
from cli.top import read, samples
from cli.top.samples import Page
from unigpu import errors, names
from unigpu_kube.client import Client

API_VERSION = f"{names.DOMAIN}/use/v1"
MOST_NODES = 50
"""At once: the page shows fewer."""


async def document(
    api: Client, namespace: str, nodes: Sequence[str], before: MutableMapping[str, Page]
) -> dict[str, Any]:
    """Return what GPUs and containers of these nodes use now; rates since the pages in `before`, which it replaces.

    Raises Rejected where the viewer may not ask the exporters, Unavailable.
    """
    rounds = await asyncio.gather(*(_node(api, namespace, node) for node in nodes[:MOST_NODES]))
    notes = [note for one in rounds for note in one.notes]
    pages = {node: page for one in rounds for node, page in one.pages.items()}
    uses = [use for node, page in pages.items() for use in samples.uses(before.get(node), page)]
    before.update(pages)
    return {
        "apiVersion": API_VERSION,
        "notes": notes,
        "gpus": {uuid: _gpu(values) for page in pages.values() for uuid, values in page.gpus.items()},
        "containers": [top.container(use) for use in uses],
    }


async def _node(api: Client, namespace: str, node: str) -> read.Round:
    try:
        return await read.all_pages(api, namespace, node)
    except errors.Denied:
        return read.Round({}, [f"no exporter of unigpu runs on node {node}"])


def _gpu(values: samples.Values) -> dict[str, Any]:
    used = values.get(names.METRIC_GPU_MEMORY_USED)
    busy = values.get(names.METRIC_GPU_UTILISATION)
    return {"memoryUsed": None if used is None else int(used) >> 20, "utilisation": busy}


def chosen(nodes: Iterable[str]) -> list[str]:
    """Return the nodes that a request names, without repetitions."""
    return list(dict.fromkeys(nodes))
