"""Output that is refreshed until a person ends it."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

from cli import failures
from unigpu import errors

_HOME = "\033[H\033[2J"
_SHARE = 5
"""A refresh that takes long is followed by a pause this many times as long, so that the API server isn't kept busy."""
Lines = Sequence[str]


async def refresh(
    draw: Callable[[], Awaitable[Lines]],
    interval: float,
    *,
    times: int | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Draw again and again: on a terminal in place, in a pipe one after the other with an empty line between.

    A cluster that doesn't answer is reported, and asked again. Without `times` it ends with the caller's task.
    """
    terminal = sys.stdout.isatty()
    drawn = 0
    while times is None or drawn < times:
        began = clock()
        try:
            lines = await draw()
            sys.stdout.write((_HOME if terminal else "\n" * bool(drawn)) + "\n".join(lines) + "\n")
            sys.stdout.flush()
        except errors.Unavailable as error:
            if not drawn:
                raise
            print(failures.sentence(error), file=sys.stderr, flush=True)
        drawn += 1
        if times is None or drawn < times:
            await sleep(max(interval, _SHARE * (clock() - began)))
