"""Containers' folders as the node agent and libvgpu make them."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unigpu import grants, policy, usage
from unigpu.allocations import Share
from unigpu.requests import ComputePolicy, Role
from unigpu.units import Bytes, GpuUuid, MiB, Percent

GPUS = tuple(GpuUuid(f"GPU-{number}") for number in range(4))

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 1, int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


class Tree:
    """The root of containers' folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._holders: list[subprocess.Popen[str]] = []

    def grant(
        self,
        pod: str = "train",
        container: str = "main",
        *,
        gpus: tuple[int, ...] = (0,),
        memory: int = 2048,
        cores: int = 25,
        role: Role = Role.MAIN,
    ) -> grants.Grant:
        given = tuple(Share(GPUS[gpu], MiB(memory), Percent(cores)) for gpu in gpus)
        indexes = {GPUS[gpu]: gpu for gpu in gpus}
        return grants.Grant("team", pod, f"uid-{pod}", container, ("slot-0",), given, indexes, True, "hami", role)

    def folder(self, grant: grants.Grant) -> Path:
        return Path(grants.folder(self.root, grant.pod_uid, grant.container))

    def add(self, grant: grants.Grant) -> Path:
        """Usage, policy and grant, in the node agent's order."""
        folder = self.folder(grant)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / grants.USAGE_FILE).write_bytes(bytes(usage.SIZE))
        self.limit(grant, grant.shares[0].memory, grant.shares[0].cores)
        beside = folder / ".grant"
        beside.write_text(grants.dump(grant))
        beside.rename(folder / grants.GRANT_FILE)
        return folder

    def limit(
        self,
        grant: grants.Grant,
        memory: int,
        cores: int,
        sequence: int = 0,
        compute: ComputePolicy = ComputePolicy.HARD,
    ) -> None:
        """Write the policy in place."""
        limits = tuple(
            policy.GpuLimit(share.gpu, Bytes(memory << 20), Percent(cores), Percent(cores)) for share in grant.shares
        )
        content = policy.pack(policy.Policy(limits, True, True, compute), sequence)
        file = self.folder(grant) / grants.POLICY_FILE
        with file.open("r+b" if file.exists() else "wb") as stream:
            stream.write(content)

    def use(self, grant: grants.Grant, slot: int, *used: int, refused: int = 0, change: int = 1) -> None:
        """Let the process of a slot have so many bytes of each GPU, as libvgpu writes it."""
        with (self.folder(grant) / grants.USAGE_FILE).open("r+b") as file:
            file.write(struct.pack("<II", usage.MAGIC, usage.VERSION))
            start = usage.SLOTS_OFFSET + slot * usage.SLOT_SIZE
            file.seek(start)
            file.write(struct.pack("<IIQ", 40 + slot, 1, 99))
            for gpu, amount in enumerate(used):
                file.seek(start + usage.SLOT_GPUS_OFFSET + gpu * usage.SLOT_GPU_SIZE)
                file.write(struct.pack("<4Q", amount, 0, change * 2, 0))
                file.seek(usage.TOTALS_OFFSET + gpu * usage.TOTAL_SIZE)
                file.write(struct.pack("<5Q", amount, (slot + 1) << 48 | change, amount, refused, 0))

    def charge(self, grant: grants.Grant, gpu: int, charged_ns: int, waited_ns: int = 0, waits: int = 0) -> None:
        """GPU time, as libvgpu writes it."""
        with (self.folder(grant) / grants.USAGE_FILE).open("r+b") as file:
            file.write(struct.pack("<II", usage.MAGIC, usage.VERSION))
            file.seek(usage.COMPUTE_OFFSET + gpu * usage.COMPUTE_SIZE + 16)
            file.write(struct.pack("<3Q", charged_ns, waited_ns, waits))

    def launch(self, grant: grants.Grant, gpu: int, launches: int) -> None:
        """Launches, as libvgpu counts them."""
        with (self.folder(grant) / grants.USAGE_FILE).open("r+b") as file:
            file.seek(usage.TOTALS_OFFSET + gpu * usage.TOTAL_SIZE + 56)
            file.write(struct.pack("<Q", launches))

    def note_kinds(self, grant: grants.Grant, slot: int, context: int, code: int) -> None:
        """Which of the bytes of a slot's process on the first GPU are what, as libvgpu notes it."""
        with (self.folder(grant) / grants.USAGE_FILE).open("r+b") as file:
            file.seek(usage.KINDS_OFFSET + slot * usage.KINDS_SIZE)
            file.write(struct.pack("<4Q", 99 + 1, 0, context, code))
            file.seek(usage.TOTALS_OFFSET + 48)
            file.write(struct.pack("<Q", 1))

    def tell(self, grant: grants.Grant, now: float, looked_ns: int) -> None:
        """What the first GPU's moment is, as the node agent writes it."""
        with (self.folder(grant) / grants.POLICY_FILE).open("r+b") as file:
            file.seek(policy.live_state_offset(0))
            file.write(policy.live_state(now, 0))
            file.seek(policy.HEARTBEAT_OFFSET)
            file.write(policy.HEARTBEAT.pack(looked_ns))

    def live(self, grant: grants.Grant, slot: int) -> subprocess.Popen[str]:
        """A process that holds the slot's lock until it ends."""
        path = self.folder(grant) / grants.USAGE_FILE
        command = [sys.executable, "-c", HOLDER, str(path), str(usage.LOCKS_OFFSET + slot)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        return holder

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.communicate()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made = Tree(tmp_path / "containers")
    yield made
    made.close()
