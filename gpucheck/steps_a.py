"""Part A: entry points, memory, contexts, processes, and the smallest times. What finds most comes first."""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from ctypes import byref, c_int, c_uint64, c_void_p
from typing import Final

from gpucheck import driver
from gpucheck.children import ALLOCATORS
from gpucheck.driver import MIB
from gpucheck.outcome import Figures, Place, Skipped, Step
from gpucheck.processes import LIMIT, answer, children, limited, need, once, start

ROW: Final = re.compile(r"^CUDA_API(?:_PT)?\(\w+, (\w+), (\d+),\s*(\w+)", re.MULTILINE)


def entry_points(place: Place) -> Figures:
    """Every name of the list up to the driver's version: exported, and looked up as the list says."""
    cuda = driver.Cuda(context=False)
    rows = [
        (plain, int(since), symbol)
        for plain, since, symbol in ROW.findall((place.root / "abi/symbols.def").read_text())
    ]
    newest = cuda.version()
    missing, other = [], []
    for plain, since, symbol in rows:
        if since > newest:
            continue
        exported = getattr(cuda.library, symbol, None)
        found = c_void_p()
        cuda.status("cuGetProcAddress_v2", plain.encode(), byref(found), since, c_uint64(0), byref(c_int()))
        if exported is None:
            missing.append(symbol)
        elif found.value != ctypes.cast(exported, c_void_p).value:
            other.append(f"{plain}@{since}")
    need(not missing, f"{len(missing)} names aren't exported: {' '.join(missing[:20])}")
    need(not other, f"{len(other)} names mean another function: {' '.join(other[:20])}")
    return {"cuda": newest, "names": len(rows)}


def memory_told(place: Place) -> Figures:
    """NVML's two versions and CUDA agree on sizes: what can be given away is the total without the reserve."""
    cuda, nvml = driver.Cuda(context=False), driver.Nvml()
    first, second, total = nvml.memory(), nvml.memory_v2(), cuda.total()
    need(first["total"] == second["total"], f"totals {first['total']} by v1 and {second['total']} by v2")
    usable = second["total"] - second["reserved"]
    need(abs(usable - total) <= 2 * MIB, f"total less reserve is {usable}, cuDeviceTotalMem {total}")
    return {
        "name": nvml.text("nvmlDeviceGetName", nvml.device),
        "driver": nvml.text("nvmlSystemGetDriverVersion"),
        "total_mib": first["total"] // MIB,
        "reserved_mib": second["reserved"] // MIB,
    }


