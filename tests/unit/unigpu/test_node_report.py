"""The agent's report for the exporter."""

import dataclasses

import pytest

from unigpu import errors, node_report
from unigpu.breaches import Key, Kind
from unigpu.gpus import Fault, Gpu
from unigpu.node_report import Entry, Report
from unigpu.units import Bytes, GpuUuid, MiB
from unigpu.walls import Wall, Walls

GPU = GpuUuid("GPU-a")
REPORT = Report(
    (
        Gpu(GPU, 0, 0, "T4", MiB(15360), foreign=MiB(640)),
        Gpu(GpuUuid("GPU-b"), 1, 1, "T4", MiB(15360), healthy=False, fault=Fault("XID 79", "2026-01-01T00:00:00Z")),
    ),
    (
        Entry(Key(Kind.STRANGER, GPU), Bytes(640 << 20), Bytes(0), "2026-01-01T00:00:00Z"),
        Entry(
            Key(Kind.GPU, GPU, "uid", "main"),
            Bytes(1),
            Bytes(0),
            "2026-01-01T00:00:01Z",
            "team",
            "pod",
            ((7, 1 << 40),),
        ),
    ),
    "boot",
    Walls({Wall.DRIVER: "too old"}),
)


def test_what_is_written_is_read() -> None:
    assert node_report.load(node_report.dump(REPORT)) == REPORT
    assert node_report.foreign(REPORT) == {GPU: 640}
    older = dataclasses.replace(REPORT, walls=None)
    assert node_report.load(node_report.dump(older)) == older


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2}', "[]", node_report.dump(REPORT).replace('"gpu"', '"gpo"')])
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(errors.Malformed):
        node_report.load(text)
