"""Lines as prometheus-client reads and writes them."""

from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from exporter import exposition
from unigpu import names
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.units import Bytes, GpuUuid, MiB, Percent
from unigpu.usage import CardUsage

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
)


@pytest.mark.parametrize("value", ["plain", "", 'quo"te', "back\\slash", "two\nlines", "\\n", "grün"])
def test_labels_survive(value: str) -> None:
    text = f"metric{exposition.labels({'first': value, 'second': 'x'})} 1\n"
    ((sample,),) = (family.samples for family in text_string_to_metric_families(text))
    assert sample.labels == {"first": value, "second": "x"}


def test_usage_lines_are_what_prometheus_client_writes() -> None:
    usages = (CardUsage(Bytes(7), Bytes(9), 2), CardUsage(Bytes(2**53 - 1), Bytes(0), 0))
    used, refused = exposition.used(exposition.granted(GRANT, None).cards, usages)

    class Same(Collector):
        def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
            labels = ["namespace", "pod", "container", "gpu", "index"]
            gauge = GaugeMetricFamily(exposition.USED.name, exposition.USED.help, labels=labels)
            counter = CounterMetricFamily(exposition.REFUSED.name, exposition.REFUSED.help, labels=labels)
            for share, usage in zip(GRANT.shares, usages, strict=True):
                spelled = ["team", "train-0", "main", share.gpu, str(GRANT.indexes[share.gpu])]
                gauge.add_metric(spelled, usage.used)
                counter.add_metric(spelled, usage.refused)
            yield gauge
            yield counter

    registry = CollectorRegistry()
    registry.register(Same())
    ours = exposition.USED.head + used + exposition.REFUSED.head + refused
    assert parsed(ours) == parsed(generate_latest(registry))


def parsed(text: bytes) -> list[object]:
    return [
        (family.name, family.type, family.documentation, sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]


def test_without_a_policy_the_limits_are_those_of_the_grant() -> None:
    lines = exposition.granted(GRANT, None)
    values = {
        (sample.name, sample.labels["gpu"]): sample.value
        for family in text_string_to_metric_families((lines.limit + lines.cores).decode())
        for sample in family.samples
    }
    assert values == {
        (names.METRIC_MEMORY_LIMIT, "GPU-a"): 100 << 20,
        (names.METRIC_MEMORY_LIMIT, "GPU-b"): 40960 << 20,
        (names.METRIC_CORES_LIMIT, "GPU-a"): 30,
        (names.METRIC_CORES_LIMIT, "GPU-b"): 100,
    }


def test_info_says_how_the_share_came_to_be() -> None:
    (family,) = text_string_to_metric_families((exposition.INFO.head + exposition.granted(GRANT, None).info).decode())
    assert [sample.labels for sample in family.samples] == [
        {
            "namespace": "team",
            "pod": "train-0",
            "container": "main",
            "gpu": gpu,
            "index": index,
            "pod_uid": "uid",
            "dialect": "alibaba",
            "isolated": "false",
            "memory_enforced": "false",
            "cores_enforced": "false",
            "whole": whole,
        }
        for gpu, index, whole in (("GPU-a", "3", "false"), ("GPU-b", "0", "true"))
    ]
