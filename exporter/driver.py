"""Read GPUs through NVML on a thread of its own: NVML may hang in the kernel, and containers' values must not wait."""

import ctypes
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pynvml

from exporter.settings import Settings
from unigpu import errors, logs, names
from unigpu.units import Bytes, GpuUuid
from unigpu_node import driver_root

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as NVML describes it."""

    uuid: GpuUuid
    index: int
    model: str
    total: Bytes
    used: Bytes
    utilisation: int | None
    """Percent of the last sampling period in which a kernel ran; None where the GPU doesn't say."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of all GPUs."""

    gpus: Sequence[Gpu]
    lost: Mapping[GpuUuid, str]
    """GPUs that answered before, and don't now; with their models."""


class Driver:
    """Reads the GPUs on request, one reading at a time."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._asked: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._pending: _Request | None = None
        self._known: dict[int, tuple[GpuUuid, str]] = {}
        self._started = False
        self._start_again_at = 0.0
        self._problem = ""
        # A daemon: a thread that hangs in the driver keeps no process from ending.
        threading.Thread(target=self._run, name="nvml", daemon=True).start()

    def ask(self) -> Callable[[], Reading | None]:
        """Begin a reading and return a function that waits for it; that returns None after the deadline.

        While an earlier reading hangs there is no second one, and no waiting.
        """
        if self._pending is not None and not self._pending.done.is_set():
            return lambda: None
        request = self._pending = _Request()
        self._asked.put(request)
        return lambda: request.reading if request.done.wait(self._settings.driver_deadline) else None

    def close(self) -> None:
        """Let the thread end; it isn't waited for."""
        self._asked.put(None)

    def _run(self) -> None:
        while (request := self._asked.get()) is not None:
            try:
                request.reading = self._read()
                self._problem = "" if request.reading is not None else self._problem
            except (errors.Unavailable, pynvml.NVMLError, OSError) as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    logs.event(logger, "driver doesn't answer", logging.WARNING, error=error)
            except Exception:
                logger.exception("reading the driver failed by an error of our own")
            finally:
                request.done.set()

    def _read(self) -> Reading | None:
        if not self._started:
            if self._clock() < self._start_again_at:
                return None
            self._start_again_at = self._clock() + self._settings.driver_retry
            self._start()
        try:
            return self._gpus()
        except pynvml.NVMLError:
            # What concerns one GPU is dealt with there. This is about the session: the next reading begins a new one.
            self._started = False
            pynvml.nvmlShutdown()
            raise

    def _start(self) -> None:
        if self._settings.simulator_dir is not None:
            os.environ[names.ENV_SIM_DIR] = str(self._settings.simulator_dir)
        library = driver_root.nvml(self._settings.host_root, self._settings.driver_root, self._settings.simulator_lib)
        pynvml.nvmlLib = ctypes.CDLL(str(library))
        pynvml.nvmlInit()
        self._started = True
        logs.event(logger, "driver answers", version=pynvml.nvmlSystemGetDriverVersion())

    def _gpus(self) -> Reading:
        gpus: list[Gpu] = []
        lost: dict[GpuUuid, str] = {}
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = GpuUuid(pynvml.nvmlDeviceGetUUID(handle))
                model = str(pynvml.nvmlDeviceGetName(handle))
                self._known[index] = uuid, model
                memory = _memory(handle)
            except pynvml.NVMLError as error:
                if index in self._known:
                    uuid, model = self._known[index]
                    lost[uuid] = model
                logs.event(logger, "GPU doesn't answer", logging.DEBUG, index=index, error=error)
                continue
            try:
                utilisation = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            except pynvml.NVMLError:
                utilisation = None
            gpus.append(Gpu(uuid, index, model, Bytes(int(memory.total)), Bytes(int(memory.used)), utilisation))
        return Reading(tuple(gpus), lost)


def _memory(handle: Any) -> Any:
    """The second version doesn't count what the driver reserves as used, as nvidia-smi doesn't; old drivers lack it."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotSupported, pynvml.NVMLError_InvalidArgument):
        return pynvml.nvmlDeviceGetMemoryInfo(handle)


class _Request:
    """A reading that was asked for."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.reading: Reading | None = None
