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
INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND = 2, 3, 6


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
        zip(parts[:3], (3, 2, 1), (1, 3, 7), (19968, 9856, 4864), ("20", "10", "5"), strict=True)
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


@pytest.mark.parametrize("suite", ["debian", "debian-trixie", "debian-experimental"])
def test_nvidia_smi_shows_instances(parted: "Machine", clients: Path, suite: str) -> None:
    program = clients / suite / "usr/lib/nvidia/current/nvidia-smi"

    def shown(*words: str) -> str:
        command = [str(program), *words]
        return subprocess.run(command, env=parted.environment(), check=True, capture_output=True, text=True).stdout

    assert re.findall(r"MIG (\S+) +Device +(\d)", shown("-L")) == [("3g.20gb", "0"), ("2g.10gb", "1"), ("1g.5gb", "2")]
    rows = re.findall(r"^\| +0 +(\d+) +0 +(\d) +\| +0MiB / +(\d+)MiB +\| (\d+) +(\d+) ", shown(), re.MULTILINE)
    no_errors = "0"
    assert rows == [
        ("1", "0", "19968", "42", no_errors),
        ("3", "1", "9856", "28", no_errors),
        ("7", "2", "4864", "14", no_errors),
    ]
