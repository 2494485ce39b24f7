"""The probe's lines."""

import json

import pytest

from deviceplugin.node import inventory
from deviceplugin.node.health import GpuReading
from unigpu import errors
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

GPU = {"index": 0, "uuid": "GPU-a", "minor": 0, "model": "Test", "memory": 1000, "links": {"GPU-b": 50}}


def test_read() -> None:
    lost = [{"uuid": "GPU-b", "problem": "lost"}, {"uuid": None, "problem": "lost"}]
    gpu = {**GPU, "bus": "0000:3B:00.0", "recovery": 0}
    line = json.dumps({"gpus": [gpu, *lost], "xids": {"GPU-a": [79, 45]}, "session": "s"}).encode()
    sample = inventory.read(line)
    links = {GpuUuid("GPU-b"): 50}
    assert sample.readings == (
        GpuReading(Gpu(GpuUuid("GPU-a"), 0, 0, "Test", MiB(1000), links=links, bus="0000:3B:00.0"), recovery=0),
        GpuReading(None, "lost", GpuUuid("GPU-b")),
        GpuReading(None, "lost"),
    )
    assert sample.xids == {"GPU-a": (79, 45)}
    assert sample.session == "s"


def test_read_what_the_driver_refuses() -> None:
    with pytest.raises(errors.Unavailable, match="Driver Not Loaded"):
        inventory.read(b'{"error": "Driver Not Loaded"}')


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"gpus": [{}], "xids": {}, "session": ""}',
        b'{"gpus": [], "xids": 1, "session": ""}',
        b'{"gpus": [], "xids": {"GPU-a": 79}, "session": ""}',
        json.dumps({"gpus": [{**GPU, "memory": 0.5}], "xids": {}, "session": ""}).encode(),
        json.dumps({"gpus": [GPU], "xids": {}, "session": ""}).replace("1000", "1e999").encode(),
    ],
)
def test_read_something_else(line: bytes) -> None:
    with pytest.raises(errors.Malformed):
        inventory.read(line)
