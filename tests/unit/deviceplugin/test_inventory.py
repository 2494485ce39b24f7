"""The probe's lines."""

import json

import pytest

from deviceplugin.node import inventory
from deviceplugin.node.health import GpuReading, Sample
from deviceplugin.node.inventory import Processes, ProcessReading
from unigpu import errors, telemetry
from unigpu.gpus import Gpu
from unigpu.telemetry import GpuTelemetry
from unigpu.units import Bytes, GpuUuid, MiB

SAID = GpuTelemetry(GpuUuid("GPU-a"), 0, "Test", Bytes(1000 << 20), Bytes(0), temperature=41)
GPU = {
    "index": 0,
    "uuid": "GPU-a",
    "minor": 0,
    "model": "Test",
    "memory": 1000,
    "links": {"GPU-b": 50},
    "telemetry": telemetry.to_document(SAID),
}


def test_read() -> None:
    lost = [{"uuid": "GPU-b", "problem": "lost"}, {"uuid": None, "problem": "lost"}]
    gpu = {**GPU, "bus": "0000:3B:00.0", "numa": 1, "recovery": 0}
    line = json.dumps({"gpus": [gpu, *lost], "xids": {"GPU-a": [79, 45]}, "session": "s"}).encode()
    sample = inventory.read(line)
    assert isinstance(sample, Sample)
    links = {GpuUuid("GPU-b"): 50}
    assert sample.readings == (
        GpuReading(
            Gpu(GpuUuid("GPU-a"), 0, 0, "Test", MiB(1000), links=links, bus="0000:3B:00.0", numa=1),
            recovery=0,
            telemetry=SAID,
        ),
        GpuReading(None, "lost", GpuUuid("GPU-b")),
        GpuReading(None, "lost"),
    )
    assert sample.xids == {"GPU-a": (79, 45)}
    assert sample.session == "s"


def test_read_processes() -> None:
    line = b'{"processes": {"GPU-a": [[7, 1024], [8, null]], "GPU-b": []}, "used": {"GPU-a": 2048}}'
    found = inventory.read(line)
    assert isinstance(found, Processes)
    assert found.listed == {"GPU-a": (ProcessReading(7, Bytes(1024)), ProcessReading(8, None)), "GPU-b": ()}
    assert found.used == {"GPU-a": 2048}


def test_read_what_the_driver_refuses() -> None:
    with pytest.raises(errors.Unavailable, match="Driver Not Loaded"):
        inventory.read(b'{"error": "Driver Not Loaded"}')


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"processes": [1]}',
        b'{"processes": {"GPU-a": [7]}}',
        b'{"processes": {"GPU-a": [[-7, 1024]]}}',
        b'{"processes": {"GPU-a": [[7, 1e99]]}}',
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
