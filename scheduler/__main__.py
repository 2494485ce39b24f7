"""`python -m scheduler`: the scheduler extender."""

import asyncio
import logging
import sys
from collections.abc import Sequence

from scheduler import app, settings
from unigpu import errors, logs

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop: 0. What can't work as it is told: 2. A part that failed: 1."""
    told = settings.parse(sys.argv[1:] if arguments is None else arguments)
    logs.configure(as_json=told.log_json, level=told.log_level)
    code = 0
    try:
        asyncio.run(app.run(told))
    except* errors.Malformed as group:
        for error in group.exceptions:
            logs.event(logger, "can't start", logging.ERROR, reason=error)
        code = 2
    except* Exception:
        logger.exception("failed")
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
