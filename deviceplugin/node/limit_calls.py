"""The process that sets the driver's memory limits: a JSON line a batch on stdin, one on stdout with its outcomes.

It has an NVML session of its own, so that neither a call that hangs nor one that ends the process costs the samples of
`deviceplugin.node.probe`. The functions and structures are those of nvml.h 13.4:

    nvmlDeviceSetMemoryLimits_v1, nvmlSetMemoryLimits_v1_t: path of the group, soft limit, hard limit
    nvmlDeviceGetMemoryLimits_v1, nvmlGetMemoryLimits_v1_t: the same, and what is used

    python -m deviceplugin.node.limit_calls <NVML library>

    [["ask", uuid, folder], ["read", uuid, folder], ["set", uuid, folder, bytes or null], …]
    ["why there are none, or empty, or null", bytes or null, "problem, or empty", …]
"""

import contextlib
import ctypes
import json
import sys
from typing import Any

import pynvml

_UNLIMITED = (1 << 64) - 1
"""NVML_DEVICE_MEMORY_LIMIT_MAX."""
_NOT_FOUND = (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_OPERATING_SYSTEM)
"""What reading a group without limits, or one that is gone, may answer."""
_ABSENT = "the driver has no memory limits for control groups; drivers of branch R615 and later have them"


class _SetLimits(ctypes.Structure):
    _fields_ = (("folder", ctypes.c_char_p), ("soft", ctypes.c_ulonglong), ("hard", ctypes.c_ulonglong))


class _GetLimits(ctypes.Structure):
    _fields_ = (*_SetLimits._fields_, ("used", ctypes.c_ulonglong))


class Calls:
    """An NVML session."""

    def __init__(self, library: str) -> None:
        pynvml.nvmlLib = ctypes.CDLL(library)
        pynvml.nvmlInit()
        self._handles: dict[str, Any] = {}
        self._get = self._set = None
        with contextlib.suppress(AttributeError):
            self._get = pynvml.nvmlLib.nvmlDeviceGetMemoryLimits_v1
            self._set = pynvml.nvmlLib.nvmlDeviceSetMemoryLimits_v1

    def carry_out(self, call: list[Any]) -> str | int | None:
        """Return the outcome of one call."""
        what, uuid, folder, *amount = call
        if what == "ask":
            return self.ask(uuid, folder)
        if what == "read":
            return self.read(uuid, folder)
        return self.set(uuid, folder, amount[0])

    def ask(self, uuid: str, folder: str) -> str | None:
        """Return why the GPU has no limits, empty where it has them, None where that can't be said now.

        `folder` is any group.
        """
        if self._get is None or self._set is None:
            return _ABSENT
        try:
            handle = self._handle(uuid)
            if _mig(handle):
                return "the GPU is in MIG mode, for which the driver has no memory limits"
            found = _GetLimits(folder.encode())
            status = self._get(handle, ctypes.byref(found))
        except pynvml.NVMLError:
            return None
        if status in (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND):
            return _ABSENT
        return "" if status in (pynvml.NVML_SUCCESS, *_NOT_FOUND) else None

    def read(self, uuid: str, folder: str) -> int | None:
        """Return the group's hard limit; None where it has none, or can't be read."""
        found = _GetLimits(folder.encode())
        with contextlib.suppress(pynvml.NVMLError):
            if self._get is not None and self._get(self._handle(uuid), ctypes.byref(found)) == pynvml.NVML_SUCCESS:
                limited = found.hard != _UNLIMITED or found.soft
                return int(found.hard) if limited else None
        return None

    def set(self, uuid: str, folder: str, hard: int | None) -> str:
        """Set the group's hard limit, and no soft one; None clears both. Return the problem, empty where it is done."""
        if self._set is None:
            return _ABSENT
        limits = _SetLimits(folder.encode(), 0, _UNLIMITED if hard is None else hard)
        try:
            status = self._set(self._handle(uuid), ctypes.byref(limits))
        except pynvml.NVMLError as error:
            return str(error)
        return "" if status == pynvml.NVML_SUCCESS else str(pynvml.NVMLError(status))

    def _handle(self, uuid: str) -> Any:
        if uuid not in self._handles:
            self._handles[uuid] = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return self._handles[uuid]


def _mig(handle: Any) -> bool:
    with contextlib.suppress(pynvml.NVMLError):
        return bool(pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE)
    return False


def main() -> int:
    """Carry out batches until stdin ends."""
    try:
        calls = Calls(sys.argv[1])
        for line in sys.stdin:
            print(json.dumps([calls.carry_out(call) for call in json.loads(line)]), flush=True)
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    except (pynvml.NVMLError, OSError) as error:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"error": str(error)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
