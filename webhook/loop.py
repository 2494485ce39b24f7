"""How the service's event loop runs: for short, even answers.

Together, uvloop and rare collections halve the time of the slowest hundredth of reviews (bench/webhook.py, both ways in
turn). What is alive when the service starts stays alive, so it is never looked at again.
"""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import uvloop

_COLLECT = (2_000, 20, 100)
"""Objects made before the youngest are looked at, and how many such passes before the older ones are: a review makes a
few hundred objects, none of which is part of a cycle. What is refused before it is a review leaves a cycle of some ten
objects, which may hold 100 KiB of headers: not many of them must gather."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, as asyncio.run does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
