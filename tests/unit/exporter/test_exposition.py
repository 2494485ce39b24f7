"""Lines as prometheus-client reads and writes them."""

from collections.abc import Iterable, Sequence

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from exporter import exposition
from unigpu import names
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.policy import GpuLimit, Policy
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, MiB, Percent
from unigpu.usage import GpuTotals
from unigpu.walls import Wall

GRANT = Grant(
    namespace="team",
    pod="train-0",
    pod_uid="uid",
    container="main",
    slots=("a", "b"),
    shares=(Share(GpuUuid("GPU-a"), MiB(100), Percent(30)), Share(GpuUuid("GPU-b"), MiB(40960), Percent(100), True)),
    indexes={GpuUuid("GPU-a"): 3, GpuUuid("GPU-b"): 0},
    isolated=False,
    dialect="alibaba",
    models={GpuUuid("GPU-a"): "H100"},
)


@pytest.mark.parametrize("value", ["plain", "", 'quo"te', "back\\slash", "two\nlines", "\\n", "grün"])
def test_labels_survive(value: str) -> None:
    text = f"metric{exposition.labels({'first': value, 'second': 'x'})} 1\n"
    ((sample,),) = (family.samples for family in text_string_to_metric_families(text))
    assert sample.labels == {"first": value, "second": "x"}


def test_usage_lines_are_what_prometheus_client_writes() -> None:
    usages = (
        GpuTotals(Bytes(7), Bytes(9), 2, 1_500_000_000, 250_000_000, 12, True, 40),
        GpuTotals(Bytes(2**53 - 1), Bytes(0), 0),
    )
    lines = exposition.used(exposition.granted(GRANT, None, "node-1"), usages, 3)
    values: dict[exposition.Family, Sequence[float]] = {
        exposition.USED: [usage.used for usage in usages],
        exposition.PEAK: [usage.peak for usage in usages],
        exposition.FAILURES: [usage.refused for usage in usages],
        exposition.SECONDS: [1.5, 0.0],
        exposition.THROTTLED: [0.25, 0.0],
        exposition.WAITS: [12, 0],
        exposition.LAUNCHES: [40, 0],
    }

    class Same(Collector):
        def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
            for family, amounts in values.items():
                kind = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
                same = kind(
                    family.name, family.help, labels=["namespace", "pod", "container", "node", "gpu", "uuid", "model"]
                )
                for share, amount in zip(GRANT.shares, amounts, strict=True):
                    index, model = str(GRANT.indexes[share.gpu]), GRANT.models.get(share.gpu, "")
                    same.add_metric(["team", "train-0", "main", "node-1", index, share.gpu, model], amount)
                yield same

    of_container = b'unigpu_container_processes{namespace="team",pod="train-0",container="main",node="node-1"} 3\n'
    assert lines.processes == of_container
    registry = CollectorRegistry()
    registry.register(Same())
    texts = (lines.memory, lines.peak, lines.failures, lines.seconds, lines.throttled, lines.waits, lines.launches)
    ours = b"".join(family.head + text for family, text in zip(values, texts, strict=True))
    assert parsed(ours) == parsed(generate_latest(registry))


def test_kinds_of_memory_are_lines_of_their_own() -> None:
    usages = (
        GpuTotals(Bytes(100), Bytes(100), 0, context=Bytes(30), code=Bytes(20), unasked=Bytes(5)),
        GpuTotals(Bytes(7), Bytes(7), 0),
    )
    lines = exposition.used(exposition.granted(GRANT, None, "node-1"), usages, 1)
    (family,) = text_string_to_metric_families((exposition.KIND.head + lines.kinds).decode())
    found = {(sample.labels["uuid"], sample.labels["kind"]): sample.value for sample in family.samples}
    assert found == {
        ("GPU-a", "data"): 45,
        ("GPU-a", "context"): 30,
        ("GPU-a", "code"): 20,
        ("GPU-a", "driver"): 5,
        ("GPU-b", "data"): 7,
        ("GPU-b", "context"): 0,
        ("GPU-b", "code"): 0,
        ("GPU-b", "driver"): 0,
    }


