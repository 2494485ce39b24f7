"""Starts the process that sets the driver's memory limits, sends it batches, and ends it when it hangs."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence

from deviceplugin.node.driver import Driver
from unigpu import errors
from unigpu.units import Bytes, GpuUuid

Call = tuple[str, GpuUuid, str] | tuple[str, GpuUuid, str, Bytes | None]
"""See `deviceplugin.node.limit_calls`."""
_LINE = 1 << 24


class LimitCaller:
    """One process at most; a new one is started with the next batch."""

    def __init__(self, parts: Driver, deadline: float) -> None:
        """`deadline`: seconds for one batch."""
        self._driver = parts
        self._deadline = deadline
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether the process, and with it an NVML session, is there."""
        return self._process is not None

    async def carry_out(self, calls: Sequence[Call]) -> list[str | int | None]:
        """Return the outcome of each call. Raises Unavailable; the process is then gone."""
        if not calls:
            return []
        try:
            async with asyncio.timeout(self._deadline):
                process = self._process or await self._start()
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(calls).encode() + b"\n")
                await process.stdin.drain()
                answer = json.loads(await process.stdout.readline() or "null")
        except TimeoutError as error:
            await self.close()
            raise errors.Unavailable(f"NVML didn't set memory limits for {self._deadline:g} s") from error
        except (OSError, ValueError) as error:
            await self.close()
            raise errors.Unavailable(f"the process that sets memory limits failed: {error}") from error
        except BaseException:
            await self.close()  # its answer would be taken for that of the next batch
            raise
        if not isinstance(answer, list) or len(answer) != len(calls):
            await self.close()
            reason = answer.get("error") if isinstance(answer, dict) else "it ended"
            raise errors.Unavailable(f"the process that sets memory limits failed: {reason}")
        return answer

    async def close(self) -> None:
        """End the process, and with it its NVML session. Limits stay in force."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # A process that hangs inside the driver ends only when the driver returns: don't wait for it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deviceplugin.node.limit_calls",
            str(self._driver.nvml()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self._driver.environment()},
            limit=_LINE,
        )
        return self._process
