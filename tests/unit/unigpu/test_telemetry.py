"""What the driver says of the GPUs, as the node agent hands it on."""

import json

import pytest

from unigpu import errors, telemetry
from unigpu.telemetry import GpuTelemetry, Telemetry
from unigpu.units import Bytes, GpuUuid

FULL = GpuTelemetry(GpuUuid("GPU-a"), 0, "T4", Bytes(16 << 30), Bytes(1 << 20), 5, 41, 63_500, 1590, 5000)
SILENT = GpuTelemetry(GpuUuid("GPU-b"), 1, "T4", Bytes(16 << 30), Bytes(0))


def test_what_is_written_is_read() -> None:
    for said in (Telemetry(), Telemetry((FULL, SILENT), 15)):
        assert telemetry.load(telemetry.dump(said)) == said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "valid": 1, "gpus": []}',
        '{"version": 1, "valid": 1e9, "gpus": []}',
        '{"version": 1, "valid": 1, "gpus": [1]}',
        json.dumps({"version": 1, "valid": 1, "gpus": [telemetry.to_document(FULL) | {"utilisation": 101}]}),
        json.dumps({"version": 1, "valid": 1, "gpus": [telemetry.to_document(FULL) | {"used": -1}]}),
        json.dumps({"version": 1, "valid": 1, "gpus": [telemetry.to_document(FULL) | {"power": None}]}),
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(errors.Malformed):
        telemetry.load(text)


def test_values_that_cannot_be_are_not_handed_on() -> None:
    """0xFFFFFFFF, for instance, is how a driver says that it doesn't know."""
    assert telemetry.plausible("utilisation", 100) == 100
    assert telemetry.plausible("utilisation", 101) is None
    assert telemetry.plausible("power", 0xFFFFFFFF) is None
    assert telemetry.plausible("temperature", -1) is None
    assert telemetry.plausible("temperature", None) is None
