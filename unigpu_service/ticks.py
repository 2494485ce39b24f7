"""Waits for moments that loops have in common, so that they wake their process together.

A process that many loops wake one by one takes many times the processor time of what they do. Loops that wait for
multiples of the same interval are due in the same round of the event loop.
"""

import asyncio
import math

_EARLY = 0.1
"""Part of an interval by which a tick may be too near to be waited for: clocks round."""


def due(interval: float) -> float:
    """Return when the next tick of this interval is due, within 1.1 of it: seconds by the event loop's clock."""
    now = asyncio.get_running_loop().time()
    return (math.floor(now / interval + _EARLY) + 1) * interval if interval > 0 else now


async def tick(interval: float) -> None:
    """Wait for the next tick of this interval, in seconds."""
    await asyncio.sleep(due(interval) - asyncio.get_running_loop().time())
