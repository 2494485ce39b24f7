"""MIG instances, as far as NVML tells of them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

PROGRAM = """
import json, pynvml as n
n.nvmlInit()
gpu, seen = n.nvmlDeviceGetHandleByIndex(0), []

def number(found):
    return getattr(found, "value", found)

def answer(call, *arguments):
    try:
        return call(*arguments)
    except n.NVMLError as error:
        return error.value

for index in range(n.nvmlDeviceGetMaxMigDeviceCount(gpu)):
    part = answer(n.nvmlDeviceGetMigDeviceHandleByIndex, gpu, index)
    if isinstance(part, int):
        seen.append(part)
        continue
    uuid, attributes = n.nvmlDeviceGetUUID(part), n.nvmlDeviceGetAttributes(part)
    again = n.nvmlDeviceGetHandleByUUID(uuid)
    seen.append({
        "name": n.nvmlDeviceGetName(part),
        "uuid": uuid,
        "ids": [number(n.nvmlDeviceGetGpuInstanceId(part)), number(n.nvmlDeviceGetComputeInstanceId(part))],
        "multiprocessors": attributes.multiprocessorCount,
        "slices": attributes.gpuInstanceSliceCount,
        "MiB": [attributes.memorySizeMB, n.nvmlDeviceGetMemoryInfo(part).total >> 20],
        "is one": [number(n.nvmlDeviceIsMigDeviceHandle(each)) for each in (part, gpu)],
        "found": n.nvmlDeviceGetIndex(again),
        "parent": n.nvmlDeviceGetUUID(n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part)) == n.nvmlDeviceGetUUID(gpu),
        "temperature": answer(n.nvmlDeviceGetTemperature, part, 0),
    })
