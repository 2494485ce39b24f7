"""The report: outcomes of the steps, and the GPU's figures in the form of the simulator's table of profiles."""

import contextlib
import ctypes
import dataclasses
import json
from collections.abc import Sequence
from ctypes import byref, c_int, c_uint
from typing import Any, Final

from gpucheck import driver
from gpucheck.driver import MIB
from gpucheck.outcome import Outcome

ATTRIBUTES: Final = {
    "major": (75, 1),
    "minor": (76, 1),
    "multiprocessors": (16, 1),
    "threads_per_multiprocessor": (39, 1),
    "shared_kib_per_multiprocessor": (81, 1024),
    "shared_kib_optin": (97, 1024),
    "l2_mib": (38, MIB),
    "bus_bits": (37, 1),
    "sm_mhz": (13, 1000),
    "memory_mhz": (36, 1000),
}
"""Column of the table → number of the device attribute, and what to divide it by."""
MEASURED: Final = {
    "memory_mib": ("sizes", "total_mib"),
    "reserved_mib": ("sizes", "reserved_mib"),
    "context_mib": ("context", "context_mib"),
}
"""Column → the step and its figure."""
LATENCIES: Final = {"launch_ns": ("small times", "launch_ns"), "record_ns": ("small times", "record_ns")}


class _Pci(ctypes.Structure):
    _fields_ = (
        ("legacy", ctypes.c_char * 16),
        ("domain", c_uint),
        ("bus", c_uint),
        ("device", c_uint),
        ("device_id", c_uint),
        ("subsystem_id", c_uint),
        ("id", ctypes.c_char * 32),
    )


def profile() -> dict[str, Any]:
    """Return the columns that the driver tells, and no column that it doesn't."""
    cuda, nvml = driver.Cuda(context=False), driver.Nvml()
    found: dict[str, Any] = {"name": nvml.text("nvmlDeviceGetName", nvml.device)}
    for column, (attribute, unit) in ATTRIBUTES.items():
        number = c_int()
        if cuda.status("cuDeviceGetAttribute", byref(number), attribute, 0) == 0:
            found[column] = number.value // unit
    pci = _Pci()
    if nvml.library.nvmlDeviceGetPciInfo_v3(nvml.device, byref(pci)) == 0:
        found |= {"device_id": pci.device_id, "subsystem_id": pci.subsystem_id}

    def ask(column: str, function: str, unit: int = 1) -> None:
        number = c_uint()
        with contextlib.suppress(AttributeError):
            if getattr(nvml.library, function)(nvml.device, byref(number)) == 0:
                found[column] = number.value // unit

    ask("cores", "nvmlDeviceGetNumGpuCores")
    ask("power_w", "nvmlDeviceGetPowerManagementDefaultLimit", 1000)
    ask("brand", "nvmlDeviceGetBrand")
    ask("architecture", "nvmlDeviceGetArchitecture")
    ask("pcie_generation", "nvmlDeviceGetGpuMaxPcieLinkGeneration")
    if "cores" in found and found.get("multiprocessors"):
        found["cores_per_multiprocessor"] = found.pop("cores") // found["multiprocessors"]
    state = c_uint()
    found["nvlinks"] = 0
    while nvml.library.nvmlDeviceGetNvLinkState(nvml.device, found["nvlinks"], byref(state)) == 0:
        found["nvlinks"] += 1
    one, other = c_uint(), c_uint()
    found["ecc"] = nvml.library.nvmlDeviceGetEccMode(nvml.device, byref(one), byref(other)) == 0
    found["mig"] = nvml.library.nvmlDeviceGetMigMode(nvml.device, byref(one), byref(other)) == 0
    return found


def text(outcomes: Sequence[Outcome]) -> str:
    """Return the report as JSON."""
    figures = {outcome.step: outcome.figures for outcome in outcomes}

    def measured(columns: dict[str, tuple[str, str]]) -> dict[str, Any]:
        return {
            column: figures[step][figure]
            for column, (step, figure) in columns.items()
            if figure in figures.get(step, {})
        }

    row: dict[str, Any] = {}
    with contextlib.suppress(driver.DriverError, OSError, AttributeError):
        row = profile()
    document = {
        "driver": figures.get("sizes", {}).get("driver"),
        "profile": row | measured(MEASURED),
        "latencies_ns": {column.removesuffix("_ns"): value for column, value in measured(LATENCIES).items()},
        "steps": [dataclasses.asdict(outcome) for outcome in outcomes],
    }
    return json.dumps(document, indent=2) + "\n"
