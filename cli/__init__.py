"""`kubectl unigpu`: the command line for people."""
