"""Starts the probe's process, reads its samples, and replaces it when it hangs or dies."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from deviceplugin.node import driver, health, inventory
from deviceplugin.node.health import Inventory, Moment, Sample
from deviceplugin.node.inventory import Processes
from deviceplugin.settings import Settings
from unigpu import errors, logs
from unigpu.telemetry import GpuTelemetry

logger = logging.getLogger(__name__)

_LINE = 1 << 20


class GpuWatch:
    """Keeps what is known of the node's GPUs, and calls `changed` with it whenever it changes."""

    def __init__(
        self,
        settings: Settings,
        boot: str,
        parts: driver.Driver,
        known: Inventory,
        changed: Callable[[Inventory], Awaitable[None]],
        processes_seen: Callable[[Processes], Awaitable[None]],
        telemetry_seen: Callable[[Sequence[GpuTelemetry] | None], None],
        unusable: Callable[[], str],
    ) -> None:
        """`processes_seen` is called with each sample of processes, where the settings ask for them; `telemetry_seen`
        with the telemetry of each sample of GPUs, and with None when NVML doesn't answer. `unusable` says why no GPU of
        the node can be given to a container; empty: they can."""
        self.known = known
        self.answered = False
        """Whether NVML answered at least once."""
        self._settings = settings
        self._boot = boot
        self._driver = parts
        self._changed = changed
        self._processes_seen = processes_seen
        self._telemetry_seen = telemetry_seen
        self._unusable = unusable
        self._problem = ""
        self._reported = False

    async def watch(self) -> None:
        """Take samples. Never returns."""
        while True:
            try:
                if await self._listen():
                    logs.event(logger, "the driver was loaded again")
                    continue
                raise errors.Unavailable("the process that calls NVML has ended")
            except (errors.Unavailable, errors.Malformed, OSError, TimeoutError, ValueError) as error:
                problem = str(error) or f"NVML didn't answer for {self._settings.probe_deadline:g} s"
                if problem != self._problem:
                    logs.event(logger, "NVML doesn't answer", logging.ERROR, problem=problem)
                self._problem = problem
                self._telemetry_seen(None)
                if self.known.gpus:
                    await self._learn(health.lost(self.known, problem, _utc()))
            await asyncio.sleep(min(1.0, self._settings.probe_interval))

    async def _listen(self) -> bool:
        """Read samples until their process ends. Return True, and end it, where its driver isn't the loaded one."""
        instance = self._driver.instance()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deviceplugin.node.probe",
            str(self._driver.nvml()),
            str(self._settings.probe_interval),
            str(self._settings.process_interval if self._settings.proc_root is not None else 0),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self._driver.environment()},
            limit=_LINE,
        )
        assert process.stdout is not None
        try:
            patience = self._settings.probe_interval + self._settings.probe_deadline
            while line := await _line(process.stdout, patience):
                if self._driver.instance() != instance:
                    return True
                sample = inventory.read(line)
                if not isinstance(sample, Sample):
                    await self._processes_seen(sample)
                    continue
                self.answered, self._problem = True, ""
                self._telemetry_seen([one.telemetry for one in sample.readings if one.telemetry is not None])
                at = Moment(time.monotonic(), _utc(), f"{self._boot}/{self._driver.instance()}")
                await self._learn(health.after(self.known, sample, at, self._settings.xid_quiet, self._unusable()))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # A process that hangs inside the driver ends only when the driver returns: don't wait for it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await process.wait()
        return False

    async def _learn(self, found: Inventory) -> None:
        before, self.known = self.known, found
        if before.gpus == found.gpus and self._reported:
            return
        self._reported = True
        logs.event(
            logger,
            "GPUs changed",
            gpus=len(found.gpus),
            unhealthy=found.faults or "none",
        )
        await self._changed(found)


async def _line(stream: asyncio.StreamReader, patience: float) -> bytes:
    """Return the next line, empty at the end. Raises TimeoutError."""
    async with asyncio.timeout(patience):
        return await stream.readline()


def _utc() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
