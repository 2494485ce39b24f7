"""Shares that fill a GPU: at the same time, each container has all that it was granted, contexts included."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import PROBE, ROOT, Machine
from unigpu import names
from unigpu.units import GpuUuid

PROFILES = ("t4", "p40", "v100", "a10", "a40", "a100-40", "a100-80", "h100", "l40s", "rtx4090", "rtxpro6000")
SPLITS = {
    "halves": (Fraction(1, 2),) * 2,
    "quarters": (Fraction(1, 4),) * 4,
    "uneven": (Fraction(1, 10), Fraction(2, 10), Fraction(3, 10), Fraction(4, 10)),
}
SIZE = (
    "import pynvml as n; n.nvmlInit(); d = n.nvmlDeviceGetHandleByIndex(0); "
    "m = n.nvmlDeviceGetMemoryInfo(d, n.nvmlMemory_v2); print(m.total - m.reserved >> 20, m.free >> 20)"
)
PAGE_MIB = 2
"""The GPU gives memory in pages: of an odd share, a MiB may be left."""


@pytest.fixture(params=PROFILES)
def gpu(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """A machine with one GPU of the profile."""
    folder = tmp_path / "machine"
    command: list[str | Path] = [ROOT / ".venv/bin/unigpu-sim", "create", "--dir", folder, "--profile", request.param]
    subprocess.run(command, check=True, capture_output=True)
    plain = Machine(tmp_path, (), {names.ENV_SIM_DIR: str(folder)})
    done = plain.without_libvgpu().attempt(PROBE, "--no-take")
    assert done.returncode == 0, done.stderr
    uuids = [GpuUuid(each["uuid"]) for each in json.loads(done.stdout)["gpus"]]
    return Machine(tmp_path, uuids, plain.extra)


def size_mib(machine: Machine) -> tuple[int, int]:
    """What the node agent grants of the GPU, and what is free of it."""
    python = ROOT / ".venv/bin/python"
    grantable, free = map(int, machine.without_libvgpu().run(python, "-W", "ignore", "-c", SIZE).stdout.split())
    return grantable, free


def shares_of(whole: int, split: Sequence[Fraction]) -> list[int]:
    """The shares in MiB, with what rounding leaves in the last."""
    shares = [int(whole * part) for part in split]
    return [*shares[:-1], whole - sum(shares[:-1])]


def containers(gpu: Machine, shares: Sequence[int]) -> Iterator[tuple[Machine, int]]:
    """A machine for each container, with a policy and an account of its own."""
    for place, share in enumerate(shares):
        folder = gpu.folder / f"container-{place}"
        folder.mkdir()
        yield Machine(folder, gpu.uuids, gpu.extra), share


@pytest.mark.parametrize("split", SPLITS)
def test_each_container_has_its_share_while_all_others_have_theirs(gpu: Machine, split: str) -> None:
    grantable, _ = size_mib(gpu)
    shares = shares_of(grantable, SPLITS[split])
    assert sum(shares) == grantable
    with ExitStack() as together:
        holders = []
        for container, share in containers(gpu, shares):
            trial = container.trial((0, share))
            (seen,) = container.probe("--no-take", **trial)
            room = int(seen["info_free_bytes"]) >> 20
            assert share - room < 600, "a context's cost is missing, and no more"
            held = room // PAGE_MIB * PAGE_MIB
            holder = container.start(PROBE, "--no-take", "--hold", str(held), "--stay", **trial)
            together.callback(holder.communicate)
            together.callback(holder.kill)
            holders.append((container, share, room - held, holder))
        for container, share, left, holder in holders:
            assert holder.stdout is not None and holder.stderr is not None
            assert holder.stdout.readline(), holder.stderr.read()
            assert container.total() >> 20 == share - left
        _, free = size_mib(gpu)
        assert free == sum(left for _, _, left, _ in holders) < PAGE_MIB * len(shares)
