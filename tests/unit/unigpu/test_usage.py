"""The usage file as the exporter reads it."""

import struct

import pytest

from unigpu import errors, usage
from unigpu.units import Bytes


class File:
    """A usage file, built field by field."""

    def __init__(self) -> None:
        self.content = bytearray(usage.SIZE)
        struct.pack_into("<II", self.content, 0, usage.MAGIC, usage.VERSION)

    def total(self, gpu: int, used: int, peak: int, refused: int) -> None:
        start = usage.TOTALS_OFFSET + gpu * usage.TOTAL_SIZE
        struct.pack_into("<5Q", self.content, start, used, 1 << 48 | 1, peak, refused, 0)

    def implicit(self, gpu: int, amount: int) -> None:
        struct.pack_into("<Q", self.content, usage.TOTALS_OFFSET + gpu * usage.TOTAL_SIZE + 40, amount)

    def slot(self, slot: int, pid: int, *gpus: tuple[int, int, int]) -> None:
        start = usage.SLOTS_OFFSET + slot * usage.SLOT_SIZE
        struct.pack_into("<IIQ", self.content, start, pid, 1, 99)
        for gpu, (even, odd, change) in enumerate(gpus):
            offset = start + usage.SLOT_GPUS_OFFSET + gpu * usage.SLOT_GPU_SIZE
            struct.pack_into("<4Q", self.content, offset, even, odd, change, 0)

    def kinds(self, slot: int, start: int, *gpus: tuple[int, int]) -> None:
        """Contexts and code of the process of a slot that started then."""
        place = usage.KINDS_OFFSET + slot * usage.KINDS_SIZE
        struct.pack_into("<Q", self.content, place, start + 1)
        for gpu, pair in enumerate(gpus):
            offset = place + usage.KINDS_GPUS_OFFSET + gpu * usage.KINDS_GPU_SIZE
            struct.pack_into("<2Q", self.content, offset, *pair)

    def launches(self, gpu: int, count: int) -> None:
        struct.pack_into("<Q", self.content, usage.TOTALS_OFFSET + gpu * usage.TOTAL_SIZE + 56, count)


STARTED = 99
"""When the process of each slot did."""


def all_alive(slot: int) -> bool:
    return True


def test_empty_files_have_no_usage() -> None:
    for content in (b"", bytes(usage.SIZE)):
        got = usage.unpack(content, 2, all_alive)
        assert [gpu.used for gpu in got.gpus] == [0, 0]
        assert got.processes == ()


def test_the_last_change_selects_the_even_or_the_odd_word() -> None:
    file = File()
    file.slot(3, 41, (100, 200, 6), (7, 9, 5))
    got = usage.unpack(bytes(file.content), 2, all_alive)
    assert got.processes == (usage.ProcessUsage(3, 41, (Bytes(100), Bytes(9))),)


def test_dead_processes_use_nothing() -> None:
    file = File()
    file.total(0, used=30, peak=50, refused=2)
    file.slot(0, 10, (10, 0, 0))
    file.slot(usage.SLOT_COUNT - 1, 11, (20, 0, 0))
    got = usage.unpack(bytes(file.content), 1, lambda slot: slot == 0)
    assert got.gpus == (usage.GpuTotals(used=Bytes(10), peak=Bytes(50), refused=2),)
    assert [process.pid for process in got.processes] == [10]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\0" * 100, "100 bytes"),
        (b"XXXX" + b"\0" * (usage.SIZE - 4), "not of version"),
        (struct.pack("<II", usage.MAGIC, usage.VERSION + 1) + b"\0" * usage.SLOTS_OFFSET, "not of version"),
    ],
)
def test_foreign_files_are_refused(content: bytes, says: str) -> None:
    with pytest.raises(errors.Malformed, match=says):
        usage.unpack(content, 1, all_alive)


def test_a_truncated_file_yields_its_complete_slots() -> None:
    file = File()
    file.slot(0, 10, (10, 0, 0))
    file.slot(1, 11, (20, 0, 0))
    cut = bytes(file.content[: usage.SLOTS_OFFSET + usage.SLOT_SIZE + 20])
    assert [process.pid for process in usage.unpack(cut, 1, all_alive).processes] == [10]


