"""The shape of every service's `main`: arguments → settings → run → exit status.

0  ended by SIGTERM or SIGINT
1  a part failed, or ended and must not
2  the settings can't work: the message says which
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from unigpu import errors, logs
from unigpu_service import runtime
from unigpu_service.settings import Logging

logger = logging.getLogger(__name__)

STOPPED, FAILED, MISCONFIGURED = 0, 1, 2
Run = Callable[[Coroutine[Any, Any, None]], None]
S = TypeVar("S", bound=Logging)


def run(settings: S, work: Callable[[S], Coroutine[Any, Any, None]], loop: Run = asyncio.run) -> int:
    """Set up logging, run the service to its end, and return the exit status.

    `loop` runs a coroutine as asyncio.run does.
    """
    logs.configure(as_json=settings.log_json, level=settings.log_level)
    logging.getLogger("kubernetes_asyncio").setLevel(logging.WARNING)  # its debug lines show Secrets
    try:
        loop(_until_done(work(settings)))
    except Exception as error:
        return _failed(error)
    return STOPPED


async def _until_done(work: Coroutine[Any, Any, None]) -> None:
    """Run the service, and let no later signal get into the way of its last steps."""
    try:
        await work
    finally:
        for number in runtime.SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def _failed(error: Exception) -> int:
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, errors.Malformed):
            logs.event(logger, "can't start", logging.ERROR, reason=cause)
        elif isinstance(cause, errors.UnigpuError):
            logs.event(logger, "failed", logging.ERROR, reason=cause)
        else:
            logger.error("failed", exc_info=cause)
    return MISCONFIGURED if all(isinstance(cause, errors.Malformed) for cause in causes) else FAILED


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]
