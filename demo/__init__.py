"""`make demo`: from a fresh clone to vendors' pods on a real cluster, and a table of what each got."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  an older one can't even read what comes next
    sys.exit(f"Python 3.11 or later is needed as python3 on the PATH, here is {sys.version.split()[0]}.")
