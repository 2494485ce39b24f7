"""`python -m page`: arguments → settings → run → exit status."""

import sys
from collections.abc import Sequence

from page import app, settings
from unigpu_service import main as service


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal. Exit status: 0 stopped, 1 a part failed, 2 the settings can't work."""
    return service.run(settings.parse(sys.argv[1:] if arguments is None else arguments), app.run)


if __name__ == "__main__":
    sys.exit(main())
