"""The process that calls NVML: one JSON line a sample, on stdout. Only it loads the driver's library.

There are two kinds of samples: of the GPUs themselves, with their load and sensors, and, more often, of the processes
on them.

NVML may hang in the kernel or take its process down; the agent then replaces this process and goes on. NVML's
functions: https://docs.nvidia.com/deploy/nvml-api/

    python -m deviceplugin.node.probe <NVML library> <seconds between samples of GPUs> <of processes; 0: none>
"""

import contextlib
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml

from deviceplugin.node import numa
from unigpu import telemetry
from unigpu.documents import MAX_NUMBER
from unigpu.telemetry import GpuTelemetry
from unigpu.units import Bytes, GpuUuid

_COMMON_ANCESTOR_FAR = 60
"""NVML's levels run from 0 (one board) to 50 (across sockets) in tens; the quality of a link is this less the level."""
_NEAREST, _FARTHEST = 50, 10
_NVLINK = 100


class Probe:
    """An NVML session."""

    def __init__(self, library: str) -> None:
        pynvml.nvmlLib = ctypes.CDLL(library)
        pynvml.nvmlInit()
        self.session = f"{os.getpid()}-{time.time_ns()}"
        self._links: dict[str, dict[str, int]] = {}
        self._events: Any = None
        with contextlib.suppress(pynvml.NVMLError):
            self._events = pynvml.nvmlEventSetCreate()
        self._watched: set[str] = set()
        self._uuids: dict[int, str] = {}
        """By index. Indexes hold for one session."""
        self._handles: dict[str, Any] = {}
        """By UUID, of GPUs that the last sample could read."""
        self._by_handle: dict[int | None, str] = {}
        """UUID of each handle: a GPU that has fallen off the bus no longer tells its own."""

    def sample(self) -> list[dict[str, Any]]:
        """Read all GPUs, by index; one that can't be read has a problem instead."""
        read: list[dict[str, Any]] = []
        handles = {}
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid, model = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
                memory = _memory(handle)
                gpu = {
                    "index": index,
                    "uuid": uuid,
                    "minor": pynvml.nvmlDeviceGetMinorNumber(handle),
                    "model": model,
                    "memory": memory.usable >> 20,
                }
            except pynvml.NVMLError as error:
                read.append({"uuid": self._uuids.get(index), "problem": str(error)})
                continue
            with contextlib.suppress(pynvml.NVMLError):
                gpu["bus"] = _text(pynvml.nvmlDeviceGetPciInfo(handle).busId)
                gpu["numa"] = numa.node_of(gpu["bus"])
            gpu["recovery"] = _recovery(handle)
            gpu |= _modes(handle) | _memory_errors(handle)
            said = GpuTelemetry(GpuUuid(uuid), index, model, memory.total, memory.used, **_sensors(handle))
            gpu["telemetry"] = telemetry.to_document(said)
            handles[gpu["uuid"]] = handle
            self._uuids[index] = self._by_handle[_address(handle)] = gpu["uuid"]
            read.append(gpu)
        if set(handles) != set(self._links):
            self._links = {uuid: _links(handle, uuid, handles) for uuid, handle in handles.items()}
        for gpu in read:
            if "problem" not in gpu:
                gpu["links"] = self._links[gpu["uuid"]]
        self._watch(handles)
        self._handles = handles
        return read

    def processes(self) -> dict[str, list[tuple[int, int | None]]]:
        """Return pid and bytes (None: the driver doesn't say) of each process, by GPU that can be read."""
        found = {}
        for uuid, handle in self._handles.items():
            with contextlib.suppress(pynvml.NVMLError):
                found[uuid] = _processes(handle)
        return found

    def used(self) -> dict[str, int]:
        """Return the bytes in use of each GPU that can be read, without what the driver keeps for itself; GPUs whose
        driver doesn't tell these apart are absent."""
        found = {}
        for uuid, handle in self._handles.items():
            with contextlib.suppress(pynvml.NVMLError):
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
                found[uuid] = min(int(memory.used), int(memory.total))
        return found

    def wait(self, seconds: float) -> dict[str, list[int]]:
        """Return the XIDs of each GPU as soon as there are any; none after so many seconds, or where the driver reports
        no events."""
        xids: dict[str, list[int]] = {}
        if not self._watched:
            time.sleep(seconds)
            return xids
        timeout = int(seconds * 1000)
        while True:
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, timeout)
            except pynvml.NVMLError_Timeout:
                return xids
            except pynvml.NVMLError:
                # A lost GPU ends the wait at once, each time.
                time.sleep(seconds)
                return xids
            if event.eventType == pynvml.nvmlEventTypeXidCriticalError:
                uuid = self._by_handle.get(_address(event.device))
                if uuid is not None:
                    xids.setdefault(uuid, []).append(int(event.eventData))
            timeout = 0

    def _watch(self, handles: dict[str, Any]) -> None:
        for uuid in handles.keys() - self._watched if self._events is not None else ():
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlDeviceRegisterEvents(handles[uuid], pynvml.nvmlEventTypeXidCriticalError, self._events)
                self._watched.add(uuid)


@dataclass(frozen=True, slots=True)
class _Memory:
    total: Bytes
    used: Bytes
    usable: Bytes
    """What can be given away: the total without what the driver keeps for itself."""


