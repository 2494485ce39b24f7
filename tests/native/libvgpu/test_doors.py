"""Every door by which a program finds the driver leads to the hook, and what we don't know to the driver."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import Machine

LINKED = ("-DLINKED", "-Lbuild/simulator", "-l:libcuda.so.1")
OURS = "libvgpu.so"
DRIVER = "libcuda.so.1"
PER_THREAD = "2"


@pytest.fixture
def limited(machine: Machine) -> dict[str, str]:
    return machine.trial((0, 100))


@pytest.mark.parametrize("door", ["dlsym", "twice", "next", "default", "threads"])
@pytest.mark.parametrize(
    ("symbol", "owner"),
    [
        ("cuMemAlloc_v2", OURS),
        ("cuMemAllocAsync_ptsz", OURS),
        ("cuGetProcAddress_v2", OURS),
        ("cuDriverGetVersion", DRIVER),
        ("cuNobodyKnowsThis", None),
    ],
)
def test_dlsym(
    machine: Machine, limited: dict[str, str], compiled: Callable[..., Path], door: str, symbol: str, owner: str | None
) -> None:
    said = machine.run(compiled("doors"), door, symbol, **limited).stdout.split()
    assert said == ([owner, symbol] if owner else ["nobody", "?"])


@pytest.mark.parametrize(("door", "owner"), [("linked", OURS), ("linked-unknown", DRIVER)])
def test_linked(
    machine: Machine, limited: dict[str, str], compiled: Callable[..., Path], door: str, owner: str
) -> None:
    assert machine.run(compiled("doors", *LINKED), door, "-", **limited).stdout.split()[0] == owner


@pytest.mark.parametrize("door", ["proc", "proc_v2"])
@pytest.mark.parametrize(
    ("plain", "version", "flags", "answer"),
    [
        ("cuMemAlloc", "12000", "0", [OURS, "cuMemAlloc_v2"]),
        ("cuMemAlloc", "3020", "0", [OURS, "cuMemAlloc_v2"]),
        ("cuMemAllocAsync", "12000", "0", [OURS, "cuMemAllocAsync"]),
        ("cuMemAllocAsync", "12000", PER_THREAD, [OURS, "cuMemAllocAsync_ptsz"]),
        ("cuCtxCreate", "11000", "0", [OURS, "cuCtxCreate_v2"]),
        ("cuCtxCreate", "11040", "0", [OURS, "cuCtxCreate_v3"]),
        ("cuGetProcAddress", "11030", "0", [OURS, "cuGetProcAddress"]),
        ("cuGetProcAddress", "12000", "0", [OURS, "cuGetProcAddress_v2"]),
        ("cuDriverGetVersion", "12000", "0", [DRIVER, "cuDriverGetVersion"]),
        ("cuNobodyKnowsThis", "12000", "0", ["nobody", "?"]),
    ],
)
def test_proc_address(
    machine: Machine,
    limited: dict[str, str],
    compiled: Callable[..., Path],
    door: str,
    plain: str,
    version: str,
    flags: str,
    answer: list[str],
) -> None:
    assert machine.run(compiled("doors"), door, plain, version, flags, **limited).stdout.split() == answer


def test_the_driver_comes_out_where_nothing_is_preloaded(machine: Machine, compiled: Callable[..., Path]) -> None:
    done = machine.attempt(compiled("doors"), "dlsym", "cuMemAlloc_v2", preload=False)
    assert done.stdout.split() == [DRIVER, "cuMemAlloc_v2"]
