"""`python -m deviceplugin`: the node agent."""

import asyncio
import logging
import sys
from collections.abc import Sequence

from deviceplugin import app, settings
from unigpu import errors, logs

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 stopped by a signal, 1 something failed, 2 the arguments don't fit."""
    try:
        told = settings.parse(arguments)
    except errors.Malformed as error:
        print(f"deviceplugin: {error}", file=sys.stderr)
        return 2
    logs.configure(as_json=told.log_json, level=told.log_level)
    try:
        asyncio.run(app.run(told))
    except errors.UnigpuError as error:
        logs.event(logger, "failed", logging.CRITICAL, reason=error)
        return 1
    except Exception:
        logger.critical("failed", exc_info=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
