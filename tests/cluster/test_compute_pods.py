"""Shares of GPU time that pods get on one GPU of the cluster, by the simulated GPU's own record.

It takes minutes and a quiet machine, so only `make check-pods-compute` asks for it (`UNIGPU_SOAK=1`). It prints a line
for each setup.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from cluster import nodes, settings, state
from demo.kube import Kube, wait_for
from simulator import machine
from unigpu import names

NAMESPACE: Final = "compute"
CLIENT: Final = settings.ROOT / "build" / "bench" / "compute"
PATIENCE: Final = 120.0
SETTLED_NS: Final = 1_000_000_000
"""GPU time that all pods together have had when a measurement begins: costs are known, and the agent has set rates."""
WINDOW: Final = float(os.environ.get("UNIGPU_WINDOW", "10"))
"""Seconds of a measurement."""
TURNS: Final = int(os.environ.get("UNIGPU_ROUNDS", "3"))
"""Measurements of a setup. Their median counts: other work of the machine delays the programs in some."""
POINTS: Final = 1.0
MEMORY: Final = 1024
KERNEL: Final = 100_000

pytestmark = pytest.mark.skipif(not os.environ.get("UNIGPU_SOAK"), reason="takes minutes: make check-pods-compute")


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


@pytest.fixture
def gpus(cluster: settings.Layout) -> Path:
    """The folder of the node's simulated GPUs."""
    known = state.load(cluster)
    assert known is not None
    return nodes.simulator_folder(cluster, next(iter(known.nodes)))


def pod(name: str, image: str, share: int, streams: int) -> dict[str, Any]:
    """A pod whose program launches without a pause."""
    run = f"(echo; sleep 100000) | /bench/client load kernel={KERNEL} streams={streams} seconds=100000"
    limits = {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: str(MEMORY), names.RESOURCE_CORES: str(share)}
    container = {
        "name": "main",
        "image": image,
        "command": ["sh", "-c", run],
        "resources": {"limits": limits},
        "volumeMounts": [{"name": "bench", "mountPath": "/bench", "readOnly": True}],
    }
    spec = {
        "containers": [container],
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "bench", "hostPath": {"path": str(CLIENT)}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def owner(pid: int) -> str:
    """Return the pod of a process: the kubelet names it in its environment. Empty: the process has ended."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((each[9:].decode() for each in variables if each.startswith(b"HOSTNAME=")), "")


def busy(folder: Path) -> list[dict[str, int]]:
    """Return for each GPU how long each pod's kernels ran so far, ns."""
    return [
        {owner(process["pid"]): process["busy_ns"] for process in gpu["processes"]}
        for gpu in machine.describe(folder)["gpus"]
    ]


def on_one_gpu(folder: Path, wanted: Sequence[str]) -> dict[str, int] | None:
    """Return the pods' GPU time once all run on the same GPU, and have had enough of it."""
    for gpu in busy(folder):
        if gpu.keys() >= set(wanted) and sum(gpu.values()) >= SETTLED_NS and all(gpu[name] for name in wanted):
            return {name: gpu[name] for name in wanted}
    return None


def measure(folder: Path, wanted: Sequence[str]) -> list[float]:
    """Return the percent of the GPU that each pod has during a window."""
    before, began = on_one_gpu(folder, wanted), time.monotonic_ns()
    time.sleep(WINDOW)
    after, ended = on_one_gpu(folder, wanted), time.monotonic_ns()
    assert before and after, "the pods run on one GPU"
    return [100 * (after[name] - before[name]) / (ended - began) for name in wanted]


@pytest.mark.parametrize("streams", [1, 2, 4, 8])
@pytest.mark.parametrize("shares", [(30, 70), (10, 20, 30, 40)], ids=lambda shares: "-".join(map(str, shares)))
def test_each_pod_has_its_share(
    kube: Kube,
    namespace: str,
    probe_image: str,
    gpus: Path,
    tell: Callable[[str], None],
    shares: Sequence[int],
    streams: int,
) -> None:
    wanted = [f"share-{share}" for share in shares]
    kube.apply([pod(name, probe_image, share, streams) for name, share in zip(wanted, shares, strict=True)], namespace)
    wait_for("all pods launch on one GPU", lambda: on_one_gpu(gpus, wanted), PATIENCE)
    turns = [measure(gpus, wanted) for _ in range(TURNS)]
    had = [statistics.median(turn[place] for turn in turns) for place in range(len(shares))]
    worst = max(abs(got - share) for got, share in zip(had, shares, strict=True))
    load = os.getloadavg()[0]
    tell(
        f"{'/'.join(map(str, shares))} %, {streams} streams of {KERNEL // 1000} µs: "
        f"{' / '.join(f'{share:.1f}' for share in had)}; worst {worst:.1f} points; load {load:.1f}"
    )
    assert worst <= POINTS
