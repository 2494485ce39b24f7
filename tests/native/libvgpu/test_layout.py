"""C and Python agree about every byte of the shared files, and about every name."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from unigpu import policy, usage, wishes

ROOT = Path(__file__).parents[3]


def test_every_offset(compiled: Callable[..., Path]) -> None:
    lines = subprocess.run([compiled("offsets")], check=True, capture_output=True, text=True).stdout.splitlines()
    got = {name: (int(offset), int(size)) for name, offset, size in (line.split() for line in lines[:-2])}
    words = policy.HEADER.size // 8
    assert words == 4
    assert got == {
        "vgpu_policy.magic": (0, 4),
        "vgpu_policy.version": (4, 4),
        "vgpu_policy.size": (8, 4),
        "vgpu_policy.sequence": (policy.SEQUENCE_OFFSET, 4),
        "vgpu_policy.count": (16, 4),
        "vgpu_policy.flags": (20, 4),
        "vgpu_policy.compute": (24, 4),
        "vgpu_policy.priority": (28, 4),
        "vgpu_policy.heartbeat_ns": (policy.HEARTBEAT_OFFSET, 8),
        "vgpu_policy.gpus": (policy.GPUS_OFFSET, policy.MAX_GPUS * policy.ENTRY_SIZE),
        "vgpu_policy.answer": (wishes.ANSWER_OFFSET, 416),
        "vgpu_answer.granted": (wishes.ANSWER_NUMBER.size, 4),
        "vgpu_answer.text": (16, wishes.ANSWER_TEXT),
        "vgpu_policy_gpu.uuid": (0, 48),
        "vgpu_policy_gpu.memory": (48, 8),
        "vgpu_policy_gpu.cores": (56, 4),
        "vgpu_policy_gpu.ceiling": (60, 4),
        "vgpu_policy_gpu.current_rate": (policy.LIVE_STATE_OFFSET, 4),
        "vgpu_policy_gpu.neighbour_load": (policy.LIVE_STATE_OFFSET + 4, 4),
        "vgpu_usage.magic": (0, 4),
        "vgpu_usage.version": (4, 4),
        "vgpu_usage.totals": (usage.TOTALS_OFFSET, usage.MAX_GPUS * usage.TOTAL_SIZE),
        "vgpu_usage.compute": (usage.COMPUTE_OFFSET, usage.MAX_GPUS * usage.COMPUTE_SIZE),
        "vgpu_compute.balance": (0, 8),
        "vgpu_compute.earned": (8, 8),
        "vgpu_compute.used": (16, 8),
        "vgpu_compute.waited": (24, 8),
        "vgpu_compute.waits": (32, 8),
        "vgpu_compute.measured": (40, 8),
        "vgpu_compute.head_until": (48, 8),
        "vgpu_compute.learning": (56, 8),
        "vgpu_compute.turn": (64, 4),
        "vgpu_compute.served": (68, 4),
        "vgpu_usage.wish": (wishes.WISH_OFFSET, wishes.WISH_SIZE),
        "vgpu_wish.number": (0, 8),
        "vgpu_wish.gpus": (16, usage.MAX_GPUS * 16),
        "vgpu_wish_gpu.memory": (0, 8),
        "vgpu_wish_gpu.cores": (8, 4),
        "vgpu_usage.slots": (usage.SLOTS_OFFSET, usage.SLOT_COUNT * usage.SLOT_SIZE),
        "vgpu_total.used": (0, 8),
        "vgpu_total.last": (8, 8),
        "vgpu_total.peak": (16, 8),
        "vgpu_total.refused": (24, 8),
        "vgpu_total.context": (32, 8),
        "vgpu_total.implicit": (40, 8),
        "vgpu_total.kinds": (48, 8),
        "vgpu_total.launches": (56, 8),
        "vgpu_slot.pid": (0, 4),
        "vgpu_slot.state": (4, 4),
        "vgpu_slot.start": (8, 8),
        "vgpu_slot.gpus": (usage.SLOT_GPUS_OFFSET, usage.MAX_GPUS * usage.SLOT_GPU_SIZE),
        "vgpu_slot_gpu.used": (0, 16),
        "vgpu_slot_gpu.change": (16, 8),
        "vgpu_slot_gpu.counted": (24, 8),
        "vgpu_usage.kinds": (usage.KINDS_OFFSET, usage.SLOT_COUNT * usage.KINDS_SIZE),
        "vgpu_kinds.of": (0, 8),
        "vgpu_kinds.gpus": (usage.KINDS_GPUS_OFFSET, usage.MAX_GPUS * usage.KINDS_GPU_SIZE),
        "vgpu_kinds_gpu.context": (0, 8),
        "vgpu_kinds_gpu.code": (8, 8),
    }
    sizes = [policy.ENTRY_SIZE, usage.SIZE, usage.TOTAL_SIZE, usage.SLOT_SIZE, usage.SLOT_GPU_SIZE, policy.SIZE]
    sizes.append(usage.COMPUTE_SIZE)
    assert lines[-2] == f"sizes {' '.join(map(str, sizes))}"
    numbers = [
        policy.MAGIC,
        policy.VERSION,
        usage.MAGIC,
        usage.VERSION,
        usage.SLOT_COUNT,
        usage.LOCKS_OFFSET,
        usage.MAX_GPUS,
        policy.FRESH_NS,
        wishes.WISH_LOCK,
    ]
    assert lines[-1] == f"numbers {' '.join(map(str, numbers))}"


def test_names_are_current() -> None:
    subprocess.run([ROOT / ".venv/bin/python", "-m", "libvgpu.headers", "--check"], check=True, cwd=ROOT)
