"""The policy file: it reads back, and foreign files are refused."""

import struct

import pytest

from unigpu import errors, modes, policy, requests
from unigpu.allocations import Share
from unigpu.units import Bytes, GpuUuid, MiB, Percent, gib, to_bytes

FIRST = GpuUuid("GPU-11111111-2222-3333-4444-555555555555")
SECOND = GpuUuid("GPU-66666666-7777-8888-9999-aaaaaaaaaaaa")
GPU = policy.GpuLimit(FIRST, to_bytes(gib(3)), Percent(30), Percent(60))


@pytest.mark.parametrize("compute", list(requests.ComputePolicy))
@pytest.mark.parametrize("memory_enforced", [True, False])
@pytest.mark.parametrize("cores_enforced", [True, False])
def test_read_back(compute: requests.ComputePolicy, memory_enforced: bool, cores_enforced: bool) -> None:
    other = policy.GpuLimit(SECOND, Bytes(0), Percent(0), Percent(0))
    given = policy.Policy((GPU, other), memory_enforced, cores_enforced, compute, priority=1)
    assert policy.unpack(policy.pack(given, sequence=8)) == given


def test_the_sequence_is_at_its_offset() -> None:
    content = policy.pack(policy.Policy((GPU,), True, True), sequence=6)
    assert struct.unpack_from("<I", content, policy.SEQUENCE_OFFSET) == (6,)
    assert len(content) == policy.SIZE


def test_seventeen_gpus_are_too_many() -> None:
    with pytest.raises(errors.Malformed, match="at most 16 GPUs, not 17"):
        policy.pack(policy.Policy((GPU,) * 17, True, True))


def test_a_uuid_must_fit() -> None:
    long = policy.GpuLimit(GpuUuid("GPU-" + "1" * 44), Bytes(1), Percent(0), Percent(0))
    with pytest.raises(errors.Malformed, match="longer than 47"):
        policy.pack(policy.Policy((long,), True, True))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes"),
        (bytes(policy.SIZE), "not of version"),
        (struct.pack("<8I", policy.MAGIC, 2, policy.SIZE, 0, 0, 0, 0, 0).ljust(policy.SIZE, b"\0"), "not of version"),
        (struct.pack("<8I", policy.MAGIC, 1, policy.SIZE, 0, 17, 0, 0, 0).ljust(policy.SIZE, b"\0"), "not of version"),
        (struct.pack("<8I", policy.MAGIC, 1, policy.SIZE, 0, 0, 0, 9, 0).ljust(policy.SIZE, b"\0"), "not of version"),
    ],
)
def test_foreign_files_are_refused(content: bytes, says: str) -> None:
    with pytest.raises(errors.Malformed, match=says):
        policy.unpack(content)


@pytest.mark.parametrize(
    ("compute", "priority", "node_enforces", "cores_enforced"),
    [
        (requests.ComputePolicy.HARD, 0, True, True),
        (requests.ComputePolicy.HARD, 0, False, False),
        (requests.ComputePolicy.UNLIMITED, 0, True, False),
        (requests.ComputePolicy.UNLIMITED, 1, True, True),
        (requests.ComputePolicy.UNLIMITED, 1, False, False),
    ],
)
def test_build_policy(
    compute: requests.ComputePolicy, priority: int, node_enforces: bool, cores_enforced: bool
) -> None:
    request = requests.Request(gpus=1, memory=MiB(2560), cores=Percent(30), policy=compute, priority=priority)
    given = policy.build_policy(request, [Share(FIRST, MiB(2560), Percent(30))], modes.Enforcement(True, node_enforces))
    assert given.gpus == (policy.GpuLimit(FIRST, to_bytes(MiB(2560)), Percent(30), Percent(30)),)
    assert (given.memory_enforced, given.cores_enforced) == (True, cores_enforced)


def test_live_state_is_left_out_of_a_comparison() -> None:
    given = policy.Policy((GPU, GPU), True, True, requests.ComputePolicy.SOFT)
    content = bytearray(policy.pack(given, sequence=6))
    policy.HEARTBEAT.pack_into(content, policy.HEARTBEAT_OFFSET, 12345)
    for gpu in (0, 1):
        start = policy.live_state_offset(gpu)
        content[start : start + policy.LIVE_STATE.size] = policy.live_state(12.5 * (gpu + 1), 70)
    assert policy.guarded(bytes(content)) == policy.guarded(policy.pack(given))
    assert policy.unpack(bytes(content)) == given
    assert [policy.read_live_state(bytes(content), gpu) for gpu in (0, 1)] == [(12.5, 70), (25, 70)]
    other = policy.Policy((GPU, policy.GpuLimit(SECOND, Bytes(1), Percent(0), Percent(0))), True, True)
    assert policy.guarded(policy.pack(other)) != policy.guarded(policy.pack(given))


@pytest.mark.parametrize(("rate", "load"), [(0, 0), (1, 99.99), (100, 1600), (33.333, 0.004)])
def test_live_state_as_one_word(rate: float, load: float) -> None:
    assert policy.live_state_word(rate, load).to_bytes(8, "little") == policy.live_state(rate, load)