seen.append(answer(n.nvmlDeviceGetGpuInstanceId, gpu))
print(json.dumps(seen))
"""
INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, IN_USE, INSUFFICIENT_RESOURCES = 2, 3, 4, 6, 19, 23


@pytest.fixture
def parted(machine: "Machine") -> "Machine":
    machine.create("--profile", "a100-40", "--gpus", "2", "--driver-version", "550.163.01", "--cuda-version", "12.4")
    machine.command("set", "--gpu", "0", "--mig", "on", "--mig-instances", "3g,2g,1g")
    return machine


def test_what_nvml_tells_of_instances(parted: "Machine") -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], env=parted.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *parts, of_the_gpu = json.loads(done.stdout)
    assert parts[3:] == [NOT_FOUND] * 4
    assert of_the_gpu == INVALID_ARGUMENT
    uuids = {part.pop("uuid") for part in parts[:3]}
    assert len(uuids) == 3
    assert all(re.fullmatch(r"MIG(-[0-9a-f]+){5}", uuid) for uuid in uuids)
    for index, (part, slices, number, mib, size) in enumerate(
        zip(parts[:3], (3, 2, 1), (2, 3, 9), (19968, 9856, 4864), ("20", "10", "5"), strict=True)
    ):
        assert part == {
            "name": f"NVIDIA A100-SXM4-40GB MIG {slices}g.{size}gb",
            "ids": [number, 0],
            "multiprocessors": 14 * slices,
            "slices": slices,
            "MiB": [mib, mib],
            "is one": [1, 0],
            "found": index,
            "parent": True,
            "temperature": NOT_SUPPORTED,
        }


@pytest.mark.parametrize("wanted", ["4g,4g", "3g,3g,1g,1g", "7g,1g", "5g"])
def test_instances_have_to_fit(parted: "Machine", wanted: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        parted.command("set", "--gpu", "0", "--mig-instances", wanted)
    assert f"--mig-instances = {wanted}" in refused.value.stderr
    assert "3g.20gb 2g.10gb 1g.5gb" in parted.command("show"), "the others stay"


def test_instances_end_with_the_mode(parted: "Machine") -> None:
    with pytest.raises(subprocess.CalledProcessError):
        parted.command("set", "--gpu", "1", "--mig-instances", "1g")
    parted.command("set", "--gpu", "0", "--mig", "off")
    parted.command("set", "--gpu", "0", "--mig", "on")
    assert [gpu["instances"] for gpu in json.loads(parted.command("show", "--json"))["gpus"]] == [[], []]


SUITES = ("debian", "debian-trixie", "debian-experimental")


@pytest.mark.parametrize("suite", SUITES)
def test_nvidia_smi_shows_instances(parted: "Machine", clients: Path, suite: str) -> None:
    program = clients / suite / "usr/lib/nvidia/current/nvidia-smi"

    def shown(*words: str) -> str:
        command = [str(program), *words]
        return subprocess.run(command, env=parted.environment(), check=True, capture_output=True, text=True).stdout

    assert re.findall(r"MIG (\S+) +Device +(\d)", shown("-L")) == [("3g.20gb", "0"), ("2g.10gb", "1"), ("1g.5gb", "2")]
    rows = re.findall(r"^\| +0 +(\d+) +0 +(\d) +\| +0MiB / +(\d+)MiB +\| (\d+) +(\d+) ", shown(), re.MULTILINE)
    no_errors = "0"
    assert rows == [
        ("2", "0", "19968", "42", no_errors),
        ("3", "1", "9856", "28", no_errors),
        ("9", "2", "4864", "14", no_errors),
    ]


@pytest.fixture
def empty(machine: "Machine") -> "Machine":
    """A GPU in MIG mode, without an instance."""
    machine.create("--profile", "a100-40", "--gpus", "1", "--driver-version", "550.163.01", "--cuda-version", "12.4")
    machine.command("set", "--mig", "on")
    return machine


@pytest.mark.parametrize("suite", SUITES)
def test_nvidia_smi_makes_and_ends_instances(empty: "Machine", clients: Path, suite: str) -> None:
    """Numbers and places are those that the MIG user guide shows for these commands on an A100."""
    program = clients / suite / "usr/lib/nvidia/current/nvidia-smi"

    def said(line: str, status: int = 0) -> str:
        command = [str(program), *line.split()]
        done = subprocess.run(command, env=empty.environment(), capture_output=True, text=True)
        assert done.returncode == status, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def made(text: str) -> list[tuple[str, str]]:
        return re.findall(r"Successfully created \w+ instance ID +(\d+) on GPU +0 .*using profile MIG (\S+)", text)

    kinds = re.findall(r"\| +0 +MIG (\S+) +(\d+) +(\d)/(\d) +([\d.]+) +No +(\d+) ", said("mig -lgip"))
    assert kinds == [
        ("1g.5gb", "19", "7", "7", "4.75", "14"),
        ("1g.5gb+me", "20", "1", "1", "4.75", "14"),
        ("1g.10gb", "15", "4", "4", "9.62", "14"),
        ("2g.10gb", "14", "3", "3", "9.62", "28"),
        ("3g.20gb", "9", "2", "2", "19.50", "42"),
        ("4g.20gb", "5", "1", "1", "19.50", "56"),
        ("7g.40gb", "0", "1", "1", "39.38", "98"),
    ]
    assert re.findall(r"ID +(\d+) Placements? *: (\S+)", said("mig -lgipp")) == [
        ("19", "{0,1,2,3,4,5,6}:1"),
        ("20", "{0,1,2,3,4,5,6}:1"),
        ("15", "{0,2,4,6}:2"),
        ("14", "{0,2,4}:2"),
        ("9", "{0,4}:4"),
        ("5", "{0}:4"),
        ("0", "{0}:8"),
    ]
    assert "No GPU instances found" in said("mig -lgi", NOT_FOUND)

    assert made(said("mig -cgi 19,14,5")) == [("13", "1g.5gb"), ("5", "2g.10gb"), ("1", "4g.20gb")]
    listed = r"MIG (\S+) +(\d+) +(\d+) +(\d:\d)"
    assert re.findall(listed, said("mig -lgi")) == [
        ("1g.5gb", "19", "13", "6:1"),
        ("2g.10gb", "14", "5", "4:2"),
        ("4g.20gb", "5", "1", "0:4"),
    ]
    assert "Insufficient Resources" in said("mig -cgi 9", INSUFFICIENT_RESOURCES)

    assert made(said("mig -cci 0,1 -gi 1")) == [("0", "1c.4g.20gb"), ("1", "2c.4g.20gb")]
    assert made(said("mig -cci -gi 5")) == [("0", "2g.10gb")]
    assert re.findall(r"MIG (\S+) +(\d\*?) +(\d)/(\d) +(\d+)", said("mig -lcip -gi 1")) == [
        ("1c.4g.20gb", "0", "1", "4", "14"),
        ("2c.4g.20gb", "1", "0", "2", "28"),
        ("3c.4g.20gb", "2", "0", "1", "42"),
        ("4g.20gb", "3*", "0", "1", "56"),
    ]
    assert re.findall(listed, said("mig -lci -gi 1")) == [
        ("1c.4g.20gb", "0", "0", "0:1"),
        ("2c.4g.20gb", "1", "1", "2:2"),
    ]
    assert re.findall(r"MIG (\S+) +Device +(\d)", said("-L")) == [
        ("1c.4g.20gb", "0"),
        ("2c.4g.20gb", "1"),
        ("2g.10gb", "2"),
    ]
    assert "MIG 1c.4g.20gb 2c.4g.20gb 2g.10gb" in empty.command("show")

    assert "In use by another client" in said("mig -dgi -gi 1", IN_USE)
    assert "In use by another client" in said("-mig 0", IN_USE)
    said("mig -dci")
    said("mig -dgi")
    assert "No GPU instances found" in said("mig -lgi", NOT_FOUND)
    assert made(said("mig -cgi 9,9 -C")) == [("2", "3g.20gb"), ("0", "3g.20gb"), ("1", "3g.20gb"), ("0", "3g.20gb")]
    said("-r")
    assert "No GPU instances found" in said("mig -lgi", NOT_FOUND)
    said("-mig 0")


CALLS = """
import ctypes, json, os, pynvml as n
n.nvmlInit()
gpu = n.nvmlDeviceGetHandleByIndex(0)

