"""GPUs that fail and recover."""

import dataclasses

import pytest

from deviceplugin.node import health
from deviceplugin.node.health import GpuReading, Inventory, Moment, Sample
from unigpu import gpus
from unigpu.gpus import Fault, Gpu
from unigpu.units import GpuUuid, MiB

A, B = (Gpu(GpuUuid(f"GPU-{letter}"), index, index, "Test", MiB(1000)) for index, letter in enumerate("ab"))
BOTH = Sample((GpuReading(A), GpuReading(B)), session="first")
LATER = dataclasses.replace(BOTH, session="second")
NEED_RESET = "which needs a reset of the GPU"


def xids(*reported: int, sample: Sample = BOTH) -> Sample:
    return dataclasses.replace(sample, xids={A.uuid: reported})


def recovery(action: int, session: str = "first") -> Sample:
    return Sample((GpuReading(A, recovery=action), GpuReading(B, recovery=0)), session=session)


def after(known: Inventory, *samples: tuple[float, Sample], epoch: str = "boot/1") -> Inventory:
    for now, sample in samples:
        known = health.after(known, sample, Moment(now, f"time {now}", epoch), quiet=60)
    return known


def published(known: Inventory) -> Inventory:
    """What the next agent finds on the node object."""
    return Inventory(gpus.load(gpus.dump(known.gpus)))


def state(known: Inventory) -> dict[str, bool]:
    return {gpu.uuid: gpu.healthy for gpu in known.gpus}


def test_lost_gpu_keeps_its_identity_and_recovers() -> None:
    lost = Sample((GpuReading(A), GpuReading(None, "GPU is lost", B.uuid)))
    known = after(Inventory(), (0, BOTH), (1, lost), (2, lost))
    assert known.gpus == (A, dataclasses.replace(B, healthy=False, fault=Fault("GPU is lost", "time 1")))
    assert after(known, (3, BOTH)).gpus == (A, B)


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        (GpuReading(A, mig=True), "the GPU is in MIG mode"),
        (GpuReading(A, rows_failed=True), "a broken row of the GPU's memory"),
        (GpuReading(A, ecc_uncorrected=2), "memory errors since the GPU's last reset that ECC couldn't correct: 2"),
        (GpuReading(A, compute_mode=2), "compute mode Prohibited"),
        (GpuReading(A, compute_mode=3), "compute mode Exclusive_Process"),
    ],
)
def test_a_gpu_that_cant_be_shared_is_never_offered(reading: GpuReading, says: str) -> None:
    known = after(Inventory(), (0, Sample((reading, GpuReading(B)))))
    assert state(known) == {A.uuid: False, B.uuid: True}
    assert known.faults[A.uuid].startswith(says)
    assert state(after(known, (1, BOTH))) == {A.uuid: True, B.uuid: True}


def test_a_node_whose_driver_no_container_can_use_offers_nothing() -> None:
    moment = Moment(0, "now", "boot/1")
    known = health.after(Inventory(), BOTH, moment, 60, "no device node")
    assert set(known.faults.values()) == {"no device node"}
    assert state(health.after(known, BOTH, moment, 60)) == {A.uuid: True, B.uuid: True}


@pytest.mark.parametrize("gone", [A, B])
def test_a_gpu_is_known_by_its_uuid_when_indexes_move(gone: Gpu) -> None:
    """NVML numbers the others from 0 again once a GPU has fallen off the bus."""
    (other,) = {A.uuid: A, B.uuid: B}.keys() - {gone.uuid}
    moved = dataclasses.replace(A if other == A.uuid else B, index=0)
    known = after(Inventory(), (0, BOTH), (1, Sample((GpuReading(moved),), session="second")))
    assert state(known) == {other: True, gone.uuid: False}
    assert known.faults == {gone.uuid: "the driver no longer lists the GPU"}
    assert state(after(known, (2, Sample((GpuReading(moved),))), epoch="boot/2")) == {other: True}


