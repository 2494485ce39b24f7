"""`python -m webhook`: arguments → settings → run → exit status."""

import sys

import yaml

from unigpu_service import loop, main
from webhook import app, settings
from webhook.admission import configuration


def run(arguments: list[str]) -> int:
    """Run the webhook, or print its configurations. Returns the exit status of `unigpu_service.main`."""
    if arguments == ["--print-configuration"]:
        yaml.safe_dump_all(configuration.documents(settings.Settings()), sys.stdout, sort_keys=False, width=120)
        return main.STOPPED
    return main.run(settings.parse(arguments), app.run, loop.run)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
