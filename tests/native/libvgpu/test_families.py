"""Each family of allocations is held to the share, and the account agrees with what NVML reports for the process."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import ROOT, Machine, mib

LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1")
LIMIT = 2000
ON_CARD = (
    "import sys, pynvml as n; n.nvmlInit(); d = n.nvmlDeviceGetHandleByUUID(sys.argv[1]); "
    "print(sum(p.usedGpuMemory for p in n.nvmlDeviceGetComputeRunningProcesses(d) if p.pid == int(sys.argv[2])))"
)


def on_card(machine: Machine, pid: int) -> int:
    """Bytes that the process has on the GPU, as the host's NVML reports."""
    python = ROOT / ".venv/bin/python"
    done = machine.without_libvgpu().attempt(python, "-W", "ignore", "-c", ON_CARD, machine.uuids[1], str(pid))
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def step(program: "subprocess.Popen[str]") -> list[str]:
    """What the program says next; it then goes on."""
    assert program.stdout is not None and program.stdin is not None
    line = program.stdout.readline().split()
    assert line, f"the program ended: {program.communicate()}"
    return line


def go_on(program: "subprocess.Popen[str]") -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


@pytest.mark.parametrize(
    ("family", "bytes_each"),
    [
        ("linear", 1000),
        ("linear", mib(1)),
        ("linear", mib(3)),
        ("linear", mib(64) + 1),
        ("pitch", mib(5)),
        ("managed", mib(3)),
        ("async", mib(3)),
        ("pool", mib(3)),
        ("array", mib(3)),
        ("volume", mib(4)),
        ("mipmap", mib(3)),
        ("module", mib(3)),
        ("physical", mib(4)),
        ("adjacent", mib(4)),
        ("graph", mib(4)),
    ],
)
def test_none_escapes(machine: Machine, compiled: Callable[..., Path], family: str, bytes_each: int) -> None:
    trial = machine.trial((0, LIMIT), (1, LIMIT)) | {"CUDA_VISIBLE_DEVICES": "1"}
    if bytes_each < 100_000:
        machine.write_policy((0, LIMIT), (1, 450))
    program = machine.start(compiled("families", *LINKED), family, str(bytes_each), **trial)
    limit = mib(450 if bytes_each < 100_000 else LIMIT)
    try:
        said, count, error = step(program)
        assert (said, error) == ("full", "CUDA_ERROR_OUT_OF_MEMORY")
        full = on_card(machine, program.pid)
        assert int(count) > 3
        assert full <= limit, "not a byte over"
        assert full > limit - 2 * bytes_each - mib(34), "and all of the share can be had"
        assert machine.total(1) == full
        kinds = machine.read_usage(2).gpus[1]
        assert kinds.data + kinds.context + kinds.code == full
        assert kinds.context > mib(100)
        if family == "module":
            assert kinds.data == 0, "all of it is code"
        else:
            assert kinds.code == 0
        go_on(program)
        assert step(program)[::2] == ["half", "CUDA_SUCCESS"]
        half = on_card(machine, program.pid)
        assert half < full
        assert machine.total(1) >= half
        if family in ("async", "pool"):
            assert machine.total(1) == half, "what was freed is anybody's once the stream was waited for"
        go_on(program)
        assert step(program)[::2] == ["free", "CUDA_SUCCESS"]
        assert machine.total(1) == on_card(machine, program.pid)
        assert machine.kinds(1) == (kinds.context, 0), "what is freed is no longer of a kind"
        go_on(program)
        assert program.wait(timeout=30) == 0
        assert machine.total(1) == 0, "nothing is left once the context has gone"
        assert machine.kinds(1) == (0, 0)
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("free", ["at once", "in a stream"])
def test_memory_of_a_destroyed_pool_counts_until_the_last_is_freed(
    machine: Machine, compiled: Callable[..., Path], free: str
) -> None:
    trial = machine.trial((0, LIMIT), (1, LIMIT)) | {"CUDA_VISIBLE_DEVICES": "1"}
    program = machine.start(compiled("destroyed_pool", *LINKED), free, **trial)
    try:
        assert step(program) == ["destroyed", "CUDA_SUCCESS", "CUDA_ERROR_OUT_OF_MEMORY"]
        full = machine.total(1)
        assert mib(LIMIT - 64) < full == on_card(machine, program.pid)
        go_on(program)
        assert step(program) == ["one", "CUDA_SUCCESS", "CUDA_ERROR_OUT_OF_MEMORY"]
        assert machine.total(1) == full == on_card(machine, program.pid)
        go_on(program)
        assert step(program) == ["none", "CUDA_SUCCESS", "CUDA_SUCCESS"]
        assert machine.total(1) == on_card(machine, program.pid)
        go_on(program)
        assert program.wait(timeout=30) == 0
        assert machine.total(1) == 0
    finally:
        program.kill()
        program.communicate()


def test_memory_freed_in_a_stream_before_its_pool_went_counts_until_the_stream_was_waited_for(
    machine: Machine, compiled: Callable[..., Path]
) -> None:
    trial = machine.trial((0, LIMIT), (1, LIMIT)) | {"CUDA_VISIBLE_DEVICES": "1"}
    program = machine.start(compiled("destroyed_pool", *LINKED), "before", **trial)
    try:
        assert step(program) == ["destroyed", "CUDA_SUCCESS", "CUDA_ERROR_OUT_OF_MEMORY"]
        assert mib(LIMIT - 64) < machine.total(1) == on_card(machine, program.pid)
        go_on(program)
        assert step(program) == ["none", "CUDA_SUCCESS", "CUDA_SUCCESS"]
        assert machine.total(1) == on_card(machine, program.pid)
        go_on(program)
        assert program.wait(timeout=30) == 0
        assert machine.total(1) == 0
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize(("limit", "by"), [("stack", 1024), ("printf", mib(32)), ("malloc", mib(32))])
def test_what_a_contexts_limits_take_is_held_to_the_share(
    machine: Machine, compiled: Callable[..., Path], limit: str, by: int
) -> None:
    trial = machine.trial((0, LIMIT), (1, LIMIT)) | {"CUDA_VISIBLE_DEVICES": "1"}
    program = machine.start(compiled("context_limits", *LINKED), limit, str(by), **trial)
    try:
        word, count, error = step(program)
        assert (word, error) == ("full", "CUDA_ERROR_OUT_OF_MEMORY")
        assert int(count) > 3
        full = machine.total(1)
        assert full == on_card(machine, program.pid) <= mib(LIMIT), "not a byte over"
        assert full > mib(LIMIT - 400), "and what there is can be had"
        assert machine.kinds(1) == (full, 0), "it is the context's"
        go_on(program)
        assert step(program) == ["again", count, "CUDA_SUCCESS"], "lower, and up again: no more than before"
        assert machine.total(1) == full == on_card(machine, program.pid)
        assert machine.kinds(1) == (full, 0)
        go_on(program)
        assert step(program) == ["absurd", count, "CUDA_ERROR_OUT_OF_MEMORY"]
        assert machine.total(1) == full
        go_on(program)
        assert program.wait(timeout=30) == 0
        assert machine.total(1) == 0, "it goes with the context"
        assert machine.kinds(1) == (0, 0)
    finally:
        program.kill()
        program.communicate()
