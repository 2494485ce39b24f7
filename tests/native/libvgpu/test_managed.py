"""A container as the node agent makes it: the files at their places, in a mount namespace of its own."""

import json

import pytest

from tests.native.libvgpu.machine import LIBRARY, PROBE, Machine, mib
from unigpu import names, policy, usage
from unigpu.requests import ComputePolicy
from unigpu.units import Percent

INSIDE = f"""
mount -t tmpfs none /usr/local && mkdir -p {names.CONTAINER_ROOT} && cp {LIBRARY} {names.CONTAINER_ROOT}/ || exit 9
for file in $FILES; do cp "$file" {names.CONTAINER_ROOT}/ || exit 9; done
LD_PRELOAD={names.CONTAINER_LIBRARY} "$0" "$@"; status=$?
[ ! -e {names.CONTAINER_USAGE} ] || cp {names.CONTAINER_USAGE} "$BACK"
exit $status
"""


def inside(machine: Machine, *files: str, **environment: str) -> tuple[int, str, str]:
    """Runs the probe on the first GPU with those of the machine's files in the container's folder."""
    done = machine.without_libvgpu().attempt(
        *("unshare", "--mount", "--map-root-user", "sh", "-c", INSIDE, PROBE),
        CUDA_VISIBLE_DEVICES="0",
        FILES=" ".join(str(machine.folder / name) for name in files),
        BACK=str(machine.folder / "back"),
        **environment,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_policy_at_its_place_holds(machine: Machine) -> None:
    machine.write_policy((0, 2560))
    machine.usage_file.write_bytes(bytes(usage.SIZE))
    status, said, complaint = inside(machine, "policy", "usage")
    assert status == 0
    (gpu,) = json.loads(said)["gpus"]
    assert gpu["total_bytes"] == mib(2560)
    (line,) = complaint.splitlines()
    assert "MiB are refused; of the limit of 2560 MiB, 2560 MiB are in use." in line
    (gpu,) = usage.unpack((machine.folder / "back").read_bytes(), 1, lambda slot: True).gpus
    assert (gpu.peak, gpu.refused) == (mib(2560), 1)


@pytest.mark.parametrize(
    ("files", "says"), [((), "no policy can be read"), (("policy",), "usage can't be used"), (("usage",), "no policy")]
)
def test_a_missing_file_fails_closed_whatever_the_environment_says(
    machine: Machine, files: tuple[str, ...], says: str
) -> None:
    machine.usage_file.write_bytes(bytes(usage.SIZE))
    trial = machine.trial((0, 20000)) | {"CUDA_DEVICE_MEMORY_LIMIT": "20g"}
    status, said, complaint = inside(machine, *files, **trial)
    assert (status, said) == (1, "")
    assert says in complaint
    assert "CUDA_ERROR_OUT_OF_MEMORY" in complaint


def test_a_tighter_environment_is_heeded(machine: Machine) -> None:
    machine.write_policy((0, 2560))
    machine.usage_file.write_bytes(bytes(usage.SIZE))
    _, said, _ = inside(machine, "policy", "usage", CUDA_DEVICE_MEMORY_LIMIT_0="2g")
    assert json.loads(said)["gpus"][0]["total_bytes"] == mib(2048)


@pytest.mark.parametrize("variable", ["CUDA_DEVICE_SM_LIMIT", "CUDA_DEVICE_SM_LIMIT_0", "CUDA_DEVICE_MEMORY_LIMIT"])
@pytest.mark.parametrize("limited", [True, False])
def test_no_limit_has_no_effect_where_the_container_has_one_and_says_so(
    machine: Machine, variable: str, limited: bool
) -> None:
    gpu = policy.GpuLimit(machine.uuids[0], mib(2560), Percent(30), Percent(30))
    compute = ComputePolicy.HARD if limited else ComputePolicy.UNLIMITED
    machine.policy_file.write_bytes(policy.pack(policy.Policy([gpu], limited, limited, compute)))
    machine.usage_file.write_bytes(bytes(usage.SIZE))
    _, _, complaint = inside(machine, "policy", "usage", HOSTNAME="trainer-0", **{variable: "0"})
    said = [line.split(": ", 1)[1] for line in complaint.splitlines() if "no effect" in line]
    if "MEMORY" in variable:
        line = f"{variable} = 0 MiB: no effect on GPU 0, where the container's limit is 2560 MiB"
        command = "--memory AMOUNT"
    else:
        line = f"{variable} = 0: no effect on GPU 0, where the container has at most 30 % of the time"
        command = "--cores AMOUNT"
    assert said == ([f"{line}; to change that: kubectl unigpu limit trainer-0 {command}"] if limited else [])


def test_injected_limits_are_silent(machine: Machine) -> None:
    """They are the container's own, and stay in the environment when the agent changes the policy."""
    machine.write_policy((0, 2560))
    machine.usage_file.write_bytes(bytes(usage.SIZE))
    injected = {"CUDA_DEVICE_MEMORY_LIMIT": "4g", names.ENV_INJECTED_LIMITS: "CUDA_DEVICE_MEMORY_LIMIT=4g"}
    _, _, complaint = inside(machine, "policy", "usage", **injected)
    assert "no effect" not in complaint
