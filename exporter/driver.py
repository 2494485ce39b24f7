"""NVML, asked on a thread of its own: it may hang in the kernel, and the containers' figures must not wait for it."""

import ctypes
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

from exporter.settings import Settings
from unigpu import errors, logs, names
from unigpu.units import Bytes, GpuUuid

logger = logging.getLogger(__name__)
LIBRARY = "libnvidia-ml.so.1"
_FOLDERS = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "lib64", "usr/lib")
_LINKS = 40


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as NVML describes it."""

    uuid: GpuUuid
    index: int
    total: Bytes
    used: Bytes
    utilisation: int | None
    """Percent of the last sampling period in which a kernel ran; None where the GPU doesn't say."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at all GPUs."""

    gpus: Sequence[Gpu]
    lost: frozenset[GpuUuid]
    """GPUs that answered before, and don't now."""


class Driver:
    """Looks at the GPUs when it is asked to, one look at a time."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._asked: queue.SimpleQueue[_Look | None] = queue.SimpleQueue()
        self._pending: _Look | None = None
        self._uuids: dict[int, GpuUuid] = {}
        self._started = False
        self._start_again_at = 0.0
        self._problem = ""
        # A daemon: a thread that hangs in the driver keeps no process from ending.
        threading.Thread(target=self._run, name="nvml", daemon=True).start()

    def ask(self) -> Callable[[], Sight | None]:
        """Begin a look; what is returned waits for it, up to the deadline, and gives None where there was no answer.

        While an earlier look hangs there is no second one, and no waiting.
        """
        if self._pending is not None and not self._pending.done.is_set():
            return lambda: None
        look = self._pending = _Look()
        self._asked.put(look)
        return lambda: look.sight if look.done.wait(self._settings.driver_deadline) else None

    def close(self) -> None:
        """Let the thread end; it isn't waited for."""
        self._asked.put(None)

    def _run(self) -> None:
        while (look := self._asked.get()) is not None:
            try:
                look.sight = self._look()
                self._problem = "" if look.sight is not None else self._problem
            except (errors.Unavailable, pynvml.NVMLError, OSError) as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    logs.event(logger, "driver doesn't answer", logging.WARNING, error=error)
            except Exception:
                logger.exception("a look at the driver failed by an error of our own")
            finally:
                look.done.set()

    def _look(self) -> Sight | None:
        if not self._started:
            if self._clock() < self._start_again_at:
                return None
            self._start_again_at = self._clock() + self._settings.driver_retry
            self._start()
        try:
            return self._gpus()
        except pynvml.NVMLError:
            # What concerns one GPU is dealt with there. This is about the session: the next look begins a new one.
            self._started = False
            pynvml.nvmlShutdown()
            raise

    def _start(self) -> None:
        if self._settings.simulator_dir is not None:
            os.environ[names.ENV_SIM_DIR] = str(self._settings.simulator_dir)
        pynvml.nvmlLib = ctypes.CDLL(str(library(self._settings)))
        pynvml.nvmlInit()
        self._started = True
        logs.event(logger, "driver answers", version=pynvml.nvmlSystemGetDriverVersion())

    def _gpus(self) -> Sight:
        gpus, lost = [], set()
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = GpuUuid(pynvml.nvmlDeviceGetUUID(handle))
                self._uuids[index] = uuid
                memory = _memory(handle)
            except pynvml.NVMLError as error:
                if index in self._uuids:
                    lost.add(self._uuids[index])
                logs.event(logger, "GPU doesn't answer", logging.DEBUG, index=index, error=error)
                continue
            try:
                utilisation = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            except pynvml.NVMLError:
                utilisation = None
            gpus.append(Gpu(uuid, index, Bytes(int(memory.total)), Bytes(int(memory.used)), utilisation))
        return Sight(tuple(gpus), frozenset(lost))


def _memory(handle: Any) -> Any:
    """The second version doesn't count what the driver reserves as used, as nvidia-smi doesn't; old drivers lack it."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotSupported, pynvml.NVMLError_InvalidArgument):
        return pynvml.nvmlDeviceGetMemoryInfo(handle)


class _Look:
    """A look that was asked for."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.sight: Sight | None = None


def library(settings: Settings) -> Path:
    """Where NVML is, as this process sees it. Raises Unavailable."""
    if settings.simulator_lib is not None:
        return settings.simulator_lib / LIBRARY
    root = settings.host_root / settings.driver_root.relative_to("/")
    for folder in _FOLDERS:
        found = _inside(root, Path(folder) / LIBRARY)
        if found is not None:
            return found
    raise errors.Unavailable(
        f"the NVIDIA driver's {LIBRARY} isn't under {settings.driver_root} on the node: is it installed, and is "
        f"--driver-root its root?"
    )


def _inside(root: Path, path: Path) -> Path | None:
    """The file, with links followed as a process would whose root this is; None where there is none."""
    parts = list(path.parts)
    done: list[str] = []
    links = 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        place = root.joinpath(*done, part)
        if not place.is_symlink():
            done.append(part)
            continue
        links += 1
        if links > _LINKS:
            return None
        target = place.readlink()
        if target.is_absolute():
            done = []
        parts = [*(piece for piece in target.parts if piece != "/"), *parts]
    found = root.joinpath(*done)
    return found if found.is_file() else None
