"""A node to try the agent on: its kubelet, its API server, its GPUs, and the agent's own process."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.integration.deviceplugin.fake_api import FakeApi
from tests.integration.deviceplugin.fake_kubelet import FakeKubelet
from unigpu import allocations, cdi, grants, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

NODE = "node-a"
PATIENCE = 60.0
"""Seconds after which a condition counts as never met; on a busy machine too."""


def uuid(gpu: int) -> GpuUuid:
    """UUID of one of the test driver's GPUs."""
    return GpuUuid(f"GPU-00000000-0000-0000-0000-{gpu:012d}")


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for the condition."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"never: {what}"
        await asyncio.sleep(0.01)


class Machine:
    """One node."""

    def __init__(self, root: Path, nvml: Path) -> None:
        self.root = root
        self.kubelet = FakeKubelet(root / "kubelet")
        self.api = FakeApi()
        self.sim = root / "sim"
        self.lib = root / "lib"
        self.cdi = root / "cdi"
        self.state = root / "state"
        self.log = root / "log"
        self.image = root / "libvgpu.so"
        self.agent: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.arguments: list[str] = []
        self.driver: list[str] | None = None
        """Arguments that say where the driver is; without them it is the one in `sim` and `lib`."""
        self.sim.mkdir()
        self.lib.mkdir()
        (self.sim / "state").touch()
        for gpu in range(4):
            (self.sim / f"gpu{gpu}").touch()
        (self.sim / "count").write_text("4")
        (self.lib / "libcuda.so.1").touch()
        (self.lib / "libnvidia-ml.so.1").symlink_to(nvml)
        self.image.write_bytes(b"libvgpu, first")

    async def start(self) -> None:
        await self.api.start()
        await self.api.put("nodes", {"metadata": {"name": NODE, "labels": {}}, "status": {"capacity": {"cpu": "4"}}})
        await self.kubelet.start()

    async def stop(self) -> None:
        self.kill()
        await self.kubelet.stop()
        await self.api.stop()

    def run(self) -> None:
        """Start the agent."""
        kubeconfig = self.root / "kubeconfig"
        kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": self.api.url}}],
                    "users": [{"name": "u", "user": {}}],
                }
            )
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(
                [
                    *(sys.executable, "-m", "deviceplugin"),
                    *("--kubelet-dir", str(self.root / "kubelet")),
                    *("--state-dir", str(self.state)),
                    *("--cdi-dir", str(self.cdi)),
                    *("--library", str(self.image)),
                    *self._driver(),
                    *("--kubeconfig", str(kubeconfig)),
                    *("--health-port", str(self.port)),
                    *("--probe-interval", "0.2", "--probe-deadline", "2", "--xid-quiet", "3"),
                    *("--kubelet-poll", "0.05", "--republish-interval", "1"),
                    *self.arguments,
                ],
                env={**environment, "NODE_NAME": NODE},
                stderr=log,
            )

    def kill(self) -> None:
        """kill -9 of the agent."""
        if self.agent is not None:
            with contextlib.suppress(ProcessLookupError):
                self.agent.kill()
            self.agent.wait()
            self.agent = None

    def _alive(self) -> bool:
        assert self.agent is not None
        assert self.agent.poll() is None, "the agent has ended"
        return True

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        status = self.agent.wait(PATIENCE)
        self.agent = None
        return status

    def _driver(self) -> list[str]:
        played = ["--simulator-dir", str(self.sim), "--simulator-lib", str(self.lib)]
        return played if self.driver is None else self.driver

    async def serving(self, slots: int = 64) -> None:
        """Wait until the kubelet has so many healthy slots and the node object its resources."""
        await until(lambda: self._alive() and self.kubelet.healthy == slots, f"{slots} healthy slots")
        await until(lambda: names.RESOURCE_MEMORY in self.node_capacity, "memory in the node's capacity")

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as response,
        ):
            return response.status, await response.text()

    async def answers(self, path: str, status: int, text: str | None = None) -> None:
        """Wait until the agent answers so: what it did itself a moment ago may not be in its answer yet."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (answer := await self.get(path)) != (status, answer[1] if text is None else text):
            assert asyncio.get_running_loop().time() < deadline, f"{path} still answers {answer}"
            await asyncio.sleep(0.01)

    @property
    def node_capacity(self) -> dict[str, str]:
        capacity: dict[str, str] = self.api.node(NODE)["status"]["capacity"]
        return capacity

    async def create(self, name: str, **containers: tuple[Request, list[Share]]) -> dict[str, Any]:
        """A pod that is bound to this node, known to API server and kubelet."""
        pod = make_pod(name, containers)
        await self.api.put("pods", pod)
        await self.kubelet.admit(pod)
        return pod

    async def remove(self, pod: dict[str, Any]) -> None:
        await self.api.delete("pods", pod)
        self.kubelet.forget(pod)

    def folder(self, pod: dict[str, Any], container: str = "main") -> Path:
        return Path(grants.folder(self.state / "containers", pod["metadata"]["uid"], container))

    def edits(self, pod: dict[str, Any], container: str = "main") -> tuple[dict[str, Any], dict[str, str]]:
        """What the container's CDI devices add to it: mounts by path in the container, and environment."""
        mounts: dict[str, Any] = {}
        env: dict[str, str] = {}
        devices = {}
        for file in self.cdi.glob("*.json"):
            document = json.loads(file.read_text())
            devices.update({f"{document['kind']}={device['name']}": device for device in document["devices"]})
        for name in self.kubelet.cdi[pod["metadata"]["uid"], container]:
            edits = devices[name]["containerEdits"]
            mounts.update({mount["containerPath"]: mount for mount in edits["mounts"]})
            env.update(variable.split("=", 1) for variable in edits["env"])
        return mounts, env

    def specs(self) -> list[str]:
        """Slots that have a spec."""
        return [slot for file in self.cdi.glob("*.json") if (slot := cdi.slot_of(file.name)) is not None]


