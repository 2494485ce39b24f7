"""Nodes, pods and shares in short words, for the tests of placement."""

from unigpu import placement
from unigpu.allocations import Allocation, GpuUsage
from unigpu.fit import GpuState, Node
from unigpu.gpus import Gpu
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Preferences, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

RULES = Rules()
FREE = GpuUsage()
GIB_24 = 24576


def gpu(index: int, memory: int = GIB_24, model: str = "NVIDIA A10", healthy: bool = True, **links: int) -> Gpu:
    return Gpu(
        GpuUuid(f"g{index}"), index, index, model, MiB(memory), healthy, {GpuUuid(k): v for k, v in links.items()}
    )


def used(memory: int = 0, cores: int = 0, shares: int = 1, whole: bool = False) -> GpuUsage:
    return GpuUsage(MiB(memory), cores, shares, whole)


def node(*taken: GpuUsage, **more: object) -> Node:
    """Return a node with one GPU of 24 GiB for each usage."""
    seen = tuple(GpuState(gpu(index), use) for index, use in enumerate(taken))
    return Node("n", seen, **more)  # type: ignore[arg-type]


def pod(*requests: Request, **preferences: object) -> PodRequest:
    """Return a pod with containers c0, c1, …, in the order in which they start."""
    wishes = Preferences(**preferences)  # type: ignore[arg-type]
    return PodRequest({f"c{number}": request for number, request in enumerate(requests)}, wishes)


def share(memory: int = 0, cores: int = 0, gpus: int = 1, **more: object) -> Request:
    return Request(gpus, MiB(memory), cores=Percent(cores), **more)  # type: ignore[arg-type]


def whole(gpus: int = 1, role: Role = Role.MAIN) -> Request:
    return Request(gpus, whole=True, role=role)


def chosen(allocation: Allocation) -> dict[str, str]:
    """Return the GPUs' indexes by container, as digits."""
    return {name: "".join(part.gpu[1:] for part in shares) for name, shares in allocation.containers.items()}


def place(on: Node, wish: PodRequest, rules: Rules = RULES) -> dict[str, str]:
    return chosen(placement.place(on, wish, rules))


FULL_GPU = used(GIB_24, 100, 1, whole=True)
HALF = used(12288, 50)
MIXED = (
    GpuState(gpu(0, 24576, "NVIDIA A10")),
    GpuState(gpu(1, 81920, "NVIDIA A100-SXM4-80GB")),
    GpuState(gpu(2, 24576, "Tesla T4")),
)