def _memory(handle: Any) -> _Memory:
    """Only the second version of the call (R510) tells what the driver keeps, and doesn't count it as used, as
    nvidia-smi doesn't. Raises NVMLError."""
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        reserved = int(memory.reserved)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_ArgumentVersionMismatch):
        memory, reserved = pynvml.nvmlDeviceGetMemoryInfo(handle), 0
    total = int(memory.total)
    return _Memory(Bytes(total), Bytes(min(int(memory.used), total)), Bytes(total - reserved))


def _sensors(handle: Any) -> dict[str, int | None]:
    """Load and sensors, in the units of GpuTelemetry. What a GPU says of them never costs the sample."""

    def said(field: str, ask: Callable[[], Any]) -> int | None:
        try:
            return telemetry.plausible(field, int(ask()))
        except pynvml.NVMLError:
            return None

    clock = pynvml.nvmlDeviceGetClockInfo
    return {
        "utilisation": said("utilisation", lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        "temperature": said(
            "temperature", lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
        ),
        "power": said("power", lambda: pynvml.nvmlDeviceGetPowerUsage(handle)),
        "sm_clock": said("sm_clock", lambda: clock(handle, pynvml.NVML_CLOCK_SM)),
        "memory_clock": said("memory_clock", lambda: clock(handle, pynvml.NVML_CLOCK_MEM)),
    }


def _processes(handle: Any) -> list[tuple[int, int | None]]:
    """A process that computes and draws is in two lists, with the same memory. Raises NVMLError."""
    found: dict[int, int | None] = {}
    for kind in ("Compute", "Graphics", "MPSCompute"):
        try:
            listed = _listed(kind, handle)
        except pynvml.NVMLError:
            if kind == "Compute":
                raise
            continue
        for process in listed:
            memory = None if process.usedGpuMemory is None else int(process.usedGpuMemory)
            before = found.get(int(process.pid))
            found[int(process.pid)] = memory if before is None else max(before, memory or 0)
    return sorted(found.items())


def _listed(kind: str, handle: Any) -> list[Any]:
    """The third version came with R510."""
    try:
        found: list[Any] = getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses_v3")(handle)
    except pynvml.NVMLError_FunctionNotFound:
        found = getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses_v2")(handle)
    return found


def _links(handle: Any, uuid: str, handles: dict[str, Any]) -> dict[str, int]:
    """Quality of the GPU's links to the others: see unigpu.gpus.Gpu.links."""
    buses = {}
    for other, its in handles.items():
        with contextlib.suppress(pynvml.NVMLError):
            buses[_text(pynvml.nvmlDeviceGetPciInfo(its).busId)] = other
    found: dict[str, int] = {}
    for number in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            if pynvml.nvmlDeviceGetNvLinkState(handle, number):
                peer = buses.get(_text(pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, number).busId))
                if peer is not None and peer != uuid:
                    found[peer] = found.get(peer, 0) + _NVLINK
        except pynvml.NVMLError:
            break
    for other, its in handles.items():
        if other != uuid and other not in found:
            with contextlib.suppress(pynvml.NVMLError):
                level = pynvml.nvmlDeviceGetTopologyCommonAncestor(handle, its)
                found[other] = max(_FARTHEST, min(_NEAREST, _COMMON_ANCESTOR_FAR - int(level)))
    return found


def _recovery(handle: Any) -> int | None:
    """What the driver asks for to make the GPU usable again; None before R570."""
    with contextlib.suppress(pynvml.NVMLError):
        (value,) = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
        if value.nvmlReturn == pynvml.NVML_SUCCESS:
            return int(value.value.uiVal)
    return None


def _modes(handle: Any) -> dict[str, Any]:
    """MIG mode and compute mode, where the GPU has them."""
    found: dict[str, Any] = {}
    with contextlib.suppress(pynvml.NVMLError):
        found["mig"] = pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    with contextlib.suppress(pynvml.NVMLError):
        found["compute_mode"] = int(pynvml.nvmlDeviceGetComputeMode(handle))
    return found


def _memory_errors(handle: Any) -> dict[str, Any]:
    """Whether a broken row of memory couldn't be replaced (Ampere and later); on earlier GPUs, how many errors that ECC
    couldn't correct there were since the last reset."""
    try:
        return {"rows_failed": bool(pynvml.nvmlDeviceGetRemappedRows(handle)[3])}
    except pynvml.NVMLError:
        pass
    with contextlib.suppress(pynvml.NVMLError):
        kind, since_reset = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
        return {"ecc_uncorrected": min(int(pynvml.nvmlDeviceGetTotalEccErrors(handle, kind, since_reset)), MAX_NUMBER)}
    return {}


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def main() -> int:
    """Print samples until stdout is closed."""
    library, seconds, process_seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    pause = min(seconds, process_seconds) if process_seconds else seconds
    xids: dict[str, list[int]] = {}
    due = 0.0
    try:
        probe = Probe(library)
        while True:
            if xids or time.monotonic() >= due:
                due = time.monotonic() + seconds - pause / 2
                print(json.dumps({"gpus": probe.sample(), "xids": xids, "session": probe.session}), flush=True)
            if process_seconds:
                used = probe.used()  # first: what a process takes between the two is its own
                print(json.dumps({"processes": probe.processes(), "used": used}), flush=True)
            xids = probe.wait(pause)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 0
    except (pynvml.NVMLError, OSError) as error:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"error": str(error)}), flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
