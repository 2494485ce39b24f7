"""Pauses between tries while a peer doesn't answer: short at first, then longer, and never without a bound."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from unigpu import errors

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds; the last one repeats."""

T = TypeVar("T")


class Backoff:
    """The pauses of one conversation, and how many tries in a row have failed."""

    def __init__(self, pauses: Sequence[float] = PAUSES) -> None:
        self._pauses = pauses
        self.failures = 0

    async def pause(self) -> None:
        """Count a failure and sleep."""
        seconds = self._pauses[min(self.failures, len(self._pauses) - 1)]
        self.failures += 1
        await asyncio.sleep(seconds)

    def reset(self) -> None:
        """Begin again with the shortest pause: the peer has answered."""
        self.failures = 0


async def retry(call: Callable[[], Awaitable[T]], tries: int = 3, pauses: Sequence[float] = PAUSES) -> T:
    """Return what `call` returns, tried up to `tries` times where it raises Unavailable. Raises what the last raised.

    Only for requests that may be carried out twice.
    """
    waits = Backoff(pauses)
    while True:
        try:
            return await call()
        except errors.Unavailable:
            if waits.failures + 1 >= tries:
                raise
            await waits.pause()
