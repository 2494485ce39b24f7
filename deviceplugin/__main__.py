"""`python -m deviceplugin`: the node agent."""

import sys
from collections.abc import Sequence

from deviceplugin import app, settings
from unigpu_service import main as service


def main(arguments: Sequence[str]) -> int:
    """Run the agent; return the exit status (`unigpu_service.main`)."""
    return service.run(settings.parse(arguments), app.run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
