"""`kubectl unigpu`: what people ask of unigpu from the command line."""
