"""A local Kubernetes cluster built from source: real programs, no container engine, nothing left behind.

    python -m cluster build     build the programs: one Kubernetes binary, containerd, pause
    python -m cluster up        start a cluster, or repair one
    python -m cluster images    build the missing images, load them into the nodes, print their names
    python -m cluster status    show which parts run
    python -m cluster down      stop the cluster and remove it

A cluster consists of units. A unit is a process tree in its own PID namespace with a supervisor as its first process,
so that killing the supervisor ends the whole unit. The control plane is one unit. Each node is another one, with its
own mount and network namespaces as well.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  an older Python can't parse the other modules
    sys.exit(f"python3 on the PATH is Python {sys.version.split()[0]}; accepted: 3.11 or later.")
