"""Memory is counted on the GPU where it lies, once, and for as long as anything holds it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import Machine

LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1")
TWO = {"CUDA_VISIBLE_DEVICES": "0,1"}
LIMIT = {"CUDA_DEVICE_MEMORY_LIMIT": "1000m"}


@pytest.fixture
def said(machine: Machine, compiled: Callable[..., Path]) -> Callable[..., dict[str, int]]:
    """What the program prints of a case: values by name."""

    def run(*words: str, limited: bool = True, **environment: str) -> dict[str, int]:
        chosen = machine if limited else machine.without_libvgpu()
        lines = chosen.run(compiled("places", *LINKED), *words, **LIMIT | environment).stdout.splitlines()
        return {name: int(value) for name, value in map(str.split, lines)}

    return run


@pytest.mark.parametrize("free_in", ["own", "other"])
def test_memory_in_stream_order_is_of_the_streams_gpu(said: Callable[..., dict[str, int]], free_in: str) -> None:
    assert said("stream", free_in, **TWO) == {"allocations": 2, "refusal": 2, "taken": 512, "freed": 0, "again": 2}


@pytest.mark.parametrize("offset", ["0", "0x400000", "0x1fffffff"])
def test_a_handle_found_by_any_address_holds_the_memory(said: Callable[..., dict[str, int]], offset: str) -> None:
    alone = {"CUDA_VISIBLE_DEVICES": "0"}
    assert said("retained", offset, **alone) == {"mapped": 512, "retained": 512, "more": 2, "released": 0}


def test_one_call_unmaps_neighbours_and_a_refused_one_nothing(said: Callable[..., dict[str, int]]) -> None:
    alone = {"CUDA_VISIBLE_DEVICES": "0"}
    assert said("neighbours", **alone) == {"part": 1, "mapped": 8, "unmapped": 0}


def test_what_a_graph_needs_on_a_second_gpu_is_counted_there(said: Callable[..., dict[str, int]]) -> None:
    limits = TWO | {"CUDA_DEVICE_MEMORY_LIMIT_1": "2g"}
    assert said("graph", "two-gpus", **limits)["launch"] == 0
    assert said("graph", "two-gpus", **limits | {"CUDA_DEVICE_MEMORY_LIMIT_0": "700m"}) == {"launch": 2, "taken": 0}


def test_a_graph_counts_what_it_has_in_use_at_a_time(said: Callable[..., dict[str, int]]) -> None:
    """Allocations and frees in a row take the same addresses, and count once; kept ones count each."""
    alone = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_MEMORY_LIMIT": "700m"}
    if said("graph", "in-a-row", limited=False, **alone)["taken"] != 64:
        pytest.skip("the driver gives each allocation of a graph addresses of its own")
    assert said("graph", "kept", **alone) == {"launch": 2, "taken": 0}
    assert said("graph", "in-a-row", **alone) == {"launch": 0, "taken": 64}


@pytest.mark.parametrize(
    ("case", "answers"),
    [
        (("host-pool", "2"), {"pool": 0, "large": 0, "taken": 0, "destroyed": 0}),
        (("host-pool", "3"), {"pool": 0, "large": 0, "taken": 0, "destroyed": 0}),
        (("default-host-pool",), {"found": 0, "large": 0, "taken": 0}),
    ],
)
def test_a_pool_in_host_memory_takes_nothing_of_the_share(
    said: Callable[..., dict[str, int]], case: tuple[str, ...], answers: dict[str, int]
) -> None:
    if said(*case, limited=False, CUDA_VISIBLE_DEVICES="0") != answers:
        pytest.skip("the driver has no pools in host memory")
    assert said(*case, CUDA_VISIBLE_DEVICES="0") == answers


@pytest.mark.parametrize("kind", ["pinned", "managed"])
@pytest.mark.parametrize("how", ["default", "current", "set"])
def test_a_pool_that_was_not_created_counts_where_it_is(
    said: Callable[..., dict[str, int]], how: str, kind: str
) -> None:
    """Pools that CUDA 13 finds by their location, used from a stream of another GPU."""
    answers = said("found-pool", how, kind, **TWO)
    assert answers == {"found": 0, "allocations": 2, "refusal": 2, "taken": 512, "freed": 0}


def test_locations_of_later_drivers_are_known(machine: Machine, compiled: Callable[..., Path]) -> None:
    """A part of a device's memory, which CUDA 13.5 can name, is memory of that device."""
    assert machine.run(compiled("locations")).stdout.split() == ["none", "2", "host", "host", "host", "none", "3"]


def test_one_of_two_outputs_is_the_shares(said: Callable[..., dict[str, int]]) -> None:
    answers = said("null", CUDA_VISIBLE_DEVICES="0")
    assert (answers["total"], answers["same"]) == (1000, 1)
