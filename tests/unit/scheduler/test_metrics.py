"""The metrics page: figures that follow the ledger, compared with a count of everything."""

import random

from prometheus_client import parser

from scheduler import fleet
from scheduler.metrics import Metrics
from unigpu import fragmentation, names
from unigpu.allocations import GpuUsage
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.units import GpuUuid, MiB

GIB = 1024


def page(of: CapacityLedger) -> dict[str, dict[tuple[str, ...], float]]:
    return read(Metrics(of, lambda: 3, 16))


def read(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples by name and label values, in the order of the labels' names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parser.text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def node_gpus(name: str, count: int = 2) -> list[Gpu]:
    return [Gpu(GpuUuid(f"{name}-{index}"), index, index, "X", MiB(16 * GIB)) for index in range(count)]


def booking(name: str, index: int, memory: int, cores: int = 0, confirmed: bool = True) -> Booking:
    return Booking("default/p", name, {GpuUuid(f"{name}-{index}"): GpuUsage(MiB(memory), cores, 1)}, confirmed)


def test_a_page() -> None:
    of = CapacityLedger()
    of.set_node("n1", node_gpus("n1"), NodeMode.MIXED, None, frozenset({GpuUuid("n1-1")}))
    of.set_node('n"2', node_gpus('n"2'), NodeMode.MIXED, None)
    of.book("1", booking("n1", 0, 12 * GIB, 50, confirmed=False))
    of.book("2", booking('n"2', 0, 12 * GIB, 50))
    found = page(of)
    assert found[names.METRIC_SCHEDULER_NODES] == {(): 2}
    assert found[names.METRIC_SCHEDULER_GPUS] == {(): 4}
    assert found[names.METRIC_SCHEDULER_PODS] == {(): 2}
    assert found[names.METRIC_SCHEDULER_ASSUMED] == {(): 1}
    assert found[names.METRIC_SCHEDULER_CORDONED] == {("n1",): 1}
    assert found[names.METRIC_SCHEDULER_TYPICAL_MEMORY] == {(): 12 * GIB << 20}
    assert found[names.METRIC_SCHEDULER_TYPICAL_CORES] == {(): 0.5}
    assert found[names.METRIC_SCHEDULER_FREE_MEMORY] == {("share",): 24 * GIB << 20, ("gpu",): 24 * GIB << 20}
    assert found[names.METRIC_SCHEDULER_FREE_CORES] == {("share",): 2, ("gpu",): 2}
    ratios = found[names.METRIC_SCHEDULER_FRAGMENTATION]
    assert round(ratios["share", "memory"], 4) == round(8 / 24, 4)
    assert round(ratios["gpu", "cores"], 4) == 0.5
    by_node = found[names.METRIC_SCHEDULER_NODE_FRAGMENTATION]
    assert by_node["share", "n1", "memory"] == 1
    assert by_node["share", 'n"2', "memory"] == 0.2
    by_gpu = found[names.METRIC_SCHEDULER_GPU_FRAGMENTATION]
    assert by_gpu == {
        ("0", "n1", "memory", "n1-0"): 1,
        ("0", "n1", "cores", "n1-0"): 1,
        ("0", 'n"2', "memory", 'n"2-0'): 1,
        ("0", 'n"2', "cores", 'n"2-0'): 1,
    }
    assert found[names.METRIC_SCHEDULER_RELISTS] == {(): 3}


def test_an_empty_cluster() -> None:
    found = page(CapacityLedger())
    assert found[names.METRIC_SCHEDULER_NODES] == {(): 0}
    assert set(found[names.METRIC_SCHEDULER_FRAGMENTATION].values()) == {0}
    assert names.METRIC_SCHEDULER_NODE_FRAGMENTATION not in found


def test_figures_that_follow_changes_are_those_of_a_fresh_count() -> None:
    chance = random.Random(5)
    of = CapacityLedger()
    following = fleet.Fleet(of, 16)
    for _ in range(300):
        name = f"n{chance.randrange(6)}"
        match chance.randrange(6):
            case 0:
                cordoned = frozenset(gpu.uuid for gpu in node_gpus(name) if chance.random() < 0.3)
                of.set_node(name, node_gpus(name, chance.randrange(3)), NodeMode.MIXED, None, cordoned)
            case 1:
                of.remove_node(name)
            case 2:
                of.release(str(chance.randrange(30)))
            case _:
                memory = chance.randrange(1, 8) * GIB
                of.book(
                    str(chance.randrange(30)), booking(name, chance.randrange(2), memory, 20, chance.random() < 0.5)
                )
        following.refresh()
        nodes = [node for name in of.nodes() if (node := of.node(name)) is not None]
        expected = fragmentation.total(fragmentation.of_node(node, following.typical, 16) for node in nodes)
        assert following.fragmentation == expected
        assert len("".join(following.gpu_lines()).splitlines()) == sum(
            (of_gpu.memory > 0) + (of_gpu.cores > 0)
            for node in nodes
            for of_gpu in (fragmentation.of_gpu(state, following.typical, 16) for state in node.gpus)
        )
        assert following.nodes == len(nodes)
        assert following.gpus == sum(len(node.gpus) for node in nodes)
        assert sum(following.cordoned.values()) == sum(state.cordoned for node in nodes for state in node.gpus)
        assert of.assumed == sum(not booking.confirmed for _, booking in of.bookings())
        assert of.pods == len(list(of.bookings()))
