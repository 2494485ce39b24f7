"""What is a breach, who is a stranger, and when either counts."""

import dataclasses

import pytest

from unigpu import breaches
from unigpu.breaches import Allowance, Finding, Key, Kind, Process, Watched
from unigpu.units import Bytes, GpuUuid, MiB, to_bytes

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
POD = "pod-1"
OWNER = (POD, "main")


def mib(amount: int) -> Bytes:
    return to_bytes(MiB(amount))


def process(
    memory: int | None, gpu: GpuUuid = A, pid: int = 7, pod: str = POD, container: str = "main", *, locked: bool = True
) -> Process:
    return Process(pid, gpu, None if memory is None else mib(memory), pod, container, locked)


SHARE = Allowance({A: mib(3200)})


def kinds(found: list[Finding]) -> dict[Kind, Key]:
    assert len({finding.key for finding in found}) == len(found)
    return {finding.key.kind: finding.key for finding in found}


def test_a_container_within_its_share() -> None:
    assert breaches.examine([process(3000), process(200, pid=8)], {OWNER: SHARE}) == []


def test_the_tolerance_covers_what_the_driver_rounds() -> None:
    slack = breaches.tolerance(mib(3200), 1)
    at_most, beyond = 3200 + slack // mib(1), 3201 + slack // mib(1)
    assert slack >= mib(64)
    assert breaches.examine([process(at_most)], {OWNER: SHARE}) == []
    assert kinds(breaches.examine([process(beyond)], {OWNER: SHARE})) == {Kind.MEMORY: Key(Kind.MEMORY, A, *OWNER)}
    large = breaches.tolerance(mib(80_000), 1)
    assert large >= mib(1600)


def test_processes_count_together() -> None:
    (found,) = breaches.examine([process(2000, pid=9), process(2000, pid=8)], {OWNER: SHARE})
    assert found.key == Key(Kind.MEMORY, A, *OWNER)
    assert (found.memory, found.allowed) == (mib(4000), mib(3200))
    assert [one.pid for one in found.processes] == [8, 9]
    assert found.breach


def test_processes_without_libvgpu_are_to_blame_first() -> None:
    found = breaches.examine([process(3000, pid=8), process(3000, pid=9, locked=False)], {OWNER: SHARE})
    assert {one.key.kind: [p.pid for p in one.processes] for one in found} == {Kind.MEMORY: [9], Kind.UNMANAGED: [9]}


def test_a_gpu_that_was_not_granted() -> None:
    (found,) = breaches.examine([process(10, gpu=B, locked=False)], {OWNER: SHARE})
    assert (found.key, found.allowed) == (Key(Kind.GPU, B, *OWNER), 0)


def test_a_process_without_libvgpu_within_the_share() -> None:
    (found,) = breaches.examine([process(None, locked=False)], {OWNER: SHARE})
    assert found.key == Key(Kind.UNMANAGED, A, *OWNER)
    assert breaches.foreign_memory([found]) == {}


def test_where_nothing_is_enforced_only_another_gpu_is_a_breach() -> None:
    loose = Allowance({A: mib(3200)}, enforced=False)
    found = breaches.examine([process(9000, locked=False), process(5, gpu=B, locked=False)], {OWNER: loose})
    assert {one.key.kind: one.breach for one in found} == {Kind.UNENFORCED: False, Kind.GPU: True}


def test_a_whole_gpu_has_no_limit() -> None:
    assert breaches.examine([process(24_000)], {OWNER: Allowance({A: None})}) == []


def test_unread_locks_blame_nobody() -> None:
    assert breaches.examine([process(1, locked=False)], {OWNER: Allowance({A: mib(10)}, locks=False)}) == []


@pytest.mark.parametrize(("pod", "container"), [("", ""), ("pod-2", "main"), (POD, "debugger")])
def test_a_stranger(pod: str, container: str) -> None:
    (found,) = breaches.examine([process(20_000, pod=pod, container=container)], {OWNER: SHARE})
    assert found.key == Key(Kind.STRANGER, A, pod, container)
    assert not found.breach
    assert breaches.foreign_memory([found]) == {A: 20_032}


def test_an_unknown_container_is_judged_by_its_pods_shares_together() -> None:
    allowances = {OWNER: SHARE, (POD, "other"): SHARE, (POD, ""): Allowance({A: mib(6400)}, locks=False)}
    assert breaches.examine([process(6000, container="", locked=False)], allowances) == []
    (found,) = breaches.examine([process(9000, container="", locked=False)], allowances)
    assert found.key == Key(Kind.MEMORY, A, POD, "")


