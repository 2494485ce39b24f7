"""`kubectl unigpu explain POD`: every number with its source; why a pod waits, and what would help."""
