"""Starts the probe's process, reads its samples, and replaces it when it hangs or dies."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from deviceplugin.node import driver, health, inventory
from deviceplugin.node.health import Inventory, Moment, Sample
from deviceplugin.node.inventory import Processes
from deviceplugin.settings import Settings
from unigpu import errors, logs

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
    ) -> None:
        """`processes_seen` is called with each sample of processes, where the settings ask for them."""
        self.known = known
        self.answered = False
        """Whether NVML answered at least once."""
        self._settings = settings
        self._boot = boot
        self._driver = parts
        self._changed = changed
        self._processes_seen = processes_seen
        self._problem = ""
        self._reported = False

    async def watch(self) -> None:
        """Take samples. Never returns."""
        while True:
            try:
                await self._listen()
                raise errors.Unavailable("the process that calls NVML has ended")
            except (errors.Unavailable, errors.Malformed, OSError, TimeoutError, ValueError) as error:
                problem = str(error) or f"NVML didn't answer for {self._settings.probe_deadline:g} s"
                if problem != self._problem:
                    logs.event(logger, "NVML doesn't answer", logging.ERROR, problem=problem)
                self._problem = problem
                if self.known.gpus:
                    await self._learn(health.lost(self.known, problem, _utc()))
            await asyncio.sleep(min(1.0, self._settings.probe_interval))

    async def _listen(self) -> None:
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
            while line := await asyncio.wait_for(process.stdout.readline(), patience):
                sample = inventory.read(line)
                if not isinstance(sample, Sample):
                    await self._processes_seen(sample)
                    continue
                self.answered, self._problem = True, ""
                at = Moment(time.monotonic(), _utc(), f"{self._boot}/{self._driver.instance()}")
                await self._learn(health.after(self.known, sample, at, self._settings.xid_quiet))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # A process that hangs inside the driver ends only when the driver returns: don't wait for it.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 1.0)

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


def _utc() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
