"""Runs a service until a signal, and ends it when a task that must not end does."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from unigpu import errors

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ended(errors.UnigpuError):
    """A task that must not end has ended."""


class Supervisor:
    """The tasks of a service, and the event that stops it."""

    def __init__(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[Any]] = set()
        self.stop = stop
        """Set by SIGTERM and SIGINT."""

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Run work that must not end before the service does: its end is an error, like its failure."""
        return self._keep(self._group.create_task(_guarded(name, work), name=name))

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run work that ends by itself; its failure is an error."""
        return self._keep(self._group.create_task(work, name=name))

    async def stopped(self) -> None:
        """Wait until the service is to stop."""
        await self.stop.wait()

    async def first(self, *events: asyncio.Event) -> bool:
        """Wait until all events are set; return False where the service is to stop before that."""
        waits = asyncio.gather(*(event.wait() for event in events))
        stops = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait((waits, stops), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waits.cancel()
            stops.cancel()
            await asyncio.gather(waits, stops, return_exceptions=True)
        return not self.stop.is_set()

    def cancel(self) -> None:
        """Cancel every task."""
        for task in tuple(self._tasks):
            task.cancel()

    def _keep(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@contextlib.asynccontextmanager
async def supervise() -> AsyncIterator[Supervisor]:
    """Give the block a supervisor; cancel its tasks when the block ends.

    A task that fails, or that ends and must not, cancels the block. Raises an ExceptionGroup then: `Ended`, or the
    task's own error. SIGTERM and SIGINT set `stop`, once and again until the event loop closes.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, stop)
        try:
            yield supervisor
        finally:
            supervisor.cancel()


async def _guarded(name: str, work: Coroutine[Any, Any, Any]) -> None:
    await work
    raise Ended(f"the task {name!r} has ended, and must not")