def test_charges() -> None:
    file = File()
    for gpu, (charged, turn) in enumerate([(7, 0), (2**40, 3), (9, 1)]):
        start = usage.COMPUTE_OFFSET + gpu * usage.COMPUTE_SIZE
        struct.pack_into("<Q", file.content, start + 16, charged)
        struct.pack_into("<II", file.content, start + 64, turn, 1)
    reading = usage.charges(3)
    assert reading.unpack(file.content[: reading.size]) == (7, 0, 1, 2**40, 3, 1, 9, 1, 1)
    for gpu, (charged, waits) in enumerate([(7, True), (2**40, True), (9, False)]):
        assert usage.compute(file.content, gpu)[0] == charged
        assert usage.compute(file.content, gpu)[3] is waits


def test_totals() -> None:
    file = File()
    file.total(1, used=30, peak=50, refused=2)
    assert usage.totals(bytes(file.content[: usage.SLOTS_OFFSET]), 2) == [0, 30]
    assert usage.totals(bytes(usage.SLOTS_OFFSET), 2) == [0, 0]
    assert usage.totals(b"", 1) == [0]


@pytest.mark.parametrize(
    ("started", "pairs", "context", "code"),
    [
        (STARTED, ((30, 20), (0, 7)), (30, 0), (20, 7)),
        (STARTED - 1, ((30, 20), (0, 7)), (0, 0), (0, 0)),  # of the slot's former process
        (STARTED, ((500, 20), (60, 600)), (100, 60), (0, 140)),  # more than there is
    ],
)
def test_kinds_add_up_to_the_memory_in_use(
    started: int, pairs: tuple[tuple[int, int], ...], context: tuple[int, int], code: tuple[int, int]
) -> None:
    file = File()
    file.slot(5, 41, (100, 0, 0), (200, 0, 0))
    file.slot(6, 42, (1, 0, 0), (2, 0, 0))
    file.kinds(5, started, *pairs)
    file.implicit(1, 50)
    file.launches(1, 12)
    got = usage.unpack(bytes(file.content), 2, all_alive).gpus
    assert [(gpu.context, gpu.code, gpu.unasked) for gpu in got] == [
        (context[0], code[0], 0),
        (context[1], code[1], 50),
    ]
    assert [gpu.data for gpu in got] == [101 - context[0] - code[0], 202 - context[1] - code[1]]
    assert [gpu.used for gpu in got] == [101, 252]
    assert [gpu.launches for gpu in got] == [0, 12]


def test_a_file_without_kinds_has_data_alone() -> None:
    file = File()
    file.slot(5, 41, (100, 0, 0))
    file.kinds(5, STARTED, (30, 20))
    (gpu,) = usage.unpack(bytes(file.content[: usage.KINDS_OFFSET]), 1, all_alive).gpus
    assert (gpu.used, gpu.data) == (100, 100)


def test_the_living_ones_alone_say_the_same() -> None:
    file = File()
    file.total(0, used=30, peak=50, refused=2)
    file.slot(7, 10, (10, 0, 0))
    file.kinds(7, STARTED, (4, 3))
    file.slot(9, 11, (20, 0, 0))
    content = bytes(file.content)

    def records(slot: int) -> tuple[bytes, bytes]:
        start, kinds = usage.SLOTS_OFFSET + slot * usage.SLOT_SIZE, usage.KINDS_OFFSET + slot * usage.KINDS_SIZE
        return content[start : start + usage.SLOT_SIZE], content[kinds : kinds + usage.KINDS_SIZE]

    whole = usage.unpack(content, 1, lambda slot: slot != 9)
    # The lock of slot 8 is held, but no process has taken the slot yet.
    living = {slot: records(slot) for slot in (8, 7)}
    assert usage.unpack_living(content[: usage.SLOTS_OFFSET], living, 1) == whole
    assert whole.gpus[0].data == 3
    assert usage.unpack_living(content[: usage.SLOTS_OFFSET], {7: (content[:5], b"")}, 1).processes == ()


