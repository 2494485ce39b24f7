"""Grants on disk."""

import json
from pathlib import PurePosixPath
from typing import Any

import pytest

from unigpu import errors, grants
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.requests import Role
from unigpu.units import GpuUuid, MiB, Percent

GRANT = Grant(
    namespace="team",
    pod="train-0",
    pod_uid="1b4e28ba",
    container="main",
    slots=("slot-0001", "slot-0007"),
    shares=(
        Share(GpuUuid("GPU-a"), MiB(3000), Percent(30)),
        Share(GpuUuid("GPU-b"), MiB(24576), Percent(100), whole=True),
    ),
    indexes={GpuUuid("GPU-a"): 2, GpuUuid("GPU-b"): 0},
    isolated=False,
    dialect="hami",
    role=Role.SIDECAR,
    changes=3,
    boot="ee5c",
)


def test_read_back() -> None:
    assert grants.load(grants.dump(GRANT)) == GRANT


def test_folder() -> None:
    assert grants.folder(PurePosixPath("/root"), "uid", "main") == PurePosixPath("/root/uid/main")


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(grants.dump(GRANT)), **fields})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        changed(version=2),
        changed(shares=[{"gpu": "GPU-a"}]),
        changed(role="chief"),
        changed(indexes=None),
        grants.dump(GRANT)[:100],
    ],
)
def test_not_a_grant(text: str) -> None:
    with pytest.raises(errors.Malformed):
        grants.load(text)
