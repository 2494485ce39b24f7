"""Settings of the scheduler extender, and what its pod needs.

One pod holds two containers: a stock `kube-scheduler`, and this extender (`python -m scheduler`).

    extender     python -m scheduler [arguments below, all with defaults]; any user, no privileges, nothing written
    ports        127.0.0.1:8888  POST /filter /prioritize /preempt /bind, for the kube-scheduler of the same pod
                                 alone: every client that reaches the port can bind pods
                 0.0.0.0:8889    GET /healthz /readyz /metrics
    probes       livenessProbe httpGet /healthz 8889 · readinessProbe httpGet /readyz 8889, periodSeconds 2
                 Ready means: nodes and pods are listed. Until then every verb answers an error, and pods are retried.
    ClusterRole  nodes: list, watch · pods: get, list, watch · pods/binding: create · pods/status: patch ·
                 events: create · poddisruptionbudgets: list, watch
                 The kube-scheduler needs the cluster roles system:kube-scheduler and system:volume-scheduler,
                 the role extension-apiserver-authentication-reader in kube-system, and its Lease.
    replicas     any number, with the kube-scheduler's leader election; each extender keeps its own ledger

The kube-scheduler's configuration:

    apiVersion: kubescheduler.config.k8s.io/v1
    kind: KubeSchedulerConfiguration
    leaderElection: {leaderElect: true, resourceNamespace: <release namespace>, resourceName: unigpu-scheduler}
    clientConnection: {qps: 500, burst: 1000}        # its defaults of 50 and 100 slow a gang of pods down
    percentageOfNodesToScore: 100                    # else a pod may wait although a node has a GPU with room
    profiles: [{schedulerName: unigpu-scheduler}]
    extenders:
      - urlPrefix: http://127.0.0.1:8888
        filterVerb: filter
        prioritizeVerb: prioritize
        preemptVerb: preempt                         # else victims may be evicted from the wrong GPUs
        bindVerb: bind
        weight: 5                                    # 0..500, next to 0..100 of each stock score plugin
        nodeCacheCapable: true                       # only names of nodes are sent
        httpTimeout: 10s                             # above --api-timeout, so that a bind can say how it ended
        ignorable: false                             # no placement without the extender
        managedResources:
          - {name: unigpu.dev/vgpu, ignoredByScheduler: false}
          # and each of unigpu.vendor_resources, which stay in translated pods, with ignoredByScheduler: true
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unigpu import configured_dialects, errors, names, shrinks
from unigpu.requests import PlacementPolicy
from unigpu_service import settings
from unigpu_service.settings import PORT_MAX, Logging, option


@dataclass(frozen=True, slots=True)
class Settings(Logging):
    """unigpu's scheduler extender: chooses the GPUs for pods, next to a stock kube-scheduler."""

    port: int = option(names.PORT_EXTENDER, minimum=0, maximum=PORT_MAX)
    """TCP port of the extender's verbs, on 127.0.0.1. 0: any free one."""
    metrics_port: int = option(names.PORT_EXTENDER_METRICS, minimum=0, maximum=PORT_MAX)
    """TCP port of /healthz, /readyz and /metrics, on every address, so that probes reach it. 0: any free one."""
    kubeconfig: Path | None = None
    """Kubeconfig that says how to reach the API server. Without it: the pod's service account, else KUBECONFIG."""
    context: str | None = None
    """Context of the kubeconfig, if not its current one."""
    scheduler_name: str = names.SCHEDULER_NAME
    """`schedulerName` of the pods that the kube-scheduler of the same pod places; only those are watched."""
    shares_per_gpu: int = option(16, minimum=1)
    """How many containers may have a share of one GPU at once. The node agent's own value must not be lower."""
    gpu_policy: PlacementPolicy = PlacementPolicy.BINPACK
    """Which of the GPUs that fit is chosen: the fullest, the emptiest, or the best linked. Node labels and pods may say
    otherwise."""
    node_policy: PlacementPolicy = option(
        PlacementPolicy.BINPACK, choices=[PlacementPolicy.BINPACK, PlacementPolicy.SPREAD]
    )
    """Which of the nodes that fit is preferred: the fullest or the emptiest. Pods may say otherwise."""
    dialects: str = option("", metavar="JSON")
    """Resource names that the cluster renames or adds, as JSON: the chart's values dialects.additional and
    dialects.hamiResourceNames."""
    shrink_before_evicting: bool = False
    """Lower limits of less important pods before one of them is evicted, by what the node agents publish."""
    kube_scheduler_version: str = ""
    """Version of the kube-scheduler in the same pod, such as v1.36.3. From 1.33 on, pods that keep their vendor's
    resources are tried again when a node grows, and limits are lowered for them too. Empty: not known."""
    api_timeout: float = option(5.0, above=0)
    """Seconds that the API server may take to answer a binding or to read one pod; a binding is given up within four
    seconds in any case, before another replica can lead. After that the outcome counts as unknown, the share stays
    taken, and the binding is sent again until an answer comes or another replica may lead."""
    watch_seconds: int = option(240, minimum=1)
    """Seconds after which the API server ends a watch, which is then resumed."""
    watch_silence: float = option(90.0, above=0)
    """Seconds without a byte after which a watch counts as dead. The API server sends a bookmark about every minute."""
    page: int = option(500, minimum=1)
    """Objects in one answer while listing."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each value that can't work."""
        try:
            configured_dialects.load(self.dialects)
        except errors.Malformed as error:
            yield f"--dialects: {error}"
        if self.kube_scheduler_version and shrinks.version(self.kube_scheduler_version) is None:
            yield f"--kube-scheduler-version = {self.kube_scheduler_version}: not a version; accepted: such as v1.36.3"


def parse(arguments: Sequence[str]) -> Settings:
    """Return the settings from the command line; end the process with 2 and a sentence if they can't be understood."""
    return settings.parse(Settings, arguments, prog="scheduler")
