"""`make demo`: from a fresh clone to vendors' pods on a real cluster, and a table of what each got."""
