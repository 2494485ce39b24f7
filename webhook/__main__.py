"""`python -m webhook`: arguments → settings → run → exit code."""

import logging
import sys

import yaml

from unigpu import errors, logs
from webhook import app, loop, settings
from webhook.admission import configuration

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """0 after SIGTERM; 1 if something that must not end has ended."""
    if arguments == ["--print-configuration"]:
        yaml.safe_dump_all(configuration.documents(settings.Settings()), sys.stdout, sort_keys=False, width=120)
        return 0
    chosen = settings.parse(arguments)
    logs.configure(as_json=chosen.log_json, level=chosen.log_level)
    logging.getLogger("kubernetes_asyncio").setLevel(logging.WARNING)  # its debug lines show Secrets
    try:
        loop.run(app.run(chosen))
    except errors.UnigpuError as error:
        logs.event(log, "ended by an error", logging.ERROR, error=error)
        return 1
    except Exception:
        log.exception("ended by an error of our own")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
