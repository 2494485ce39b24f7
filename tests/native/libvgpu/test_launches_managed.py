"""In a managed container the agent's own variables say what was given at the start, and are no wish to tighten."""

import json

import pytest

from tests.native.libvgpu.machine import Machine, mib
from tests.native.libvgpu.test_managed import inside
from unigpu import names, usage

GIVEN = f"{names.ENV_MEMORY_LIMIT}_0=2g;{names.ENV_CORE_LIMIT}=30"


@pytest.mark.parametrize(
    ("environment", "total"),
    [
        ({f"{names.ENV_MEMORY_LIMIT}_0": "2g"}, 2560),
        ({f"{names.ENV_MEMORY_LIMIT}_0": "2g", names.ENV_CORE_LIMIT: "30"}, 2560),
        ({f"{names.ENV_MEMORY_LIMIT}_0": "1g"}, 1024),
        ({f"{names.ENV_MEMORY_LIMIT}_0": "2"}, 0),
        ({names.ENV_MEMORY_LIMIT: "2g"}, 2048),
        ({}, 2560),
    ],
)
def test_what_the_agent_gave_is_no_wish(machine: Machine, environment: dict[str, str], total: int) -> None:
    machine.write_policy((0, 2560))
    machine.usage_file.write_bytes(bytes(usage.SIZE))
    status, said, complaint = inside(machine, "policy", "usage", **{names.ENV_INJECTED_LIMITS: GIVEN}, **environment)
    if total == 0:
        assert "CUDA_ERROR_OUT_OF_MEMORY" in complaint, (
            "a smaller number with the same first digits isn't what was given"
        )
        return
    assert status == 0
    assert [line for line in complaint.splitlines() if "MiB are refused" not in line] == []
    assert json.loads(said)["gpus"][0]["total_bytes"] == mib(total)


def test_who_names_something_as_given_in_a_trial_is_not_heeded(machine: Machine) -> None:
    trial = machine.trial((0, 2560)) | {names.ENV_INJECTED_LIMITS: GIVEN, f"{names.ENV_MEMORY_LIMIT}_0": "2g"}
    (gpu,) = machine.probe(CUDA_VISIBLE_DEVICES="0", **trial)
    assert gpu["total_bytes"] == mib(2048)
