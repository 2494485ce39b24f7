"""A whole control plane with nodes that are played: what many nodes and many pods at once cost.

etcd, API server, kube-scheduler, webhook and extender are the real ones, each a process of its own on this machine.
Nodes, and the lives of pods on them, are played by kwok. `python -m bench.fleet` measures; tests use the same parts.
"""
