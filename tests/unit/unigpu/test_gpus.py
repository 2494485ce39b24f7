"""The inventory annotation."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigpu import errors, gpus
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

uuids = st.text(min_size=1, max_size=10)
node_gpus = st.builds(
    Gpu,
    uuids,
    st.integers(0, 63),
    st.integers(0, 63),
    st.text(max_size=20),
    st.integers(1, 1 << 20),
    st.booleans(),
    st.dictionaries(uuids, st.integers(0, 1800), max_size=4),
)


@given(st.lists(node_gpus, max_size=8))
def test_the_annotation_reads_back(seen: list[Gpu]) -> None:
    assert gpus.load(gpus.dump(seen)) == tuple(seen)


def test_the_numa_node_is_optional() -> None:
    seen = [Gpu(GpuUuid(f"g{numa}"), 0, 0, "m", MiB(100), numa=numa) for numa in (None, 0, 1)]
    assert gpus.dump(seen).count("numa") == 2
    assert gpus.load(gpus.dump(seen)) == tuple(seen)


def test_foreign_memory_is_optional() -> None:
    text = gpus.dump([Gpu(GpuUuid("a"), 0, 0, "m", MiB(100), foreign=MiB(64)), Gpu(GpuUuid("b"), 1, 1, "m", MiB(100))])
    assert text.count("foreign") == 1
    assert [gpu.foreign for gpu in gpus.load(text)] == [64, 0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"version":2,"gpus":[]}',
        '{"version":1}',
        '{"version":1,"gpus":[{}]}',
        '{"version":1,"gpus":[{"uuid":"a","index":"x","minor":0,"model":"m","memory":1,"healthy":true,"links":{}}]}',
        '{"version":1,"gpus":[{"uuid":"a","index":0,"minor":0,"model":"m","memory":1,"healthy":true,"links":[1]}]}',
    ],
)
def test_malformed_annotations(text: str) -> None:
    with pytest.raises(errors.Malformed):
        gpus.load(text)


@pytest.mark.parametrize("more", [{}, {"later": 1}])
def test_a_node_that_claims_more_gpus_than_a_node_has(more: dict[str, int]) -> None:
    """In the quick form and in one with a field that isn't known."""
    found = [Gpu(GpuUuid(f"GPU-{index}"), index, index, "T4", MiB(1000)) for index in range(gpus.MOST + 1)]
    document = json.loads(gpus.dump(found[:-1])) | more
    assert gpus.load(json.dumps(document)) == tuple(found[:-1])
    document = json.loads(gpus.dump(found)) | more
    with pytest.raises(errors.Malformed, match=r"65 GPUs; accepted: 64 at most"):
        gpus.load(json.dumps(document))
