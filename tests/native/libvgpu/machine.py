"""A container on a simulated machine, as the tests of libvgpu use it."""

import json
import os
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unigpu import names, policy, usage
from unigpu.units import Bytes, GpuUuid, MiB, Percent, to_bytes

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "build/lib/libvgpu.so"
SIMULATOR = ROOT / "build/simulator"
PROBE = ROOT / "build/probe/probe"
OURS = ("CUDA_DEVICE_", "CUDA_VISIBLE_", "UNIGPU_", "LD_")


@dataclass(frozen=True)
class Machine:
    """A simulated machine, and a container on it."""

    folder: Path
    uuids: Sequence[GpuUuid]
    extra: Mapping[str, str] = field(default_factory=dict)
    preload: bool = True
    """Whether programs are started with libvgpu."""
    timeout: float = 60.0
    """Seconds until a program must have ended."""

    def without_libvgpu(self) -> "Machine":
        """The same machine, whose programs are started without libvgpu."""
        return replace(self, preload=False)

    @property
    def policy_file(self) -> Path:
        return self.folder / "policy"

    @property
    def usage_file(self) -> Path:
        return self.folder / "usage"

    def environment(self, **more: str) -> dict[str, str]:
        """As a shell would set it for a program there."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
        ours = {"LD_LIBRARY_PATH": str(SIMULATOR), names.ENV_SIM_DIR: str(self.folder / "machine")}
        if self.preload:
            ours["LD_PRELOAD"] = str(LIBRARY)
        return inherited | ours | dict(self.extra) | more

    def trial(self, *gpus: tuple[int, int], enforced: bool = True) -> dict[str, str]:
        """Writes a policy of (index of the GPU, MiB) and an empty usage file; the environment that names them."""
        self.write_policy(*gpus, enforced=enforced)
        return {names.ENV_TRIAL_POLICY: str(self.policy_file), names.ENV_TRIAL_USAGE: str(self.usage_file)}

    def write_policy(self, *gpus: tuple[int, int], enforced: bool = True, sequence: int = 0) -> None:
        limits = [policy.GpuLimit(self.uuids[index], to_bytes(MiB(mib)), Percent(0), Percent(0)) for index, mib in gpus]
        content = policy.pack(policy.Policy(limits, enforced, False), sequence)
        with self.policy_file.open("r+b" if self.policy_file.exists() else "wb") as file:
            file.write(content)

    def read_usage(self, gpus: int = 1) -> usage.Usage:
        """All slots taken count as living: whether they do is for the test to know."""
        return usage.unpack(self.usage_file.read_bytes(), gpus, lambda slot: True)

    def total(self, gpu: int = 0) -> int:
        """The GPU's total as the account has it."""
        start = usage.TOTALS_OFFSET + gpu * usage.TOTAL_SIZE
        return int.from_bytes(self.usage_file.read_bytes()[start : start + 8], "little")

    def kinds(self, gpu: int = 0) -> tuple[int, int]:
        """Bytes of contexts and of code, as the processes noted them."""
        content = self.usage_file.read_bytes()
        gpus = usage.KINDS_OFFSET + usage.KINDS_GPUS_OFFSET + gpu * usage.KINDS_GPU_SIZE
        pairs = [struct.unpack_from("<2Q", content, gpus + slot * usage.KINDS_SIZE) for slot in range(usage.SLOT_COUNT)]
        return sum(context for context, _ in pairs), sum(code for _, code in pairs)

    def run(self, *command: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Runs a program with libvgpu to its end; fails with what it said if it doesn't end well."""
        done = self.attempt(*command, **environment)
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done

    def attempt(self, *command: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(word) for word in command],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=self.timeout,
            check=False,
        )

    def start(self, *command: str | Path, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(word) for word in command],
            env=self.environment(**environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def simulator(self, *words: str) -> None:
        """Changes the simulated machine, as `unigpu-sim` does."""
        folder = self.environment()[names.ENV_SIM_DIR]
        command = [str(ROOT / ".venv/bin/unigpu-sim"), *words, "--dir", folder]
        subprocess.run(command, check=True, capture_output=True)

    def probe(self, *options: str, **environment: str) -> "list[dict[str, int | str]]":
        """What the probe says of each GPU."""
        gpus: list[dict[str, int | str]] = json.loads(self.run(PROBE, *options, **environment).stdout)["gpus"]
        return gpus


def mib(amount: int) -> Bytes:
    return to_bytes(MiB(amount))
