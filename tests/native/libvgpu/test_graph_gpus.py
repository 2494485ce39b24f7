"""A graph whose kernels run on several GPUs is charged to each of them its part."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import ROOT, Machine
from unigpu import policy, usage
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, Percent

MS = 1_000_000
LAUNCHES = 20
KERNEL = 2 * MS
DUE = 2 * KERNEL * LAUNCHES
"""Two kernels on each GPU."""
LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1")


def trial(machine: Machine, cores: Sequence[int]) -> dict[str, str]:
    """A container with these shares of two GPUs; 0: not limited."""
    environment = machine.trial(*((place, 0) for place in range(len(cores))))
    gpus = [
        policy.GpuLimit(machine.uuids[place], Bytes(0), Percent(share), Percent(share))
        for place, share in enumerate(cores)
    ]
    machine.policy_file.write_bytes(policy.pack(policy.Policy(gpus, False, any(cores), ComputePolicy.HARD)))
    machine.usage_file.write_bytes(bytes(usage.SIZE))
    return environment


def run(machine: Machine, program: Path, mode: str, **environment: str) -> Sequence[usage.GpuTotals]:
    started = machine.start(program, str(LAUNCHES), str(KERNEL), mode, **environment)
    assert started.communicate("\n", timeout=60) == (f"done {LAUNCHES}\n", "")
    return machine.read_usage(2).gpus[:2]


@pytest.mark.parametrize("mode", ["chain", "parallel", "child"])
def test_each_gpu_is_charged_its_kernels(machine: Machine, compiled: Callable[..., Path], mode: str) -> None:
    """The last launches may end before their sample is read, and are then charged by what is known."""
    first, second = run(machine, compiled("graph_gpus", *LINKED), mode, **trial(machine, (0, 0)))
    assert first.compute_ns == pytest.approx(DUE, rel=0.2)
    assert second.compute_ns == pytest.approx(DUE, rel=0.2)


def test_a_limit_of_another_gpu_of_the_graph_holds(machine: Machine, compiled: Callable[..., Path]) -> None:
    first, second = run(machine, compiled("graph_gpus", *LINKED), "chain", **trial(machine, (0, 10)))
    assert (first.waits, second.waits > 0) == (0, True)


@pytest.fixture(scope="module")
def ask(compiled: Callable[..., Path]) -> Callable[..., list[int]]:
    sources = [f"libvgpu/compute/{name}.c" for name in ("graph_parts", "gpu_time", "throttle", "token_bucket", "rate")]
    account = [f"libvgpu/shared/{name}.c" for name in ("account", "slot_txn", "usage_file", "family_file", "process")]
    base = [f"libvgpu/base/{name}.c" for name in ("config", "dl", "log")]
    program = compiled("parts", *(str(ROOT / name) for name in (*sources, *account, *base, "libvgpu/shared/policy.c")))

    def answer(question: str) -> list[int]:
        done = subprocess.run([program], input=question + "\n", capture_output=True, text=True, check=True)
        return [int(word) for word in done.stdout.split()]

    return answer


@pytest.mark.parametrize(
    ("nodes", "parts"),
    [  # the GPU of each node's kernel, -1: none; edges; parts of the first two GPUs in thousandths, several or not
        pytest.param("1 0", [1000, 0, 0], id="one GPU"),
        pytest.param("2 -1 -1 0 1", [0, 0, 0], id="no kernels"),
        pytest.param("4 0 1 0 1 0 1 1 2 2 3", [500, 500, 1], id="a chain"),
        pytest.param("4 0 1 0 1 0 2 1 3", [1000, 1000, 1], id="at the same time"),
        pytest.param("4 0 0 0 1 0 1 1 2 2 3", [750, 250, 1], id="more on one"),
        pytest.param("3 0 -1 1 0 1 1 2", [500, 500, 1], id="through a copy"),
        pytest.param("5 1 0 0 0 0 4 3 3 2 2 1 1 0", [800, 200, 1], id="named from the end"),
        pytest.param("3 0 0 1", [1000, 1000, 1], id="never more than all of the time"),
    ],
)
def test_parts(ask: Callable[..., list[int]], nodes: str, parts: list[int]) -> None:
    assert ask(nodes) == parts
