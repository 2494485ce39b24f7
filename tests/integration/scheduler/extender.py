"""The extender as a kube-scheduler sees it: in this process, or in one of its own that can be killed."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from scheduler import app, settings
from tests.integration.scheduler.apiserver import ApiServer
from unigpu import allocations, gpus, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent
from unigpu_kube import client
from unigpu_service import runtime

Json = dict[str, Any]
GPU = MiB(24576)


class Caller:
    """Asks as a kube-scheduler does."""

    def __init__(self, session: aiohttp.ClientSession, verbs: int, probes: int) -> None:
        self._session = session
        self._verbs = f"http://127.0.0.1:{verbs}"
        self._probes = f"http://127.0.0.1:{probes}"

    async def filter(self, pod: Json, nodes: Sequence[str]) -> Json:
        answer: Json = await self._post("filter", {"Pod": pod, "Nodes": None, "NodeNames": list(nodes)})
        return answer

    async def prioritize(self, pod: Json, nodes: Sequence[str]) -> dict[str, int]:
        found: Any = await self._post("prioritize", {"Pod": pod, "Nodes": None, "NodeNames": list(nodes)})
        return {entry["Host"]: entry["Score"] for entry in found}

    async def preempt(self, pod: Json, victims: Json) -> Json:
        """The nodes that remain, with their victims."""
        found = await self._post("preempt", {"Pod": pod, "NodeNameToVictims": None, "NodeNameToMetaVictims": victims})
        return dict(found["NodeNameToMetaVictims"])

    async def bind(self, pod: Json, node: str) -> str:
        """The error, or an empty text."""
        metadata = pod["metadata"]
        body = {
            "PodName": metadata["name"],
            "PodNamespace": metadata["namespace"],
            "PodUID": metadata["uid"],
            "Node": node,
        }
        return str((await self._post("bind", body))["Error"])

    async def _post(self, verb: str, body: Json) -> Any:
        async with self._session.post(f"{self._verbs}/{verb}", json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def raw(self, verb: str, body: bytes) -> int:
        async with self._session.post(f"{self._verbs}/{verb}", data=body) as response:
            return response.status

    async def get(self, path: str) -> tuple[int, str]:
        async with self._session.get(f"{self._probes}{path}") as response:
            return response.status, await response.text()

    async def metric(self, name: str) -> float:
        """The sum of the metric's samples."""
        _, text = await self.get("/metrics")
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    async def ready(self) -> bool:
        return (await self.get("/readyz"))[0] == 200

    async def until(self, name: str, value: float) -> None:
        """Wait for a metric to have that value."""
        await until(lambda: self._has(name, value), f"{name} to be {value}")

    async def _has(self, name: str, value: float) -> bool:
        return await self.metric(name) == value


async def until(condition: Any, what: str, seconds: float = 120.0) -> None:
    """Wait for a condition, an async function or a plain one."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = condition()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s for {what}") from None


@contextlib.asynccontextmanager
async def inside(api: ApiServer, folder: Path, **told: Any) -> AsyncIterator[Caller]:
    """The extender in this process, ready. It waits for answers as long as a test does, however slow the machine is."""
    told = {"api_timeout": 60.0} | told
    config = folder / "kubeconfig"
    config.write_text(api.kubeconfig())
    wishes = settings.Settings(port=0, metrics_port=0, kubeconfig=config, **told)
    async with (
        client.connect(config, deadline=wishes.api_timeout) as connection,
        aiohttp.ClientSession() as session,
        runtime.supervise() as supervisor,
        app.serve(wishes, connection, supervisor) as ports,
    ):
        caller = Caller(session, ports.verbs, ports.probes)
        await until(caller.ready, "the extender to be ready")
        yield caller


class Process:
    """The extender in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, caller: Caller, lines: list[Json]) -> None:
        self.process = process
        self.caller = caller
        self.lines = lines

    async def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def outside(api: ApiServer, folder: Path, *arguments: str) -> AsyncIterator[Process]:
    """The extender in a process of its own, listening; killed in the end if it still runs."""
    config = folder / "kubeconfig"
    config.write_text(api.kubeconfig())
    command = [sys.executable, "-m", "scheduler", "--port", "0", "--metrics-port", "0", "--log-json"]
    process = await asyncio.create_subprocess_exec(
        *command, "--kubeconfig", str(config), *arguments, stderr=asyncio.subprocess.PIPE
    )
    lines: list[Json] = []
    assert process.stderr is not None
    stream = process.stderr

    async def follow() -> None:
        async for line in stream:
            lines.append(json.loads(line))

    reader = asyncio.create_task(follow())
    try:
        async with aiohttp.ClientSession() as session:
            await until(lambda: any(line["message"] == "serving" for line in lines), "the extender to listen")
            said = next(line for line in lines if line["message"] == "serving")
            yield Process(process, Caller(session, said["port"], said["metrics_port"]), lines)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reader


def inventory(node: str, count: int = 4, memory: MiB = GPU) -> dict[str, str]:
    """Annotations of a node with that many GPUs."""
    node_gpus = [Gpu(GpuUuid(f"GPU-{node}-{number}"), number, number, "NVIDIA A10", memory) for number in range(count)]
    return {names.ANNOTATION_INVENTORY: gpus.dump(node_gpus)}


def asking(**request: Any) -> dict[str, str]:
    """Annotations of a pod whose container `main` asks for that."""
    wish = Request(**({"gpus": 1} | request))
    return {names.ANNOTATION_REQUEST: requests.dump(PodRequest({"main": wish}))}


def allocation(pod: Json) -> Allocation | None:
    """What the pod was given."""
    text = pod["metadata"]["annotations"].get(names.ANNOTATION_ALLOCATION)
    return None if text is None else allocations.load(text)


def taken(api: ApiServer) -> dict[str, int]:
    """MiB granted on each GPU, by the API server's pods that have not ended."""
    found: dict[str, int] = {}
    for pod in api.objects["pods"].values():
        given = allocation(pod)
        if given is None or pod["status"]["phase"] in ("Succeeded", "Failed"):
            continue
        for shares in given.containers.values():
            for share in shares:
                found[share.gpu] = found.get(share.gpu, 0) + share.memory
    return found


async def bound_elsewhere(api: ApiServer, name: str, node: str, gpu: str, memory: int) -> None:
    """A pod that somebody else bound and placed."""
    given = Allocation(node, {"main": (Share(GpuUuid(gpu), MiB(memory), Percent(0)),)})
    annotations = asking(memory=memory) | {names.ANNOTATION_ALLOCATION: allocations.dump(given)}
    await api.add_pod(name, annotations, nodeName=node)