def make_pod(name: str, containers: dict[str, tuple[Request, list[Share]]], node: str = NODE) -> dict[str, Any]:
    """The API server's JSON of a pod that is bound to this node, by an allocation on `node`."""
    specs: dict[str, list[dict[str, Any]]] = {"initContainers": [], "containers": []}
    for container, (request, shares) in containers.items():
        early = request.role is not requests.Role.MAIN
        specs["initContainers" if early else "containers"].append(
            {
                "name": container,
                "resources": {"limits": {names.RESOURCE_VGPU: str(len(shares))}},
                **({"restartPolicy": "Always"} if request.role is requests.Role.SIDECAR else {}),
            }
        )
    request_text = requests.dump(PodRequest({key: value[0] for key, value in containers.items()}))
    allocation = Allocation(node, {key: tuple(value[1]) for key, value in containers.items()})
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-of-{name}",
            "annotations": {
                names.ANNOTATION_REQUEST: request_text,
                names.ANNOTATION_ALLOCATION: allocations.dump(allocation),
            },
        },
        "spec": {"nodeName": NODE, **specs},
        "status": {"phase": "Running"},
    }


def share(gpu: int, memory: int, cores: int = 0) -> Share:
    return Share(uuid(gpu), MiB(memory), Percent(cores))


def one(gpu: int, memory: int, cores: int = 0, **more: Any) -> tuple[Request, list[Share]]:
    """A container's wish for a share of one GPU, and that it got it."""
    request = Request(gpus=1, memory=MiB(memory), cores=Percent(cores), **more)
    return request, [share(gpu, memory, cores)]


@pytest.fixture(scope="session")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose name leaves room for sockets' names, which may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="unigpu-") as folder:
        yield Path(folder)


@pytest.fixture
async def machine(short_path: Path, nvml: Path) -> AsyncIterator[Machine]:
    machine = Machine(short_path, nvml)
    await machine.start()
    try:
        yield machine
    finally:
        await machine.stop()
        if machine.log.exists():
            print(machine.log.read_text())
