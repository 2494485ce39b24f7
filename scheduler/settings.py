"""What the scheduler extender is told at its start, and what its pod has to have.

One pod holds two containers: a stock `kube-scheduler`, and this extender beside it (`python -m scheduler`).

    extender     python -m scheduler [arguments below, all with defaults]; any user, no privileges, nothing written
    ports        127.0.0.1:8888  POST /filter /prioritize /preempt /bind, for the kube-scheduler of the same pod and
                                 nobody else: whoever reaches it can bind pods
                 0.0.0.0:8889    GET /healthz /readyz /metrics
    probes       livenessProbe httpGet /healthz 8889 · readinessProbe httpGet /readyz 8889, periodSeconds 2
                 Ready means: nodes and pods are listed. Until then every verb answers an error, and pods are retried.
    ClusterRole  nodes: get, list, watch · pods: get, list, watch · pods/binding: create
                 The kube-scheduler beside it needs the cluster roles system:kube-scheduler and system:volume-scheduler,
                 the role extension-apiserver-authentication-reader in kube-system, and its Lease.
    replicas     any number, with the kube-scheduler's leader election; each extender keeps its own books

The kube-scheduler's configuration:

    apiVersion: kubescheduler.config.k8s.io/v1
    kind: KubeSchedulerConfiguration
    leaderElection: {leaderElect: true, resourceNamespace: <release namespace>, resourceName: unigpu-scheduler}
    clientConnection: {qps: 500, burst: 1000}        # its defaults of 50 and 100 slow a gang of pods down
    profiles: [{schedulerName: unigpu-scheduler}]
    extenders:
      - urlPrefix: http://127.0.0.1:8888
        filterVerb: filter
        prioritizeVerb: prioritize
        preemptVerb: preempt                         # else victims may be evicted from the wrong GPUs
        bindVerb: bind
        weight: 5                                    # 0..500, beside 0..100 of each of the stock score plugins
        nodeCacheCapable: true                       # only names of nodes are sent
        httpTimeout: 10s                             # above --api-timeout, so that a bind can say how it ended
        ignorable: false                             # no placement without the extender
        managedResources: [{name: unigpu.dev/vgpu, ignoredByScheduler: false}]
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unigpu import names
from unigpu.requests import PlacementPolicy


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is settled when the process starts."""

    port: int = names.PORT_EXTENDER
    """TCP port of the extender's verbs, on 127.0.0.1. 0: any free one."""
    metrics_port: int = names.PORT_EXTENDER_METRICS
    """TCP port of /healthz, /readyz and /metrics, on every address, so that probes reach it. 0: any free one."""
    kubeconfig: Path | None = None
    """How to reach the API server; None: as a pod does."""
    scheduler_name: str = names.SCHEDULER_NAME
    """`schedulerName` of the pods that the kube-scheduler beside us places; only those are watched."""
    shares_per_gpu: int = 16
    """How many containers may have a share of one GPU at once. The node agent's own value must not be lower."""
    gpu_policy: PlacementPolicy = PlacementPolicy.BINPACK
    """Which of the GPUs that fit: the fullest, the emptiest, or the best linked. Node labels and pods may say
    otherwise."""
    node_policy: PlacementPolicy = PlacementPolicy.BINPACK
    """Which of the nodes that fit: the fullest or the emptiest. Pods may say otherwise."""
    api_timeout: float = 5.0
    """Seconds that the API server may take to answer a binding or to read one pod; then its outcome counts as unknown,
    the share stays taken, and the binding is sent again until an answer comes."""
    watch_seconds: int = 240
    """Seconds after which the API server ends a watch, which is then resumed."""
    watch_silence: float = 90.0
    """Seconds without a byte after which a watch counts as dead. The API server sends a bookmark about every minute."""
    page: int = 500
    """Objects in one answer while listing."""
    log_json: bool = False
    """JSON lines instead of plain ones."""
    log_level: str = "info"
    """As Python's logging names them."""


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from the command line; ends the process with 2 and a usage message if it can't be understood."""
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="scheduler",
        description="unigpu's scheduler extender: chooses the GPUs for pods, beside a stock kube-scheduler.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=defaults.port, help="port of the verbs, on 127.0.0.1; 0 is any free one")
    add("--metrics-port", type=int, default=defaults.metrics_port, help="port of /healthz, /readyz, /metrics")
    add("--kubeconfig", type=Path, default=None, help="how to reach the API server; without it: as a pod does")
    add("--scheduler-name", default=defaults.scheduler_name, help="schedulerName of the pods to place")
    add("--shares-per-gpu", type=_positive, default=defaults.shares_per_gpu, help="containers on one GPU at once")
    add(
        "--gpu-policy",
        type=PlacementPolicy,
        choices=list(PlacementPolicy),
        default=defaults.gpu_policy,
        help="choice among GPUs",
    )
    add(
        "--node-policy",
        type=PlacementPolicy,
        choices=[PlacementPolicy.BINPACK, PlacementPolicy.SPREAD],
        default=defaults.node_policy,
        help="choice among nodes",
    )
    add("--api-timeout", type=float, default=defaults.api_timeout, help="seconds for the API server to answer")
    add("--watch-seconds", type=_positive, default=defaults.watch_seconds, help="seconds before a watch is resumed")
    add("--watch-silence", type=float, default=defaults.watch_silence, help="seconds of silence that end a watch")
    add("--page", type=_positive, default=defaults.page, help="objects in one answer while listing")
    add("--log-json", action="store_true", help="JSON lines instead of plain ones")
    add("--log-level", default=defaults.log_level, choices=["debug", "info", "warning", "error"])
    return Settings(**vars(parser.parse_args(arguments)))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number
