"""Part C: captures among threads, tools, kills, modes of the GPU, what escapes libvgpu, and health."""

import ctypes
import ctypes.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from ctypes import c_char_p, c_uint64
from pathlib import Path
from typing import Final

from gpucheck import driver, processes
from gpucheck.driver import MIB, OUT_OF_MEMORY
from gpucheck.node import NODE_STEPS
from gpucheck.outcome import Figures, Place, Skipped, Step
from gpucheck.processes import LIMIT, answer, children, container, need, once, said, start

UNAVAILABLE: Final = 46
EXCLUSIVE_PROCESS, DEFAULT = 3, 0
NOT_SUPPORTED, NO_PERMISSION = 3, 4
XIDS: Final = {"trap": 13, "null store": 31}


def captures(place: Place) -> Figures:
    """Captures of a thread and launches and allocations of others don't disturb each other under libvgpu."""
    rounds = str(place.rounds * 2)
    bare = once(place, "captures", rounds)["failed"]
    under = once(place, "captures", rounds, extra=processes.limited(place) | {"CUDA_DEVICE_SM_LIMIT": "50"})["failed"]
    need(not bare, f"without libvgpu: {bare}")
    need(not under, f"under libvgpu: {under}")
    return {"captures": int(rounds)}


def streams(place: Place) -> Figures:
    """Every kind of stream and launch returns under libvgpu what it returns without it."""
    bare = once(place, "streams")
    under = once(place, "streams", extra=processes.limited(place) | {"CUDA_DEVICE_SM_LIMIT": "50"})
    need(bare == under, f"without libvgpu {bare}, under it {under}")
    wrong = {name: status for name, status in bare["found"].items() if status}
    need(not wrong, f"errors: {wrong}")
    return {"kinds": len(bare["found"]), "green_context": "works" if not any(bare["green"] or [1]) else "absent"}


def blocking(place: Place) -> Figures:
    """With CUDA_LAUNCH_BLOCKING=1 programs run under libvgpu."""
    extra = processes.limited(place) | {"CUDA_DEVICE_SM_LIMIT": "50", "CUDA_LAUNCH_BLOCKING": "1"}
    told = once(place, "streams", extra=extra)
    wrong = {name: status for name, status in told["found"].items() if status}
    need(not wrong, f"errors: {wrong}")
    return {"kinds": len(told["found"])}


TOOLS: Final = {
    "compute-sanitizer": ("compute-sanitizer", "--error-exitcode", "9"),
    "nsys": ("nsys", "profile", "--force-overwrite", "true", "--output", "gpucheck-nsys"),
    "cuda-gdb": ("cuda-gdb", "-batch", "-ex", "run", "--args"),
}


