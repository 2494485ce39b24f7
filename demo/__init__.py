"""`make demo`: from a fresh clone to vendors' pods on a real cluster, and a table of what each got."""

import cluster as cluster  # looks at Python's version before anything is read that an old one lacks
