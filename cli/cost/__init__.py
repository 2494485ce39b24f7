"""`kubectl unigpu cost`: what namespaces and pods had of GPUs over a time, and what that costs, from Prometheus."""
