"""Limits on memory as a program meets them, on a simulated machine of four GPUs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import LIBRARY, PROBE, ROOT, Machine, mib
from unigpu import names

CARD_MIB = 24564
"""What the driver reports of an RTX 4090."""


def context_mib(machine: Machine, limit: int) -> int:
    """What the driver takes for a context: what is missing of the limit when a program begins."""
    (gpu,) = machine.probe("--no-take", CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT=f"{limit}m")
    missing = limit * (1 << 20) - int(gpu["info_free_bytes"])
    assert missing % (1 << 20) == 0
    return missing >> 20


def test_a_share_is_refused_beyond_its_last_byte(machine: Machine) -> None:
    trial = machine.trial((0, 2560))
    context = context_mib(machine, 2560)
    assert 100 < context < 1000
    (gpu,) = machine.probe("--step", "1", CUDA_VISIBLE_DEVICES="0", **trial)
    assert gpu["total_bytes"] == gpu["info_total_bytes"] == gpu["nvml_total_bytes"] == mib(2560)
    assert gpu["info_free_bytes"] == mib(2560 - context)
    assert (gpu["taken_mib"], gpu["error"]) == (2560 - context, "CUDA_ERROR_OUT_OF_MEMORY")
    used = machine.read_usage()
    assert used.gpus[0].peak == mib(2560)
    assert used.gpus[0].refused == 1


@pytest.mark.parametrize("order", ["0,1,2,3", "3,1", "2"])
def test_limits_follow_the_card_and_not_its_place(machine: Machine, order: str) -> None:
    limits = {3: 1000, 1: 2000, 0: 3000, 2: 4000}
    trial = machine.trial(*limits.items())
    visible = [int(word) for word in order.split(",")]
    gpus = machine.probe("--no-take", CUDA_VISIBLE_DEVICES=order, **trial)
    assert [gpu["uuid"] for gpu in gpus] == [machine.uuids[index] for index in visible]
    assert [gpu["total_bytes"] for gpu in gpus] == [mib(limits[index]) for index in visible]
    assert [gpu["nvml_total_bytes"] for gpu in gpus] == [mib(limits[index]) for index in visible]


def test_memory_that_is_not_enforced_is_the_whole_card(machine: Machine) -> None:
    trial = machine.trial((0, 3072), enforced=False)
    (gpu,) = machine.probe("--step", "1024", CUDA_VISIBLE_DEVICES="0", **trial)
    kept_by_the_driver = mib(347)
    assert int(gpu["total_bytes"]) + kept_by_the_driver == gpu["nvml_total_bytes"]
    assert int(gpu["total_bytes"]) > mib(24000)
    assert int(gpu["taken_mib"]) > 20000
    assert machine.read_usage().gpus[0].peak > mib(20000), "what isn't limited is counted all the same"


def test_the_environment_tightens_and_never_loosens(machine: Machine) -> None:
    trial = machine.trial((0, 2000), (1, 2000))
    gpus = machine.probe(
        "--no-take",
        CUDA_VISIBLE_DEVICES="0,1",
        CUDA_DEVICE_MEMORY_LIMIT="1g",
        CUDA_DEVICE_MEMORY_LIMIT_1="900g",
        **trial,
    )
    assert [gpu["total_bytes"] for gpu in gpus] == [mib(1024), mib(2000)]


def test_alone_with_nothing_but_the_environment(machine: Machine) -> None:
    (gpu,) = machine.probe(CUDA_VISIBLE_DEVICES="2", CUDA_DEVICE_MEMORY_LIMIT_2="1500m")
    assert gpu["total_bytes"] == mib(1500)
    assert gpu["taken_mib"] == 1500 - context_mib(machine, 1500)
    (other,) = machine.probe("--no-take", CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_MEMORY_LIMIT_2="1500m")
    assert int(other["total_bytes"]) > mib(24000)


def test_with_nothing_said_nothing_is_touched(machine: Machine) -> None:
    done = machine.run(PROBE, "--no-take")
    assert done.stdout == machine.without_libvgpu().attempt(PROBE, "--no-take").stdout
    assert done.stderr == ""
    assert not machine.usage_file.exists()


def test_programs_share_the_account_that_the_cache_names(machine: Machine) -> None:
    alone = {
        names.ENV_SHARED_CACHE: str(machine.folder / "shared.cache"),
        "CUDA_DEVICE_MEMORY_LIMIT": "3000m",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    context = context_mib(machine, 3000)
    holder = machine.start(PROBE, "--no-take", "--hold", "1000", "--stay", **alone)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        (gpu,) = machine.probe(**alone)
        assert gpu["taken_mib"] == 3000 - 1000 - 2 * context
    finally:
        holder.kill()
        holder.communicate()
    (gpu,) = machine.probe(**alone)
    assert gpu["taken_mib"] == 3000 - context, "a killed program's memory is there for the next"


def test_a_limit_lowered_below_use_refuses_new_memory_and_nothing_else(machine: Machine) -> None:
    trial = machine.trial((0, 4000)) | {"CUDA_VISIBLE_DEVICES": "0"}
    holder = machine.start(PROBE, "--no-take", "--hold", "3000", "--stay", **trial)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        machine.write_policy((0, 3950), sequence=2)
        (gpu,) = machine.probe("--no-take", **trial | {"CUDA_DEVICE_MEMORY_LIMIT": "9g"})
        assert gpu["total_bytes"] == mib(3950)
        machine.write_policy((0, 1000), sequence=4)
        refused = machine.attempt(PROBE, **trial)
        assert (refused.returncode, "CUDA_ERROR_OUT_OF_MEMORY" in refused.stderr) == (1, True)
        machine.write_policy((0, 6000), sequence=6)
        (gpu,) = machine.probe(**trial)
        assert gpu["taken_mib"] == 6000 - 3000 - 2 * context_mib(machine, 6000)
    finally:
        holder.kill()
        holder.communicate()


def test_first_contexts_at_once_in_a_small_share(machine: Machine) -> None:
    context = context_mib(machine, 3000)
    trial = machine.trial((0, 8 * context + 8)) | {"CUDA_VISIBLE_DEVICES": "0"}
    together = [machine.start(PROBE, "--no-take", "--seconds", "1", **trial) for _ in range(8)]
    said = [process.communicate(timeout=60) for process in together]
    assert [process.returncode for process in together] == [0] * 8, said


def test_a_container_sees_its_own_processes(machine: Machine) -> None:
    trial = machine.trial((0, 3000)) | {"CUDA_VISIBLE_DEVICES": "0"}
    stranger = machine.start(PROBE, "--no-take", "--stay", CUDA_VISIBLE_DEVICES="0")
    holder = machine.start(PROBE, "--no-take", "--hold", "500", "--stay", **trial)
    try:
        assert stranger.stdout is not None and holder.stdout is not None
        stranger.stdout.readline()
        holder.stdout.readline()
        script = (
            "import pynvml as n; n.nvmlInit(); d = n.nvmlDeviceGetHandleByIndex(0); "
            "m = n.nvmlDeviceGetMemoryInfo(d); w = n.nvmlDeviceGetMemoryInfo(d, n.nvmlMemory_v2); "
            "p = n.nvmlDeviceGetComputeRunningProcesses(d); "
            "print(m.total, m.used, w.total, w.used, w.reserved, [(q.pid, q.usedGpuMemory) for q in p])"
        )
        python = LIBRARY.parents[2] / ".venv/bin/python"
        said = machine.run(python, "-W", "ignore", "-c", script, **trial).stdout
        used = mib(500 + context_mib(machine, 3000))
        assert said.split("[")[0].split() == [str(number) for number in (mib(3000), used, mib(3000), used, 0)]
        assert f"[({holder.pid}, {used})]" in said
    finally:
        for process in (stranger, holder):
            process.kill()
            process.communicate()


LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1", "-l:libnvidia-ml.so.1")


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("1Gi", mib(1024)),
        ("1024Mi", mib(1024)),
        ("1.5g", mib(1536)),
        ("1.5GiB", mib(1536)),
        (" 1g", mib(1024)),
        ("1048576Ki", mib(1024)),
        ("1073741824", mib(1024)),
        ("1073741824b", mib(1024)),
        ("0.001t", (1 << 40) // 1000),
    ],
)
def test_limits_as_people_write_them(machine: Machine, text: str, bytes_: int) -> None:
    (gpu,) = machine.probe("--no-take", CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT=text)
    assert gpu["total_bytes"] == bytes_


@pytest.mark.parametrize("text", ["1Gib/s", "1.5", "1.g", ".5g", "-1g", "one", "1 g", "99999999999p", "1e9", "1Gii"])
def test_a_limit_that_cant_be_read_refuses(machine: Machine, text: str) -> None:
    done = machine.attempt(PROBE, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"CUDA_DEVICE_MEMORY_LIMIT = {text}: not a size, so GPU memory is refused; accepted: 300m" in done.stderr
    assert "CUDA_ERROR_OUT_OF_MEMORY" in done.stderr


@pytest.mark.parametrize("word", ["MEMORY", "SM"])
def test_a_limit_that_names_no_gpu_says_so_once(machine: Machine, word: str) -> None:
    for suffix, accepted in [
        ("_4", f"CUDA_DEVICE_{word}_LIMIT_4: no effect, as there is no GPU 4; accepted: _0 to _3"),
        ("_16", f"CUDA_DEVICE_{word}_LIMIT_16: no effect; accepted: CUDA_DEVICE_{word}_LIMIT, or for one GPU "),
        ("_GPU0", f"CUDA_DEVICE_{word}_LIMIT_GPU0: no effect; accepted: CUDA_DEVICE_{word}_LIMIT, or for one GPU "),
    ]:
        limits = {"CUDA_DEVICE_MEMORY_LIMIT": "3g", f"CUDA_DEVICE_{word}_LIMIT{suffix}": "40"}
        (line,) = machine.run(PROBE, "--no-take", CUDA_VISIBLE_DEVICES="0,1", **limits).stderr.splitlines()
        assert accepted in line


def test_a_limit_above_that_of_a_policy_by_hand_says_so(machine: Machine) -> None:
    limits = machine.trial((0, 1000)) | {"CUDA_DEVICE_MEMORY_LIMIT_0": "2g"}
    (line,) = machine.run(PROBE, "--no-take", CUDA_VISIBLE_DEVICES="0", **limits).stderr.splitlines()
    assert line.endswith(
        "CUDA_DEVICE_MEMORY_LIMIT_0 = 2048 MiB: no effect on GPU 0, where the container's limit is 1000 MiB; "
        f"to change that: write it into the policy {machine.policy_file}"
    )


def test_a_share_of_time_that_cant_be_read_refuses_that_gpu_alone(machine: Machine) -> None:
    done = machine.attempt(PROBE, CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_SM_LIMIT_1="half")
    assert (done.returncode, "CUDA_DEVICE_SM_LIMIT_1 = half: not a percentage" in done.stderr) == (1, True)
    (gpu,) = machine.probe("--no-take", CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_SM_LIMIT_1="half")
    assert int(gpu["total_bytes"]) > mib(24000)


def test_a_context_that_doesnt_fit_says_what_it_needs(machine: Machine) -> None:
    done = machine.attempt(PROBE, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT="100m")
    context = context_mib(machine, 3000)
    assert done.returncode == 1
    assert f"a context on GPU 0 needs {context} MiB; the limit is 100 MiB, of which " in done.stderr


def test_a_context_that_doesnt_fit_is_made_once(machine: Machine) -> None:
    """A program that tries again and again never looks as if it had more than it was granted."""
    trial = machine.trial((3, 100)) | {"CUDA_VISIBLE_DEVICES": "3"}
    first = machine.attempt(PROBE, **trial)
    assert (first.returncode, "CUDA_ERROR_OUT_OF_MEMORY" in first.stderr) == (1, True)
    machine.simulator("set", "--gpu", "3", "--compute-mode", "prohibited")
    try:
        asked = machine.without_libvgpu().attempt(PROBE, **trial)
        assert (asked.returncode, "OUT_OF_MEMORY" in asked.stderr) == (1, False), (
            "what the driver answers is another error"
        )
        second = machine.attempt(PROBE, **trial)
        assert (second.returncode, "CUDA_ERROR_OUT_OF_MEMORY" in second.stderr) == (1, True)
    finally:
        machine.simulator("set", "--gpu", "3", "--compute-mode", "default")
    machine.write_policy((3, 3000), sequence=2)
    machine.run(PROBE, "--no-take", **trial)


def test_the_first_refusal_says_so_once(machine: Machine) -> None:
    done = machine.run(PROBE, "--step", "100", CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT="2g")
    (line,) = done.stderr.splitlines()
    assert "GPU 0: 100 MiB are refused; of the limit of 2048 MiB, " in line
    silent = machine.run(PROBE, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT="2g", UNIGPU_LOG="none")
    assert silent.stderr == ""


def test_nvml_reports_no_more_free_than_the_gpu_has(machine: Machine) -> None:
    """Next to another program that has filled the GPU, as cuMemGetInfo does."""
    script = (
        "import pynvml as n; n.nvmlInit(); d = n.nvmlDeviceGetHandleByIndex(0); "
        "m = n.nvmlDeviceGetMemoryInfo(d); w = n.nvmlDeviceGetMemoryInfo(d, n.nvmlMemory_v2); "
        "print(m.total >> 20, m.free >> 20, w.total >> 20, w.free >> 20)"
    )
    stranger = machine.start(PROBE, "--no-take", "--hold", "20000", "--stay", CUDA_VISIBLE_DEVICES="0")
    try:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        limited = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_MEMORY_LIMIT": "10g"}
        python = ROOT / ".venv/bin/python"
        total, free, later_total, later_free = map(
            int, machine.run(python, "-W", "ignore", "-c", script, **limited).stdout.split()
        )
        assert (total, later_total) == (10240, 10240)
        assert free <= 24564 - 20000
        assert later_free <= 24564 - 20000
    finally:
        stranger.kill()
        stranger.communicate()


def test_the_smallest_stacks_are_enough(machine: Machine, compiled: Callable[..., Path]) -> None:
    program = compiled("small_stack", *LINKED)
    for trial in ({"CUDA_DEVICE_MEMORY_LIMIT": "2g"}, machine.trial((0, 2000))):
        done = machine.run(program, "16384", CUDA_VISIBLE_DEVICES="0", **trial)
        assert done.stdout == "0\n"


def test_nvmls_sessions_are_the_programs_own(machine: Machine, compiled: Callable[..., Path]) -> None:
    """libvgpu measures with NVML, and neither lends the program its session nor loses it to the program."""
    program = compiled("nvml_sessions", *LINKED)
    bare = machine.without_libvgpu().attempt(program, CUDA_VISIBLE_DEVICES="0")
    limited = machine.run(program, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT="4g")
    assert len(bare.stdout.split()) == 14
    assert limited.stdout == bare.stdout
