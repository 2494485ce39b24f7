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

    def run(*words: str, **environment: str) -> dict[str, int]:
        lines = machine.run(compiled("places", *LINKED), *words, **LIMIT | environment).stdout.splitlines()
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


def test_one_of_two_outputs_is_the_shares(said: Callable[..., dict[str, int]]) -> None:
    answers = said("null", CUDA_VISIBLE_DEVICES="0")
    assert (answers["total"], answers["same"]) == (1000, 1)