def test_foreign_memory_is_what_nobody_was_granted() -> None:
    found = [
        Finding(Key(Kind.MEMORY, A, *OWNER), mib(13_000), mib(3200)),
        Finding(Key(Kind.UNMANAGED, A, *OWNER), mib(13_000), mib(3200)),
        Finding(Key(Kind.UNENFORCED, A, POD, "loose"), mib(101), mib(100)),
        Finding(Key(Kind.STRANGER, B), mib(1)),
        Finding(Key(Kind.GPU, B, *OWNER), mib(64)),
        Finding(Key(Kind.STRANGER, GpuUuid("GPU-c")), Bytes(0)),
    ]
    assert breaches.foreign_memory(found) == {A: 9856, B: 128}


def observe(known: Watched, memory: int, share: int) -> tuple[Watched, list[Finding]]:
    owner = {OWNER: Allowance({A: mib(share)})}
    processes = [process(memory)] if memory else []
    ceilings, settled = breaches.settle(known.ceilings, owner, processes)
    return Watched({}, ceilings), breaches.examine(processes, settled)


def test_memory_held_when_a_limit_was_lowered_is_no_breach_until_it_grows() -> None:
    known, found = observe(Watched(), 3000, 3200)
    assert not found
    known, found = observe(known, 3000, 1000)
    assert not found
    known, found = observe(known, 2000, 1000)
    assert not found
    _, found = observe(known, 3000, 1000)  # what was freed isn't given back
    assert [one.key.kind for one in found] == [Kind.MEMORY]
    known, _ = observe(known, 500, 1000)
    _, found = observe(known, 2000, 1000)
    assert [one.key.kind for one in found] == [Kind.MEMORY]


def test_a_breach_does_not_raise_its_own_ceiling() -> None:
    known, found = observe(Watched(), 9000, 3200)
    assert found
    _, found = observe(known, 9000, 3200)
    assert found


FINDING = Finding(Key(Kind.STRANGER, A), mib(100))


def test_a_finding_counts_when_it_lasts_and_ends_when_it_is_gone_for_as_long() -> None:
    known: dict[Key, breaches.Lasting] = {}
    told: list[tuple[float, int, int]] = []
    for now in range(10):
        found = [FINDING] if 1 <= now <= 5 else []
        known, began, ended = breaches.follow(known, found, {A}, (), float(now), f"at {now}")
        told.append((now, len(began), len(ended)))
        assert not began or began[0].since == "at 1"
    assert [one for one in told if one[1] or one[2]] == [(3, 1, 0), (7, 0, 1)]
    assert not known


def test_a_race_at_start_or_end_never_counts() -> None:
    known: dict[Key, breaches.Lasting] = {}
    for now in range(20):
        found = [FINDING] if now % 3 else []
        known, began, ended = breaches.follow(known, found, {A}, (), float(now), "")
        assert not began
        assert not ended


def test_a_sample_without_it_does_not_end_a_finding_and_it_is_told_once() -> None:
    known: dict[Key, breaches.Lasting] = {}
    beginnings = 0
    for now in range(20):
        found = [] if now in (8, 13) else [FINDING]
        known, began, ended = breaches.follow(known, found, {A}, (), float(now), "")
        beginnings += len(began)
        assert not ended
    assert beginnings == 1
    (lasting,) = Watched(known).confirmed
    assert lasting.finding is FINDING


def test_a_finding_on_a_gpu_that_can_not_be_read_stays_while_a_process_of_it_lives() -> None:
    known: dict[Key, breaches.Lasting] = {}
    other = dataclasses.replace(process(400), pid=8, started=70)
    finding = Finding(FINDING.key, mib(4000), mib(3200), [process(3600), other])
    for now in range(4):
        known, _, _ = breaches.follow(known, [finding], {A}, (), float(now), "")
    for now in range(4, 10):
        known, began, ended = breaches.follow(known, [], {B}, {other.identity, (9, 1)}, float(now), "")
        assert not began
        assert not ended
    # Another process has the pid now: the GPU is gone, and so is what was wrong on it.
    known, _, ended = breaches.follow(known, [], {B}, {(other.pid, 71)}, 10.0, "")
    assert [one.finding for one in ended] == [finding]
    assert not known


def test_a_gpu_that_can_be_read_again_without_a_finding_ends_it() -> None:
    known: dict[Key, breaches.Lasting] = {}
    finding = Finding(FINDING.key, mib(4000), mib(3200), [process(4000)])
    for now in range(4):
        known, _, _ = breaches.follow(known, [finding], {A}, (), float(now), "")
    known, _, ended = breaches.follow(known, [], {A}, {process(4000).identity}, 10.0, "")
    assert [one.finding for one in ended] == [finding]