def test_unreadable_gpu_without_a_name_is_told_by_elimination() -> None:
    known = published(after(Inventory(), (0, BOTH)))
    nameless = Sample((GpuReading(None, "GPU is lost"), GpuReading(dataclasses.replace(B, index=1))))
    assert after(known, (1, nameless)).faults == {A.uuid: "GPU is lost"}


def test_gpu_that_was_never_read_is_left_out() -> None:
    assert after(Inventory(), (0, Sample((GpuReading(A), GpuReading(None, "lost"))))).gpus == (A,)


def test_gpu_that_a_later_agent_does_not_find_is_gone() -> None:
    assert after(published(after(Inventory(), (0, BOTH))), (1, Sample((GpuReading(A),)))).gpus == (A,)


def test_xid_counts_until_it_is_quiet() -> None:
    known = after(Inventory(), (0, BOTH), (1, xids(62)))
    assert (state(known), known.faults) == ({A.uuid: False, B.uuid: True}, {A.uuid: "XID 62"})
    known = after(known, (60, BOTH))
    assert known.gpus[0].fault == Fault("XID 62", "time 1")
    assert state(after(known, (61, BOTH))) == {A.uuid: True, B.uuid: True}


@pytest.mark.parametrize("xid", sorted(health.XIDS_OF_PROGRAMS))
def test_xid_of_a_program_is_not_the_gpus_fault(xid: int) -> None:
    assert state(after(Inventory(), (0, xids(xid)))) == {A.uuid: True, B.uuid: True}


@pytest.mark.parametrize("xid", sorted(health.XIDS_UNTIL_RESET))
def test_fatal_xid_stays_until_the_driver_is_loaded_again(xid: int) -> None:
    fault = Fault(f"XID {xid}, {NEED_RESET}", "time 1", "boot/1")
    known = after(Inventory(), (0, BOTH), (1, xids(xid, 45)), (1000, BOTH), (1001, xids(62)), (2000, LATER))
    assert known.gpus == (dataclasses.replace(A, healthy=False, fault=fault), B)
    # So does the next agent, and one whose driver didn't answer in between.
    assert after(published(known), (0, LATER)).gpus == known.gpus
    assert after(health.lost(known, "hangs", "then"), (3000, BOTH)).gpus == known.gpus
    assert after(known, (3000, BOTH), epoch="boot/2").gpus == (A, B)
    assert after(published(known), (0, BOTH), epoch="other/1").gpus == (A, B)


def test_lost_gpu_keeps_the_xid_as_its_reason() -> None:
    lost = Sample((GpuReading(None, "GPU is lost", A.uuid), GpuReading(B)))
    known = after(Inventory(), (0, BOTH), (1, xids(79)), (2, lost))
    assert known.faults == {A.uuid: f"XID 79, {NEED_RESET}"}


def test_recovery_action_counts_while_the_driver_asks_for_it() -> None:
    known = after(Inventory(), (0, recovery(2)))
    assert known.faults == {A.uuid: "the driver asks for a reboot of the node"}
    assert after(known, (1, recovery(0))).gpus == (A, B)


def test_recovery_action_that_went_away_shows_the_reset() -> None:
    known = after(Inventory(), (0, recovery(0)), (1, xids(48, sample=recovery(1))), (2, recovery(1)))
    assert known.faults == {A.uuid: f"XID 48, {NEED_RESET}"}
    assert after(known, (3, recovery(0))).gpus == (A, B)


def test_no_recovery_action_says_nothing_in_the_session_of_the_xid() -> None:
    """The driver may not have made up its mind yet; and no GPU is reset while a session is open."""
    known = after(Inventory(), (0, recovery(0)), (1, xids(48, sample=recovery(0))), (1000, recovery(0)))
    assert known.faults == {A.uuid: f"XID 48, {NEED_RESET}"}
    assert after(known, (1001, recovery(0, "second"))).gpus == (A, B)
    assert after(published(known), (0, recovery(0, "second"))).gpus == (A, B)


def test_no_answer_at_all() -> None:
    known = health.lost(after(Inventory(), (0, BOTH)), "hangs", "then")
    assert known.faults == {A.uuid: "hangs", B.uuid: "hangs"}
    assert after(known, (1, BOTH)).gpus == (A, B)
