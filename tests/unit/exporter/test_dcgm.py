"""dcgm-exporter's names: units, labels, and the rate that becomes a utilisation."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter import dcgm
from exporter.dcgm import DcgmNames, Share
from exporter.exposition import Family
from tests.unit.exporter.conftest import GPUS, Tree
from unigpu.telemetry import GpuTelemetry, Telemetry
from unigpu.units import Bytes
from unigpu.usage import GpuTotals

MIB = 1 << 20
SECOND = 1_000_000_000


def totals(used: int, seconds: float) -> GpuTotals:
    return GpuTotals(Bytes(used * MIB), Bytes(0), 0, compute_ns=int(seconds * SECOND))


def values(page: bytes) -> dict[str, dict[str, float]]:
    """By name and container."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[sample.labels.get("pod", sample.labels["gpu"])] = sample.value
    return found


@pytest.fixture
def reading() -> Telemetry:
    gpus = (
        GpuTelemetry(GPUS[0], 0, "T4", Bytes(16384 * MIB), Bytes(0), 5, 41, 63_500, 1590, 5000),
        GpuTelemetry(GPUS[1], 1, "T4", Bytes(1), Bytes(0), 5),
    )
    return Telemetry(gpus, 15)


def test_memory_is_that_of_the_share(tmp_path_factory: pytest.TempPathFactory, reading: Telemetry) -> None:
    tree = Tree(tmp_path_factory.mktemp("tree"))
    shares = [
        Share(tree.grant("limited"), GPUS[0], Bytes(2048 * MIB), totals(512, 0)),
        Share(tree.grant("free"), GPUS[0], Bytes(0), totals(384, 0)),
        Share(tree.grant("beyond"), GPUS[0], Bytes(256 * MIB), totals(300, 0)),
    ]
    found = values(DcgmNames("n", gpus=False).lines(shares, reading, 0.0))
    assert found["DCGM_FI_DEV_FB_USED"] == {"limited": 512, "free": 384, "beyond": 300}
    assert found["DCGM_FI_DEV_FB_FREE"] == {"limited": 1536, "free": 16000, "beyond": 0}
    blind = values(DcgmNames("n", gpus=True).lines(shares, None, 0.0))
    assert blind["DCGM_FI_DEV_FB_FREE"] == {"limited": 1536, "beyond": 0}, "the GPU's size isn't known"
    assert not [name for name in blind if "TEMP" in name]


def test_utilisation_is_gpu_time_between_two_pages(tree_of_one: Share) -> None:
    names = DcgmNames("n", gpus=False)
    said = []
    for now, seconds in ((0.0, 5.0), (10.0, 9.0), (10.2, 9.2), (20.0, 29.0), (30.0, 29.0), (40.0, 1.0)):
        share = Share(tree_of_one.grant, tree_of_one.gpu, Bytes(0), totals(0, seconds))
        found = values(names.lines([share], None, now))
        said.append((found["DCGM_FI_DEV_GPU_UTIL"]["train"], found["DCGM_FI_PROF_GR_ENGINE_ACTIVE"]["train"]))
    assert said == [(0, 0), (40, 0.4), (40, 0.4), (100, 1), (0, 0), (0, 0)]
    names.lines([], None, 41.0)
    assert not names._seen, "a container that has ended is forgotten"


@pytest.fixture
def tree_of_one(tmp_path_factory: pytest.TempPathFactory) -> Share:
    return Share(Tree(tmp_path_factory.mktemp("tree")).grant(), GPUS[0], Bytes(0), totals(0, 0))


def test_gpus_are_said_once_and_only_what_they_say(tree_of_one: Share, reading: Telemetry) -> None:
    found = values(DcgmNames("n", gpus=True).lines([tree_of_one, tree_of_one], reading, 0.0))
    assert found["DCGM_FI_DEV_GPU_TEMP"] == {"0": 41}
    assert found["DCGM_FI_DEV_POWER_USAGE"] == {"0": 63.5}
    assert (found["DCGM_FI_DEV_SM_CLOCK"], found["DCGM_FI_DEV_MEM_CLOCK"]) == ({"0": 1590}, {"0": 5000})


def test_every_family_has_the_name_of_a_default_counter() -> None:
    families = [value for value in vars(dcgm).values() if isinstance(value, Family)]
    assert len(families) == 8 and all(one.name.startswith("DCGM_FI_") for one in families)
