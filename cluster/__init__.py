"""A local Kubernetes cluster from source: real programs, no container engine, nothing left behind.

    python -m cluster build     the programs: one Kubernetes binary, containerd, pause
    python -m cluster up        start a cluster, or repair one
    python -m cluster images    make the images that are missing, load them into the nodes, print their names
    python -m cluster status    what runs
    python -m cluster down      end it

A cluster is a few units. A unit is a process tree with a supervisor as its first process, in a PID namespace of its
own, so that ending the supervisor ends everything in it. The control plane is one unit, and each node is one more, with
a mount and a network namespace besides.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  an older one can't even read what comes next
    sys.exit(f"Python 3.11 or later is needed as python3 on the PATH, here is {sys.version.split()[0]}.")