def context_cost(place: Place) -> Figures:
    """A context takes the same from what is free as NVML lists for its process."""
    nvml = driver.Nvml()
    before = nvml.memory_v2()["free"]
    child = start(place, "context")
    with children(child):
        told = answer(child)
        taken = before - nvml.memory_v2()["free"]
        listed = nvml.processes().get(told["pid"])
    need(listed is not None, f"NVML doesn't list pid {told['pid']}")
    need(abs(taken - (listed or 0)) <= 4 * MIB, f"{taken} bytes less are free, and NVML lists {listed}")
    return {"context_mib": taken // MIB}


def contexts_at_once(place: Place) -> Figures:
    """Several processes that start together each pay for a context."""
    nvml = driver.Nvml()
    before = nvml.memory_v2()["free"]
    started = [start(place, "context") for _ in range(place.processes)]
    with children(*started):
        pids = [answer(child)["pid"] for child in started]
        listed = nvml.processes()
        taken = before - nvml.memory_v2()["free"]
    need(set(pids) <= set(listed), f"NVML lists {sorted(listed)}, started were {sorted(pids)}")
    costs = [listed[pid] for pid in pids]
    need(abs(taken - sum(costs)) <= 4 * MIB * len(pids), f"{taken} bytes less are free, and NVML lists {costs}")
    return {"processes": len(pids), "least_mib": min(costs) // MIB, "most_mib": max(costs) // MIB}


def largest_allocation(place: Place) -> Figures:
    """One allocation may take nearly all that is free."""
    cuda = driver.Cuda()
    free = cuda.free()
    low, high = 0, free // (2 * MIB) + 1
    while high - low > 1:
        middle = (low + high) // 2
        pointer = cuda.alloc(middle * 2 * MIB)
        if pointer:
            cuda.release(pointer)
        low, high = (middle, high) if pointer else (low, middle)
    need(low * 2 * MIB >= free * 0.95, f"{low * 2} MiB of {free // MIB} MiB")
    return {"free_mib": free // MIB, "largest_mib": low * 2}


def small_times(place: Place) -> Figures:
    """An event isn't ready right after it was recorded; what launches and records cost the host."""
    cuda = driver.Cuda()
    kernel, event = cuda.kernel(), c_void_p()
    cuda.call("cuEventCreate", byref(event), 0)
    times: dict[str, list[int]] = {"launch": [], "record": [], "ready": []}
    early = 0
    for _ in range(2000):
        cuda.call("cuCtxSynchronize")
        began = time.perf_counter_ns()
        cuda.launch(kernel)
        times["launch"].append(time.perf_counter_ns() - began)
        cuda.call("cuCtxSynchronize")
        began = time.perf_counter_ns()
        cuda.call("cuEventRecord", event, None)
        recorded = time.perf_counter_ns()
        times["record"].append(recorded - began)
        polls = 0
        while cuda.status("cuEventQuery", event) == driver.NOT_READY:
            polls += 1
        times["ready"].append(time.perf_counter_ns() - recorded)
        early += polls == 0
    found: Figures = {f"{name}_ns": sorted(each)[len(each) // 2] for name, each in times.items()}
    need(early < 1000, f"{early} of 2000 events were ready at once: {found}")
    return found | {"ready_at_once": early}


def pids(place: Place) -> Figures:
    """In a pid namespace NVML lists the pids of that namespace, and no others."""
    if os.geteuid() or not shutil.which("unshare"):
        raise Skipped("needs root and unshare")
    outside = start(place, "context")
    with children(outside):
        answer(outside)
        told = once(place, "own_pid", before=("unshare", "--pid", "--fork", "--mount-proc"))
    need(told["listed"] == [told["pid"]], f"pid {told['pid']} sees {told['listed']}")
    return {"listed": len(told["listed"])}


def a_limit(allocator: str) -> Step:
    """Make the step that fills 4 GiB by one allocator: refused there, and the account is never below NVML's figure."""

    def ask(place: Place) -> Figures:
        told = once(place, "fill", allocator, extra=limited(place))
        need(told["status"] == driver.OUT_OF_MEMORY, f"ended with {told['status']} after {told['had'] // MIB} MiB")
        need(told["had"] <= LIMIT, f"{told['had'] // MIB} MiB were had under 4096")
        need(told["had"] >= LIMIT // 2, f"refused after {told['had'] // MIB} MiB")
        account = LIMIT - told["free"]
        need(account + 64 * MIB >= told["listed"], f"account {account // MIB} MiB, NVML {told['listed'] // MIB}")
        return {"had_mib": told["had"] // MIB, "account_mib": account // MIB, "nvml_mib": told["listed"] // MIB}

    return Step(f"4 GiB by {allocator}", ask)


def random_allocations(place: Place) -> Figures:
    """After many random allocations the account still follows NVML, and nothing is left when all are freed."""
    told = once(place, "churn", str(place.allocations), extra=limited(place))
    difference = told["account"] - told["listed"]
    need(abs(difference) <= 64 * MIB, f"account {told['account']}, NVML {told['listed']}")
    need(told["left"] <= 64 * MIB, f"{told['left']} bytes are left")
    return {"account_less_nvml": difference, "left": told["left"]}


def total_under_libvgpu(place: Place) -> Figures:
    """A program that launches kernels runs under libvgpu and sees its share as the GPU."""
    told = once(place, "launches", extra=limited(place) | {"CUDA_DEVICE_SM_LIMIT": "50"})
    need(told["total"] == LIMIT, f"the program sees {told['total'] // MIB} MiB")
    return {"total_mib": told["total"] // MIB}


def nvidia_smi(place: Place) -> Figures:
    """nvidia-smi under libvgpu shows the share and the process."""
    if not shutil.which("nvidia-smi"):
        raise Skipped("there is no nvidia-smi")
    with tempfile.TemporaryDirectory() as folder:
        environment = limited(place) | {"CUDA_DEVICE_MEMORY_SHARED_CACHE": f"{folder}/account"}
        child = start(place, "context", extra=environment)
        with children(child):
            pid = answer(child)["pid"]
            done = subprocess.run(
                ["nvidia-smi"], env=os.environ | environment, capture_output=True, text=True, timeout=60
            )
    need("/ 4096MiB" in done.stdout.replace("  ", " "), f"no share of 4096 MiB: {done.stdout[-400:]}")
    need(str(pid) in done.stdout, f"its table lacks pid {pid}")
    return {"pid": "listed"}


FRAMEWORKS: Final = {
    "torch": "import torch; print(torch.ones(1000, device='cuda').sum().item())",
    "triton": "import torch, triton; print(torch.ones(1000, device='cuda').sum().item())",
    "jax": "import jax.numpy as j; print(j.ones(1000).sum().item())",
    "cupy": "import cupy; print(cupy.ones(1000).sum().item())",
}


def a_framework(name: str) -> Step:
    """Make the step that adds up an array by a framework: the same result under libvgpu as without it."""

    def ask(place: Place) -> Figures:
        if importlib.util.find_spec(name) is None:
            raise Skipped("not installed")
        extra = limited(place) | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        results = []
        for environment in (os.environ.copy(), os.environ | extra):
            command = [sys.executable, "-c", FRAMEWORKS[name]]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
            results.append(done.stdout.strip() or (done.stderr.strip().splitlines() or [""])[-1])
        need(results[0] == results[1], f"{results[0]} without libvgpu, {results[1]} under it")
        return {"result": results[0]}

    return Step(name, ask)


STEPS: Final = (
    Step("entry points", entry_points),
    Step("sizes", memory_told),
    Step("under libvgpu", total_under_libvgpu),
    *(a_framework(name) for name in FRAMEWORKS),
    Step("largest allocation", largest_allocation),
    *(a_limit(name) for name in ALLOCATORS),
    Step("context", context_cost),
    Step("contexts at once", contexts_at_once),
    Step("pids", pids),
    Step("random allocations", random_allocations),
    Step("nvidia-smi", nvidia_smi),
    Step("small times", small_times),
)
