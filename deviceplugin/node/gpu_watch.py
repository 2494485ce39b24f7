"""The agent's side of the probe: its process is started, listened to, and replaced when it hangs or dies."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable

from deviceplugin.node import driver, inventory
from deviceplugin.node.inventory import Inventory
from deviceplugin.settings import Settings
from unigpu import errors, logs

logger = logging.getLogger(__name__)

_LINE = 1 << 20


class GpuWatch:
    """What is known of the node's GPUs; each change is told to `changed`."""

    def __init__(
        self,
        settings: Settings,
        parts: driver.Driver,
        known: Inventory,
        changed: Callable[[Inventory], Awaitable[None]],
    ) -> None:
        self.known = known
        self.answered = False
        """Whether NVML answered at least once."""
        self._settings = settings
        self._driver = parts
        self._changed = changed
        self._problem = ""
        self._told = False

    async def watch(self) -> None:
        """Never ends by itself."""
        while True:
            try:
                await self._listen()
                raise errors.Unavailable("the process that asks NVML ended")
            except (errors.Unavailable, errors.Malformed, OSError, TimeoutError, ValueError) as error:
                problem = str(error) or f"NVML didn't answer for {self._settings.probe_deadline:g} s"
                if problem != self._problem:
                    logs.event(logger, "NVML doesn't answer", logging.ERROR, problem=problem)
                self._problem = problem
                if self.known.gpus:
                    await self._learn(inventory.lost(self.known, problem))
            await asyncio.sleep(min(1.0, self._settings.probe_interval))

    async def _listen(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deviceplugin.node.probe",
            str(self._driver.nvml()),
            str(self._settings.probe_interval),
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
                self.answered, self._problem = True, ""
                await self._learn(inventory.after(self.known, sample, time.monotonic(), self._settings.xid_quiet))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # One that hangs inside the driver can't be ended until the driver lets it go: it isn't waited for.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 1.0)

    async def _learn(self, found: Inventory) -> None:
        before, self.known = self.known, found
        if before.gpus == found.gpus and self._told:
            return
        self._told = True
        logs.event(
            logger,
            "GPUs changed",
            gpus=len(found.gpus),
            unhealthy=dict(found.unhealthy) or "none",
        )
        await self._changed(found)
