"""Settings: command-line arguments, and environment variables for what Kubernetes itself knows.

The chart has to provide:

    command      python -m webhook [arguments below]
    environment  POD_NAMESPACE (downward API, metadata.namespace), POD_NAME (metadata.name)
    ports        8443 HTTPS: POST /mutate, POST /validate · 8080 HTTP: /healthz, /readyz, /metrics
    probes       livenessProbe httpGet /healthz 8080 · readinessProbe httpGet /readyz 8080, periodSeconds 2
    service      `unigpu-webhook`, port 443 → 8443
    shutdown     SIGTERM: unready at once, serves on for --drain-seconds, ends; terminationGracePeriodSeconds above that
    filesystem   may be read-only: the webhook writes no file
    objects      MutatingWebhookConfiguration and ValidatingWebhookConfiguration, both named `unigpu-webhook`, without
                 caBundle (the webhook writes it into every webhook of both, so no upgrade may empty it);
                 `python -m webhook --print-configuration` prints both as YAML: rules and matchConditions must be
                 these. The API server sends only updates that change one of the platform's annotations, so that a
                 webhook that is down never delays the kubelet, a finalizer or a label
    Role in its own namespace
                 secrets: create; and for resourceNames [unigpu-webhook-tls]: get, list, watch, update
    ClusterRole  admissionregistration.k8s.io mutatingwebhookconfigurations and validatingwebhookconfigurations,
                 resourceNames [unigpu-webhook]: get, list, watch, patch
                 core namespaces, nodes, pods: get, list, watch · core events: create
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from unigpu import configured_dialects, errors, names
from unigpu.units import MiB
from unigpu_service import settings
from unigpu_service.settings import Logging, option
from webhook.translation.options import AliyunUnit, BareGpu, Options


@dataclass(frozen=True, slots=True)
class Settings(Logging):
    """Admission webhook: translates the GPU pods of every vendor into the unified form."""

    port: int = option(names.PORT_WEBHOOK, minimum=0, maximum=65535)
    """TCP port of /mutate and /validate over TLS; 0: any free one."""
    metrics_port: int = option(names.PORT_WEBHOOK_METRICS, minimum=0, maximum=65535)
    """TCP port of /healthz, /readyz and /metrics over plain HTTP, where probes need no certificate; 0: any free one."""
    namespace: str = option(names.SYSTEM_NAMESPACE, env="POD_NAMESPACE")
    """Namespace of the Service and the Secret; the certificate is for <service>.<namespace>.svc."""
    service: str = names.SERVICE_WEBHOOK
    """Service by which the API server reaches the webhook."""
    secret: str = names.SECRET_WEBHOOK_TLS
    """Secret in which the replicas share the certificate."""
    configuration: str = names.WEBHOOK_CONFIGURATION
    """Name of both webhook configurations, into which the webhook writes the certificate authority."""
    hosts: tuple[str, ...] = option((), flag="--host")
    """Additional DNS name for the certificate, for API servers that reach the webhook by URL instead of its Service."""
    pod_name: str = option("", env="POD_NAME", hidden=True)
    """Name of the webhook's own pod, for events and log lines; empty outside Kubernetes."""
    trusted_writers: tuple[str, ...] = option((), flag="--trusted-writer", metavar="USER")
    """User that may change unigpu.dev/request, unigpu.dev/allocation and unigpu.dev/limits-applied of an existing pod;
    without any: the service accounts of the scheduler and the node agent in the namespace."""
    aliyun_unit: AliyunUnit = AliyunUnit.GIB
    """Unit of aliyun.com/gpu-mem."""
    bare_nvidia_gpu: BareGpu = BareGpu.WHOLE
    """Meaning of nvidia.com/gpu without memory and cores: whole GPUs, or leave the pod to NVIDIA's device plugin."""
    vendor_resources: Literal["keep", "replace"] = "keep"
    """Whether vendors' resources stay in translated pods, next to the unified ones."""
    published: bool = option(False, flag="--publish-vendor-resources")
    """Nodes publish capacities of vendors' resources: take out of pods those that have no effect."""
    dialects: str = option("", metavar="JSON")
    """Resource names that the cluster renames or adds, as JSON: the chart's values dialects.additional and
    dialects.hamiResourceNames."""
    volcano_memory_factor: int = option(1, minimum=1, maximum=1 << 20)
    """MiB in one unit of volcano.sh/gpu-memory and volcano.sh/vgpu-memory."""
    vgpu_manager_memory_factor: int = option(1, minimum=1, maximum=1 << 20)
    """MiB in one unit of nvidia.com/vgpu-memory."""
    context_memory: int = option(0, minimum=0)
    """MiB that a CUDA context takes: smaller shares are warned of; 0: by the models of the cluster's GPUs."""
    opting_out: bool = True
    """Refuse pods that switch isolation off by CGPU_DISABLE or CUDA_DISABLE_CONTROL."""
    schedulers: tuple[str, ...] = option((), flag="--scheduler")
    """Additional schedulerName that unigpu's scheduler replaces."""
    certificate_seconds: int = option(90 * 24 * 3600, minimum=1)
    """Lifetime of a serving certificate in seconds. It is renewed after two thirds, so that a month is left to repair
    whatever prevents the renewal."""
    check_seconds: float = option(30.0, above=0)
    """Longest time between two checks of the Secret and the configurations; a change of either is checked at once. For
    certificates with a short life the time is shorter."""
    tls_folder: str = option("", metavar="PATH")
    """Folder with tls.crt and tls.key that another program, such as cert-manager, keeps current; the webhook then makes
    no certificate and leaves caBundle alone. Without it the webhook makes its own certificate."""
    body_bytes: int = option(8 * 1024 * 1024, minimum=1)
    """Largest review in bytes. The API server takes objects of up to 3 MiB, and the review of an update holds two."""
    drain_seconds: float = option(5.0, minimum=0)
    """Seconds for which reviews are still answered after SIGTERM, until API servers use other replicas."""
    sweep_seconds: float = option(300.0, minimum=0)
    """Seconds between two searches for pods that were created while no webhook answered; 0: never."""
    excluded: tuple[str, ...] = option(("kube-system",), flag="--excluded-namespace")
    """Namespace that the configurations leave out, and the search for skipped pods too. The webhook's own always is."""
    kubeconfig: str = option("", metavar="PATH")
    """Path of a kubeconfig; without it: the pod's service account, else KUBECONFIG."""

    def __post_init__(self) -> None:
        if not self.trusted_writers:
            object.__setattr__(self, "trusted_writers", default_trusted_writers(self.namespace))
        if self.namespace not in self.excluded:
            object.__setattr__(self, "excluded", (*self.excluded, self.namespace))

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each value that can't work."""
        try:
            configured_dialects.load(self.dialects)
        except errors.Malformed as error:
            yield f"--dialects: {error}"

    @property
    def options(self) -> Options:
        """Return how pods are read."""
        return Options(
            aliyun_unit=self.aliyun_unit,
            bare_gpu=self.bare_nvidia_gpu,
            opting_out=self.opting_out,
            context_memory=MiB(self.context_memory),
            volcano_factor=self.volcano_memory_factor,
            vgpu_manager_factor=self.vgpu_manager_memory_factor,
            schedulers=Options().schedulers | frozenset(self.schedulers),
            words=configured_dialects.load(self.dialects),
            keep_vendors=self.vendor_resources == "keep",
            published=self.published,
        )


def parse(arguments: Sequence[str]) -> Settings:
    """Return the settings of a command line.

    Ends the process with status 2 and a message where an argument isn't understood, as argparse does.
    """
    return settings.parse(Settings, arguments, prog="python -m webhook")


def default_trusted_writers(namespace: str) -> tuple[str, ...]:
    """Return the chart's service accounts that write the platform's annotations, as the API server names them."""
    return tuple(
        f"system:serviceaccount:{namespace}:{account}"
        for account in (names.ACCOUNT_SCHEDULER, names.ACCOUNT_NODE_AGENT)
    )