def answer(call, *arguments):
    try:
        found = call(*arguments)
        return found if isinstance(found, (int, dict)) else 0
    except n.NVMLError as error:
        return error.value

def place(start, size):
    return ctypes.byref(n.c_nvmlGpuInstancePlacement_t(start, size))

profile = n.nvmlDeviceGetGpuInstanceProfileInfo(gpu, n.NVML_GPU_INSTANCE_PROFILE_3_SLICE)
part = n.nvmlDeviceCreateGpuInstanceWithPlacement(gpu, profile.id, place(0, 4))
whole = n.nvmlGpuInstanceGetComputeInstanceProfileInfo(part, n.NVML_COMPUTE_INSTANCE_PROFILE_3_SLICE, 0)
device = n.nvmlGpuInstanceCreateComputeInstance(part, whole.id)
info, inner = n.nvmlGpuInstanceGetInfo(part), n.nvmlComputeInstanceGetInfo(device)
told = {
    "names": [each.name for each in (profile, whole)],
    "instance": [info.id, info.profileId, info.placement.start, info.placement.size],
    "inner": [inner.id, inner.profileId, inner.placement.start, inner.placement.size],
    "its GPU": n.nvmlDeviceGetUUID(info.device) == n.nvmlDeviceGetUUID(gpu),
    "left": n.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, profile.id),
    "by number": answer(n.nvmlDeviceGetGpuInstanceById, gpu, info.id),
    "another number": answer(n.nvmlDeviceGetGpuInstanceById, gpu, 14),
    "no such kind": answer(n.nvmlDeviceCreateGpuInstance, gpu, 99),
    "a kind of other models": answer(n.nvmlDeviceGetGpuInstanceProfileInfo, gpu, n.NVML_GPU_INSTANCE_PROFILE_8_SLICE),
    "past the kinds": answer(n.nvmlDeviceGetGpuInstanceProfileInfo, gpu, 99),
    "where none can lie": answer(n.nvmlDeviceCreateGpuInstanceWithPlacement, gpu, profile.id, place(2, 4)),
    "where one lies": answer(n.nvmlDeviceCreateGpuInstanceWithPlacement, gpu, profile.id, place(0, 4)),
    "a second that fills it": answer(n.nvmlGpuInstanceCreateComputeInstance, part, whole.id),
}
os.seteuid(65534)
told["not root"] = [
    answer(n.nvmlDeviceCreateGpuInstance, gpu, profile.id),
    answer(n.nvmlComputeInstanceDestroy, device),
    answer(n.nvmlGpuInstanceDestroy, part),
    answer(n.nvmlDeviceGetGpuInstanceRemainingCapacity, gpu, profile.id),
]
os.seteuid(0)
told["with a compute instance"] = answer(n.nvmlGpuInstanceDestroy, part)
told["ended"] = [answer(n.nvmlComputeInstanceDestroy, device), answer(n.nvmlGpuInstanceDestroy, part)]
told["after the end"] = [answer(n.nvmlComputeInstanceGetInfo, device), answer(n.nvmlGpuInstanceGetInfo, part)]
print(json.dumps(told))
"""


def test_calls_that_make_and_end_instances(empty: "Machine") -> None:
    done = subprocess.run([sys.executable, "-c", CALLS], env=empty.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "names": ["MIG 3g.20gb", "MIG 3g.20gb"],
        "instance": [1, 9, 0, 4],
        "inner": [0, 2, 0, 3],
        "its GPU": True,
        "left": 1,
        "by number": 0,
        "another number": NOT_FOUND,
        "no such kind": INVALID_ARGUMENT,
        "a kind of other models": NOT_SUPPORTED,
        "past the kinds": INVALID_ARGUMENT,
        "where none can lie": INVALID_ARGUMENT,
        "where one lies": INSUFFICIENT_RESOURCES,
        "a second that fills it": INSUFFICIENT_RESOURCES,
        "not root": [NO_PERMISSION] * 4,
        "with a compute instance": IN_USE,
        "ended": [0, 0],
        "after the end": [INVALID_ARGUMENT, INVALID_ARGUMENT],
    }


def test_instances_need_the_mode(machine: "Machine") -> None:
    machine.create("--profile", "h100", "--gpus", "1")
    program = """
import json, pynvml as n
n.nvmlInit()
gpu, answers = n.nvmlDeviceGetHandleByIndex(0), []
for call in (n.nvmlDeviceCreateGpuInstance, n.nvmlDeviceGetGpuInstanceRemainingCapacity):
    try:
        call(gpu, 9)
    except n.NVMLError as error:
        answers.append(error.value)
print(json.dumps(answers))
"""
    done = subprocess.run([sys.executable, "-c", program], env=machine.environment(), capture_output=True, text=True)
    assert json.loads(done.stdout) == [NOT_SUPPORTED] * 2, done.stderr
