"""`python -m exporter`: arguments → settings → run → exit code."""

import asyncio
import logging
import sys

from exporter import app, settings
from unigpu import logs

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """0 after SIGTERM; 1 if something that must not end has ended."""
    chosen = settings.parse(arguments)
    logs.configure(as_json=chosen.log_json, level=chosen.log_level)
    try:
        asyncio.run(app.run(chosen))
    except OSError as error:
        logs.event(logger, "ended by an error", logging.ERROR, error=error)
        return 1
    except Exception:
        logger.exception("ended by an error of our own")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
