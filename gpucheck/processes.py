"""Processes of their own for steps, bare or under libvgpu; and a container, as libvgpu sees it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpucheck import driver
from gpucheck.driver import MIB
from gpucheck.outcome import Differs, Place, Skipped
from unigpu import names, policy, usage
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, Percent

LIMIT: Final = 4096 * MIB


def need(condition: bool, text: str) -> None:
    """Raise Differs with the text unless the condition holds."""
    if not condition:
        raise Differs(text)


def start(
    place: Place, *arguments: str, before: tuple[str, ...] = (), extra: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start a function of `children` in a process of its own."""
    child = subprocess.Popen(
        [*before, sys.executable, "-m", "gpucheck", "child", *arguments],
        cwd=place.root,
        env=os.environ | (extra or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = threading.Timer(place.patience, end_group, (child,))
    end.daemon = True
    end.start()
    return child


def end_group(child: "subprocess.Popen[str]") -> None:
    """Kill a child that takes too long, and what it has started."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def answer(child: "subprocess.Popen[str]") -> dict[str, Any]:
    """Read what a child tells; raise Differs with its last words if it fails."""
    assert child.stdout and child.stderr
    text = child.stdout.readline()
    if not text:
        raise Differs((child.stderr.read().strip().splitlines() or ["a child process ended without a word"])[-1])
    found: dict[str, Any] = json.loads(text)
    return found


@contextlib.contextmanager
def children(*started: "subprocess.Popen[str]") -> Iterator[None]:
    """End the children when the block ends."""
    try:
        yield
    finally:
        for child in started:
            child.communicate()


def once(
    place: Place, *arguments: str, before: tuple[str, ...] = (), extra: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run a child to its end and return what it told."""
    child = start(place, *arguments, before=before, extra=extra)
    with children(child):
        return answer(child)


def limited(place: Place) -> dict[str, str]:
    """Return the environment of a process under libvgpu, with 4 GiB of every GPU; raise Skipped without libvgpu."""
    if place.libvgpu is None:
        raise Skipped("libvgpu isn't built: make native")
    return {"LD_PRELOAD": str(place.libvgpu), "CUDA_DEVICE_MEMORY_LIMIT": "4g"}


@dataclass(frozen=True, slots=True)
class Container:
    """The files through which the node agent and libvgpu talk about one container."""

    folder: Path
    libvgpu: Path

    def environment(self) -> dict[str, str]:
        """Return what programs in the container are started with."""
        return {
            "LD_PRELOAD": str(self.libvgpu),
            names.ENV_TRIAL_POLICY: str(self.folder / "policy"),
            names.ENV_TRIAL_USAGE: str(self.folder / "usage"),
        }

    def account(self) -> usage.GpuTotals:
        """Return what libvgpu has counted and charged so far."""
        return usage.unpack((self.folder / "usage").read_bytes(), 1, lambda slot: False).gpus[0]


@contextlib.contextmanager
def container(
    place: Place,
    *,
    memory: int = 0,
    cores: int = 0,
    ceiling: int = 0,
    compute: ComputePolicy = ComputePolicy.HARD,
    priority: int = 0,
) -> Iterator[Container]:
    """Make a container with a share of the first GPU; memory 0: not limited. Raises Skipped without libvgpu."""
    if place.libvgpu is None:
        raise Skipped("libvgpu isn't built: make native")
    nvml = driver.Nvml()
    gpu = GpuUuid(nvml.text("nvmlDeviceGetUUID", nvml.device))
    limit = policy.GpuLimit(gpu, Bytes(memory), Percent(cores), Percent(ceiling or cores))
    with tempfile.TemporaryDirectory(prefix="gpucheck-") as name:
        folder = Path(name)
        content = policy.pack(policy.Policy([limit], memory > 0, cores > 0, compute, priority))
        (folder / "policy").write_bytes(content)
        (folder / "usage").write_bytes(bytes(usage.SIZE))
        yield Container(folder, place.libvgpu)


def said(child: "subprocess.Popen[str]", word: str) -> dict[str, Any]:
    """Say a word to a child and read its answer."""
    assert child.stdin
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(word + "\n")
        child.stdin.flush()
    return answer(child)
