"""`kubectl unigpu version`: the versions of this program and of the cluster's parts."""

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli import options, text
from cli.text import Column, Style
from unigpu import names
from unigpu.version import VERSION

DONE = 0
ABOUT = (
    "Shows the version of this program, of the API server, and the images of unigpu's parts in the cluster with the "
    "number of their pods. Exit status: 0 shown, 1 the cluster's parts may not be read, 2 the cluster doesn't answer."
)
SELECTOR = "app.kubernetes.io/name=unigpu"
Json = Mapping[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--client", action="store_true", help="show this program's version alone, without a cluster")
    options.system(parser, names.SYSTEM_NAMESPACE)
    options.output(parser, "table", "json")
    options.connection(parser)


def run(given: argparse.Namespace) -> int:
    """Show; return the exit status."""
    if given.client:
        _print({"client": VERSION}, given.output)
        return DONE
    return asyncio.run(_run(given))


async def _run(given: argparse.Namespace) -> int:
    # Not at the top: Kubernetes' client takes longer to load than a translation.
    from cli import api_client
    from unigpu_kube import objects

    async with api_client.connected(given.kubeconfig, given.context) as api:
        server = await api.get("/version")
        path = f"{objects.NAMESPACES}/{given.system_namespace}/pods"
        pods = await api.short_list(path, {"labelSelector": SELECTOR})
    _print({"client": VERSION, "server": server.get("gitVersion"), "parts": parts(pods)}, given.output)
    return DONE


def parts(pods: Sequence[Json]) -> list[dict[str, Any]]:
    """Return the images of unigpu's parts: part, container, image, and how many pods have it and how many are ready."""
    found: dict[tuple[str, str, str], list[bool]] = {}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue  # a test or a clean-up that has ended
        part = ((pod.get("metadata") or {}).get("labels") or {}).get(names.LABEL_COMPONENT, "?")
        for container in (pod.get("spec") or {}).get("containers") or ():
            key = (part, str(container.get("name")), str(container.get("image")))
            found.setdefault(key, []).append(ready(pod))
    return [
        {"part": part, "container": container, "image": image, "pods": len(states), "ready": sum(states)}
        for (part, container, image), states in sorted(found.items())
    ]


def ready(pod: Json) -> bool:
    """Return whether the pod's condition Ready is true."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _print(document: Json, form: str) -> None:
    if form == "json":
        print(json.dumps(document, indent=2))
        return
    for line in lines(document, text.style()):
        print(line)


def lines(document: Json, style: Style) -> Iterator[str]:
    """Yield the versions as lines."""
    yield f"client  {document['client']}"
    if "server" not in document:
        return
    yield f"server  {document['server']}"
    rows = [
        (one["part"], one["container"], f"{one['ready']}/{one['pods']}", text.safe(one["image"]))
        for one in document["parts"]
    ]
    if not rows:
        yield "No part of unigpu runs in the system namespace; name it with --system-namespace."
        return
    yield ""
    yield from text.table(
        [Column("PART"), Column("CONTAINER"), Column("READY"), Column("IMAGE")], rows, Style(colour=style.colour)
    )