def a_tool(name: str) -> Step:
    """Make the step that runs a program with a tool of NVIDIA's and libvgpu."""

    def ask(place: Place) -> Figures:
        if not shutil.which(name):
            raise Skipped("not installed")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [*TOOLS[name], sys.executable, "-m", "gpucheck", "child", "launches"],
                cwd=folder,
                env=os.environ | processes.limited(place) | {"PYTHONPATH": str(place.root)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
            )
        need(done.returncode == 0, f"exit status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
        need('"done": true' in done.stdout, f"the program's answer is missing: {done.stdout[-300:]}")
        return {"status": 0}

    return Step(name, ask)


def kills(place: Place) -> Figures:
    """Processes killed at random leave nothing in the account, nor on the GPU."""
    nvml, chance = driver.Nvml(), random.Random(7)
    before = nvml.memory_v2()["free"]
    with container(place, memory=LIMIT) as mine:
        for number in range(place.rounds):
            child = start(place, "hold", "64", extra=mine.environment())
            with children(child):
                if number % 2:
                    answer(child)
                time.sleep(chance.random() * 0.05)
                child.kill()
        after = once(place, "context", extra=mine.environment())["free"]
        again = once(place, "context", extra=mine.environment())["free"]
    left = LIMIT - max(after, again) - (LIMIT - again)
    taken = before - nvml.memory_v2()["free"]
    context = LIMIT - again
    need(context <= LIMIT // 4, f"after {place.rounds} kills a new process finds {again // MIB} of 4096 MiB free")
    need(abs(taken) <= 16 * MIB, f"{taken // MIB} MiB of the GPU are missing")
    return {"kills": place.rounds, "left": left}


def stops(place: Place) -> Figures:
    """While one process of a container is stopped, the others go on."""
    with container(place, memory=LIMIT, cores=50) as mine:
        stopped, other = (start(place, "hold", "64", extra=mine.environment()) for _ in range(2))
        with children(stopped, other):
            answer(stopped)
            answer(other)
            waits = []
            for _ in range(max(3, place.rounds // 5)):
                os.kill(stopped.pid, signal.SIGSTOP)
                first, begun = said(other, "now")["launches"], time.monotonic()
                while said(other, "now")["launches"] == first and time.monotonic() - begun < 10:
                    time.sleep(0.01)
                waits.append(time.monotonic() - begun)
                os.kill(stopped.pid, signal.SIGCONT)
            need(max(waits) < 10, "the other process launched nothing for 10 s")
            stopped.kill()
            other.kill()
    return {"longest_wait_s": round(max(waits), 2)}


def exclusive(place: Place) -> Figures:
    """In exclusive mode a second process is refused as NVIDIA says, and libvgpu passes that on."""
    nvml = driver.Nvml()
    status = nvml.library.nvmlDeviceSetComputeMode(nvml.device, EXCLUSIVE_PROCESS)
    if status in (NOT_SUPPORTED, NO_PERMISSION):
        raise Skipped("the compute mode can't be changed here (root?)")
    driver.check("nvmlDeviceSetComputeMode", status)
    try:
        first = start(place, "context")
        with children(first):
            answer(first)
            found = [once(place, "begin", extra=extra)["status"] for extra in ({}, processes.limited(place))]
    finally:
        nvml.library.nvmlDeviceSetComputeMode(nvml.device, DEFAULT)
    need(found == [UNAVAILABLE] * 2, f"errors {found}, not {UNAVAILABLE}")
    return {"error": found[0]}


def mps(place: Place) -> Figures:
    """Under MPS, libvgpu holds a limit and counts as without it; clients are in NVML's list for them."""
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        raise Skipped("nvidia-cuda-mps-control isn't installed")
    with tempfile.TemporaryDirectory() as folder:
        pipes = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        subprocess.run([control, "-d"], env=os.environ | pipes, check=True, timeout=30)
        try:
            told = once(place, "fill", "cuMemAlloc", extra=processes.limited(place) | pipes)
            client = start(place, "context", extra=pipes)
            with children(client):
                pid, nvml = answer(client)["pid"], driver.Nvml()
                listed = pid in nvml.processes("MPSCompute"), pid in nvml.processes()
        finally:
            subprocess.run([control], input="quit\n", env=os.environ | pipes, text=True, timeout=60)
    need(told["status"] == OUT_OF_MEMORY, f"ended with {told['status']} after {told['had'] // MIB} MiB")
    need(told["had"] <= LIMIT, f"{told['had'] // MIB} MiB were had under 4096")
    return {"had_mib": told["had"] // MIB, "in_mps_list": int(listed[0]), "in_compute_list": int(listed[1])}


def opencl(place: Place) -> Figures:
    """What a program gets by OpenCL, whose driver libvgpu can't see: nothing, if unigpu's containers lack it."""
    if ctypes.util.find_library("OpenCL") is None:
        raise Skipped("there is no libOpenCL")
    had = once(place, "opencl", "8192", extra=processes.limited(place))["had"]
    if had is None:
        raise Skipped("OpenCL has no GPU")
    need(had <= LIMIT // MIB, f"{had} MiB were had by OpenCL under 4096")
    return {"had_mib": had}


STATIC: Final = """
#include <stdio.h>
int main(void) { FILE *node = fopen("/dev/nvidiactl", "r"); printf("%d\\n", node != NULL); return 0; }
"""


def escapes(place: Place) -> Figures:
    """What libvgpu doesn't see on this machine: encoders, ordinary memory used by kernels, static programs."""
    figures: Figures = {
        "nvenc": int(ctypes.util.find_library("nvidia-encode") is not None),
        "pageable_access": once(place, "pageable")["pageable"],
    }
    if (compiler := shutil.which("cc")) is not None:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "static"
            built = subprocess.run(
                [compiler, "-static", "-x", "c", "-", "-o", program], input=STATIC, text=True, capture_output=True
            )
            if built.returncode == 0:
                done = subprocess.run(
                    [program], env=os.environ | processes.limited(place), capture_output=True, text=True
                )
                figures["static_program_opens_the_driver"] = int(done.stdout)
    return figures


def an_xid(kind: str) -> Step:
    """Make the step that provokes an XID and looks for it in NVML's events."""

    def ask(place: Place) -> Figures:
        told = once(place, "fault", kind)
        if not told["instructions"]:
            raise Skipped("this driver runs no instructions of kernels")
        if told["events"]:
            raise Skipped("the driver reports no events for this GPU")
        need(told["status"] != 0, "the kernel ended well")
        need(XIDS[kind] in told["xids"], f"XIDs {told['xids']}, error {told['status']}")
        need(once(place, "begin")["status"] == 0, "the GPU takes no new contexts after it")
        return {"error": told["status"], "xid": XIDS[kind]}

    return Step(f"XID {XIDS[kind]}", ask)


def reset(place: Place) -> Figures:
    """Whether the GPU can be reset while an NVML session is open, and that it can be when none is."""
    smi = shutil.which("nvidia-smi")
    if smi is None or os.geteuid():
        raise Skipped("needs root and nvidia-smi")
    driver.Nvml().close()

    def attempt() -> "subprocess.CompletedProcess[str]":
        return subprocess.run([smi, "-r", "-i", "0"], capture_output=True, text=True, timeout=120)

    session = driver.Nvml()
    open_session = attempt()
    session.close()
    closed = attempt()
    if "not supported" in closed.stdout.lower():
        raise Skipped("this GPU can't be reset from here")
    need(closed.returncode == 0, f"after NVML was closed: {closed.stdout.strip()}")
    need(once(place, "begin")["status"] == 0, "the GPU takes no new contexts after it")
    return {"with_open_session": int(open_session.returncode == 0), "without": 1}


class _SetLimits(ctypes.Structure):
    _fields_ = (("group", c_char_p), ("soft", c_uint64), ("hard", c_uint64))


class _GetLimits(ctypes.Structure):
    _fields_ = (*_SetLimits._fields_, ("used", c_uint64))


def memory_limits(place: Place) -> Figures:
    """The driver's own limits for control groups (branch 615) hold."""
    nvml = driver.Nvml()
    if not hasattr(nvml.library, "nvmlDeviceSetMemoryLimits_v1"):
        raise Skipped("the driver has none")
    root = Path("/sys/fs/cgroup")
    group = (root / "memory" if (root / "memory").is_dir() else root) / f"gpucheck-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise Skipped(f"no control group can be made: {error.strerror}") from error
    name = str(group).encode()
    try:
        status = nvml.library.nvmlDeviceSetMemoryLimits_v1(nvml.device, ctypes.byref(_SetLimits(name, 0, LIMIT)))
        if status == NOT_SUPPORTED:
            raise Skipped("the driver has none")
        driver.check("nvmlDeviceSetMemoryLimits_v1", status)
        into = ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")
        told = once(place, "fill", "cuMemAlloc", before=into)
        managed = once(place, "fill", "cuMemAllocManaged", before=into)
        nvml.library.nvmlDeviceSetMemoryLimits_v1(nvml.device, ctypes.byref(_SetLimits(name, 0, (1 << 64) - 1)))
    finally:
        group.rmdir()
    need(told["status"] == OUT_OF_MEMORY and told["had"] <= LIMIT, f"{told['had'] // MIB} MiB were had under 4096")
    return {"had_mib": told["had"] // MIB, "managed_had_mib": managed["had"] // MIB}


STEPS: Final = (
    Step("captures among threads", captures),
    Step("kinds of streams", streams),
    Step("launch blocking", blocking),
    *(a_tool(name) for name in TOOLS),
    Step("kills", kills),
    Step("stops", stops),
    Step("exclusive mode", exclusive),
    Step("MPS", mps),
    *NODE_STEPS,
    Step("OpenCL", opencl),
    Step("what escapes", escapes),
    *(an_xid(kind) for kind in XIDS),
    Step("limits of control groups", memory_limits),
    Step("reset", reset),
)
