"""The event loop of a service that answers others, tuned for short and even response times.

Together, uvloop and rare garbage collections halve the time of the slowest hundredth of reviews (bench/webhook.py, both
ways in turn). Objects that are alive when the service starts stay alive, so the collector skips them.
"""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import uvloop

_COLLECT = (2_000, 20, 100)
"""Allocations before the youngest objects are collected, and passes before each older generation. A request makes a few
hundred objects, none of them in a cycle. A request that can't be read leaves a cycle of some ten objects of up to
100 KiB, so only a few of those may accumulate."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, as asyncio.run does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def keep() -> None:
    """Let the collector skip all objects that are alive now, once a service has read what it keeps.

    A pass over the objects of 5,000 nodes would hold up every answer for tenths of a second.
    """
    gc.freeze()