@pytest.mark.parametrize("gpus", [1, 3])
def test_which_changes_are_of_memory(gpus: int) -> None:
    file = File()
    end = usage.COMPUTE_OFFSET + gpus * usage.COMPUTE_SIZE
    before = bytes(file.content[:end])
    for offset in range(0, end, 8):
        gpu, field = divmod(offset - usage.TOTALS_OFFSET, usage.TOTAL_SIZE)
        if usage.TOTALS_OFFSET <= offset < usage.COMPUTE_OFFSET and gpu >= gpus:
            continue  # another container's GPUs would be there
        changed = bytearray(before)
        changed[offset] ^= 1
        of_counters = offset >= usage.COMPUTE_OFFSET or (offset >= usage.TOTALS_OFFSET and field == 56)
        assert usage.same_memory(bytes(changed), before, gpus) is of_counters, offset


TOO_MUCH = 1 << 63


@pytest.mark.parametrize(
    ("offset", "what"),
    [
        (usage.TOTALS_OFFSET + 16, "highest use"),
        (usage.TOTALS_OFFSET + 24, "refused allocations"),
        (usage.COMPUTE_OFFSET + 16, "GPU time"),
        (usage.COMPUTE_OFFSET + 24, "time waited"),
        (usage.COMPUTE_OFFSET + 32, "launches that waited"),
    ],
)
def test_a_counter_that_no_container_reaches(offset: int, what: str) -> None:
    file = File()
    struct.pack_into("<Q", file.content, offset, TOO_MUCH)
    with pytest.raises(usage.Implausible, match=what):
        usage.unpack(file.content, 1, all_alive)


def test_more_memory_in_use_than_there_is() -> None:
    file = File()
    file.slot(1, 7, (600, 0, 0))
    file.slot(2, 8, (600, 0, 0))
    assert usage.unpack(file.content, 1, all_alive, [Bytes(1200)]).gpus[0].used == 1200
    with pytest.raises(usage.Implausible, match="1200 as memory in use of GPU 0, more than 1199"):
        usage.unpack(file.content, 1, all_alive, [Bytes(1199)])
    file.slot(2, 8, (10**22 % 2**64, 0, 0))
    with pytest.raises(usage.Implausible, match="memory in use"):
        usage.unpack(file.content, 1, all_alive)
    assert usage.unpack(file.content, 1, lambda slot: slot == 1).gpus[0].used == 600


def test_more_living_processes_than_a_gpu_has_contexts_for() -> None:
    file = File()
    for slot in range(usage.SLOT_COUNT):
        file.slot(slot, slot + 1, (1, 0, 0))
    assert len(usage.unpack(file.content, 1, lambda slot: slot < usage.MAX_PROCESSES).processes) == usage.MAX_PROCESSES
    with pytest.raises(usage.Implausible, match=f"more than {usage.MAX_PROCESSES} living"):
        usage.unpack(file.content, 1, all_alive)


def test_implicit_memory_is_in_use_while_a_process_lives() -> None:
    file = File()
    file.total(0, used=30, peak=31, refused=0)
    file.slot(5, 7, (30, 0, 2))
    file.implicit(0, 12)
    got = usage.unpack(bytes(file.content), 1, all_alive).gpus[0]
    assert (got.used, got.peak) == (42, 42)
    assert usage.headers(bytes(file.content), 1)[0].used == 42
    assert usage.totals(bytes(file.content), 1) == [42]
    assert usage.unpack(bytes(file.content), 1, lambda slot: False).gpus[0].used == 0, "it went with the process"


def test_implicit_memory_was_looked_at_earlier_and_ends_at_the_gpus_size() -> None:
    file = File()
    file.total(0, used=30, peak=31, refused=0)
    file.slot(5, 7, (30, 0, 2))
    file.implicit(0, 12)
    assert usage.unpack(bytes(file.content), 1, all_alive, [Bytes(40)]).gpus[0].used == 40
    file.implicit(0, 41)
    with pytest.raises(usage.Implausible, match="implicit"):
        usage.unpack(bytes(file.content), 1, all_alive, [Bytes(40)])
