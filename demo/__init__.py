"""`make demo`: from a fresh clone to vendors' pods on a real cluster, and a table of the GPU shares that they got."""

import cluster as cluster  # checks Python's version before any module that an old one can't parse