@pytest.mark.parametrize(
    ("compute", "cores", "enforced", "told", "ceiling", "now"),
    [
        (ComputePolicy.HARD, 30, True, 0, 30, 30),
        (ComputePolicy.HARD, 30, True, 12.5, 30, 12.5),
        (ComputePolicy.HARD, 30, False, 0, 30, 0),
        (ComputePolicy.SOFT, 30, True, 80, 90, 80),
        (ComputePolicy.SOFT, 30, True, 0, 90, 30),
        (ComputePolicy.SOFT, 0, True, 0, 0, 0),
        (ComputePolicy.UNLIMITED, 30, True, 0, 0, 0),
        (ComputePolicy.UNLIMITED, 0, True, 1, 0, 1),
    ],
)
def test_share_ceiling_and_moment(
    compute: ComputePolicy, cores: int, enforced: bool, told: float, ceiling: int, now: float
) -> None:
    limits = tuple(GpuLimit(share.gpu, Bytes(0), Percent(cores), Percent(90)) for share in GRANT.shares)
    policy = Policy(limits, True, enforced, compute)
    granted = exposition.granted(GRANT, policy, "node-1")
    text = granted.cores + granted.ceiling + exposition.current(granted.gpus, policy, [told, told])
    values = [
        (sample.name, sample.value)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]
    assert values == [
        *[(names.METRIC_CORES_LIMIT, cores / 100)] * 2,
        *[(names.METRIC_CORES_CEILING, ceiling / 100)] * 2,
        *[(names.METRIC_CORES_CURRENT, now / 100)] * 2,
    ]


@pytest.mark.parametrize(
    ("standing", "held", "walls"),
    [
        (tuple(Wall), True, {Wall.LIBVGPU: 1, Wall.DRIVER: 1, Wall.COMPARISON: 1}),
        (tuple(Wall), False, {Wall.LIBVGPU: 0, Wall.DRIVER: 0, Wall.COMPARISON: 1}),
        ((Wall.LIBVGPU,), True, {Wall.LIBVGPU: 1, Wall.DRIVER: 0, Wall.COMPARISON: 0}),
    ],
)
def test_which_walls_hold_a_container(standing: Sequence[Wall], held: bool, walls: dict[Wall, int]) -> None:
    text = exposition.WALL.head + exposition.walls(GRANT, "node-1", standing, held=held)
    (family,) = text_string_to_metric_families(text.decode())
    about = {"namespace": "team", "pod": "train-0", "container": "main", "node": "node-1"}
    assert [(one.labels, one.value) for one in family.samples] == [
        ({**about, "wall": wall}, value) for wall, value in walls.items()
    ]


def parsed(text: bytes) -> list[object]:
    return [
        (family.name, family.type, family.documentation, sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]


def test_without_a_policy_the_limits_are_those_of_the_grant() -> None:
    lines = exposition.granted(GRANT, None, "node-1")
    values = {
        (sample.name, sample.labels["uuid"]): sample.value
        for family in text_string_to_metric_families((lines.limit + lines.cores).decode())
        for sample in family.samples
    }
    assert values == {
        (names.METRIC_MEMORY_LIMIT, "GPU-a"): 100 << 20,
        (names.METRIC_MEMORY_LIMIT, "GPU-b"): 40960 << 20,
        (names.METRIC_CORES_LIMIT, "GPU-a"): 0.3,
        (names.METRIC_CORES_LIMIT, "GPU-b"): 1,
    }


def test_info_says_how_the_share_came_to_be() -> None:
    (family,) = text_string_to_metric_families(
        (exposition.INFO.head + exposition.granted(GRANT, None, "node-1").info).decode()
    )
    assert [sample.labels for sample in family.samples] == [
        {
            "namespace": "team",
            "pod": "train-0",
            "container": "main",
            "node": "node-1",
            "gpu": index,
            "uuid": gpu,
            "model": "H100" if gpu == "GPU-a" else "",
            "pod_uid": "uid",
            "dialect": "alibaba",
            "isolated": "false",
            "memory_enforced": "false",
            "cores_enforced": "false",
            "whole": whole,
        }
        for gpu, index, whole in (("GPU-a", "3", "false"), ("GPU-b", "0", "true"))
    ]
