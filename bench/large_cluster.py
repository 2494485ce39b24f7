"""An API server that is played: nodes with GPUs, and pods that share them, as many as a large cluster has.

Its answers are written and compressed beforehand, as a real one sends them, so that what is measured against it is the
reader alone. `python -m bench.large_cluster` serves one until it is interrupted.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from unigpu import allocations, gpus, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Fault, Gpu
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

Json = dict[str, Any]
MEMORY = 81_920
SHARE = 8192
_PAGE = 2000
_MANAGED = {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"}
_FIELDS: Json = {
    f"f:{name}": {".": {}, "f:value": {}} for name in ("labels", "annotations", "spec", "status", "ownerReferences")
}


@dataclass(frozen=True, slots=True)
class Size:
    """How large the cluster is."""

    nodes: int = 5000
    gpus: int = 8
    shares: int = 80_000
    pending: int = 40
    namespaces: int = 60
    faults: int = 12


@dataclass(slots=True)
class LargeCluster:
    """The objects, and the pages that are sent."""

    size: Size
    nodes: list[tuple[str, Json]] = field(default_factory=list)
    """Condition and metadata of each node."""
    pods: list[Json] = field(default_factory=list)
    waiting: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        dice = random.Random(1)
        sick = {dice.randrange(self.size.nodes * self.size.gpus) for _ in range(self.size.faults)}
        for number in range(self.size.nodes):
            self.nodes.append(self._node(number, sick))
        places = self.size.nodes * self.size.gpus
        for number in range(self.size.shares):
            self.pods.append(self._pod(number, number % places, dice))
        self.waiting = [self._waiting(number) for number in range(self.size.pending)]

    def _node(self, number: int, sick: set[int]) -> tuple[str, Json]:
        found = []
        for index in range(self.size.gpus):
            fault = Fault("XID 79", "2026-01-01T00:00:00Z", "boot") if number * self.size.gpus + index in sick else None
            uuid, model = self._uuid(number, index), "NVIDIA A100-SXM4-80GB"
            found.append(Gpu(uuid, index, index, model, MiB(MEMORY), healthy=fault is None, fault=fault))
        about = {
            "name": f"gpu-{number:05}",
            "uid": f"node-{number}",
            "labels": {"kubernetes.io/hostname": f"gpu-{number:05}", "kubernetes.io/os": "linux", "pool": "gpu"},
            "annotations": {names.ANNOTATION_INVENTORY: gpus.dump(found)},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        return ("Ready,SchedulingDisabled" if number % 997 == 5 else "Ready"), about

    def _uuid(self, node: int, index: int) -> GpuUuid:
        return GpuUuid(f"GPU-{node:08x}-0000-4000-8000-{index:012x}")

    def _about(self, number: int, name: str, request: Request) -> Json:
        owner = f"job-{number % 4000}"
        return {
            "name": name,
            "namespace": f"team-{number % self.size.namespaces}",
            "uid": f"{number:08x}-1111-4000-8000-000000000000",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": owner, "pod-template-hash": "5c7d8"},
            "annotations": {names.ANNOTATION_REQUEST: requests.dump(PodRequest({"main": request}))},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner}],
            "managedFields": [{**_MANAGED, "time": "2026-01-01T00:00:00Z", "fieldsV1": _FIELDS}] * 2,
        }

    def _pod(self, number: int, place: int, dice: random.Random) -> Json:
        node, index = divmod(place, self.size.gpus)
        memory, cores = MiB(SHARE * dice.randint(1, 4)), Percent(10 * dice.randint(0, 4))
        request = Request(gpus=1, memory=memory, cores=cores, dialect=("hami", "alibaba", "tencent")[number % 3])
        about = self._about(number, f"worker-{number:06}", request)
        share = Share(self._uuid(node, index), memory, cores)
        chosen = allocations.dump(Allocation(f"gpu-{node:05}", {"main": (share,)}))
        about["annotations"][names.ANNOTATION_ALLOCATION] = chosen
        return about

    def _waiting(self, number: int) -> Json:
        request = Request(gpus=8, whole=True)
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": f"0/{self.size.nodes} nodes are available: {self.size.nodes} container main needs 8 empty GPUs.",
        }
        return {
            "metadata": self._about(number, f"large-{number:03}", request),
            "spec": {"schedulerName": names.SCHEDULER_NAME, "containers": [{"name": "main", "image": "example"}]},
            "status": {"phase": "Pending", "conditions": [condition]},
        }


class Server:
    """Sends the cluster's objects. Tokens other than `TOKEN` may read nothing."""

    TOKEN = "reader"

    def __init__(self, cluster: LargeCluster) -> None:
        columns = [{"name": "Name"}, {"name": "Status"}]
        rows = [{"cells": [about["name"], state], "object": {"metadata": about}} for state, about in cluster.nodes]
        items = [{"metadata": about} for about in cluster.pods]
        self._pages = {
            "nodes": _pages({"kind": "Table", "columnDefinitions": columns}, "rows", rows),
            "pods": _pages({"kind": "PartialObjectMetadataList"}, "items", items),
            "waiting": _pages({"kind": "PodList"}, "items", cluster.waiting),
            "none": _pages({"kind": "List"}, "items", []),
        }
        self.bytes_sent = 0
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.TOKEN}":
            return web.json_response({"message": "Unauthorized", "code": 401}, status=401)
        number = int(request.query.get("continue", "0"))
        body = self._pages[self._list(request)][number]
        self.bytes_sent += len(body)
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        return web.Response(body=body, headers=headers)

    def _list(self, request: web.Request) -> str:
        if request.path == "/api/v1/nodes":
            return "nodes"
        if request.path == "/api/v1/pods":
            return "waiting" if "=Pending" in request.query.get("fieldSelector", "") else "pods"
        return "none"

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread while the context lasts; yield the address."""
        loop, ready = asyncio.new_event_loop(), threading.Event()
        thread = threading.Thread(target=self._serve, args=(loop, ready))
        thread.start()
        try:
            if not ready.wait(60):
                raise RuntimeError("the played API server doesn't start")
            yield f"http://127.0.0.1:{self.port}"
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _serve(self, loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        loop.run_until_complete(runner.setup())
        loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self.port = runner.addresses[0][1]
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()


def kubeconfig(address: str, path: Path) -> Path:
    """Write a kubeconfig for the address."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "large",
        "clusters": [{"name": "large", "cluster": {"server": address}}],
        "users": [{"name": "large", "user": {"token": Server.TOKEN}}],
        "contexts": [{"name": "large", "context": {"cluster": "large", "user": "large"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def _pages(head: Json, key: str, found: Sequence[Json]) -> list[bytes]:
    made: list[bytes] = []
    for start in range(0, max(1, len(found)), _PAGE):
        more = str(len(made) + 1) if start + _PAGE < len(found) else ""
        document = {**head, "metadata": {"resourceVersion": "1", "continue": more}, key: found[start : start + _PAGE]}
        made.append(gzip.compress(json.dumps(document, separators=(",", ":")).encode(), 1))
    return made


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Plays the API server of a large cluster.")
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--shares", type=int, default=80_000)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kubeconfig", type=Path, default=None, help="write a kubeconfig here")
    given = parser.parse_args()
    server = Server(LargeCluster(Size(nodes=given.nodes, shares=given.shares)))
    server.port = given.port
    with server.running() as address:
        if given.kubeconfig is not None:
            kubeconfig(address, given.kubeconfig)
        print(address, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
