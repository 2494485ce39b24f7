"""`kubectl unigpu top`: what containers use of their GPUs now, from the exporters."""
