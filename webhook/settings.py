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

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from unigpu import names
from webhook.translation.options import AliyunUnit, BareGpu, Options


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the process."""

    port: int = names.PORT_WEBHOOK
    """TCP port of /mutate and /validate over TLS. 0: any free one."""
    metrics_port: int = names.PORT_WEBHOOK_METRICS
    """TCP port of /healthz, /readyz and /metrics, plain HTTP, so that probes need no certificate. 0: any free one."""
    namespace: str = names.SYSTEM_NAMESPACE
    """Namespace of the Service and the Secret; the certificate is for `<service>.<namespace>.svc`."""
    service: str = names.SERVICE_WEBHOOK
    """Service by which the API server reaches the webhook."""
    secret: str = names.SECRET_WEBHOOK_TLS
    """Secret in which the replicas share the certificate."""
    configuration: str = names.WEBHOOK_CONFIGURATION
    """Name of both webhook configurations, into which the certificate authority is written."""
    hosts: tuple[str, ...] = ()
    """More DNS names for the certificate, for API servers that reach the webhook by URL and not by its Service."""
    pod_name: str = ""
    """Name of the webhook's own pod, for log lines; empty outside Kubernetes."""
    trusted_writers: tuple[str, ...] = ()
    """User names that may change `unigpu.dev/request`, `unigpu.dev/allocation` and `unigpu.dev/limits-applied` of a pod
    that exists. Default: the service accounts of the scheduler and the node agent in `namespace`."""
    options: Options = field(default_factory=Options)
    """How pods are read: what the platform chose."""
    certificate_seconds: int = 90 * 24 * 3600
    """How long a serving certificate is valid. It is renewed after two thirds of that, so that a month is left to
    repair what keeps it from being renewed."""
    check_seconds: float = 30.0
    """Longest time between two looks at the Secret and the configurations; a change of either is looked at at once.
    Shortened for certificates that live so short that 30 s would be late."""
    tls_folder: str = ""
    """Folder with `tls.crt` and `tls.key` that something else keeps current (cert-manager); the webhook then makes no
    certificate and leaves caBundle alone. Empty: the webhook makes its own."""
    body_bytes: int = 8 * 1024 * 1024
    """Largest review that is read. The API server takes objects up to 3 MiB, and a review of an update holds two."""
    drain_seconds: float = 5.0
    """How long reviews are still answered after SIGTERM, until no API server sends new ones here."""
    sweep_seconds: float = 300.0
    """Time between two searches for pods that came in while no webhook answered. 0: never."""
    excluded: tuple[str, ...] = ("kube-system",)
    """Namespaces that the configurations leave out, so that the search does too. The webhook's own is always one."""
    kubeconfig: str = ""
    """Path of a kubeconfig; empty: the pod's service account, else KUBECONFIG."""
    log_json: bool = False
    """Log lines as JSON, for machines."""
    log_level: str = "info"
    """Least severe level that is logged: debug, info, warning, error."""


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from the command line.

    Ends the process with status 2 and a message where an argument isn't understood, as argparse does.
    """
    known = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m webhook", description="Admission webhook: translates every vendor's GPU pods into one form."
    )
    number, text = parser.add_argument, parser.add_argument
    number("--port", type=int, default=known.port)
    number("--metrics-port", type=int, default=known.metrics_port)
    text("--namespace", default=os.environ.get("POD_NAMESPACE") or known.namespace)
    text("--service", default=known.service)
    text("--secret", default=known.secret)
    text("--configuration", default=known.configuration)
    text("--host", action="append", dest="hosts", metavar="NAME", help="may be repeated")
    text("--trusted-writer", action="append", dest="trusted_writers", metavar="USER", help="may be repeated")
    text("--aliyun-unit", choices=[unit.value for unit in AliyunUnit], default="GiB")
    text(
        "--bare-nvidia-gpu",
        choices=[choice.value for choice in BareGpu],
        default="whole",
        help="what nvidia.com/gpu without memory and cores means: whole GPUs, or leave the pod to NVIDIA's own plugin",
    )
    parser.add_argument(
        "--no-opting-out",
        action="store_true",
        help="refuse pods that switch isolation off (CGPU_DISABLE and its like)",
    )
    text(
        "--scheduler", action="append", dest="schedulers", metavar="NAME", help="schedulerName to take over; repeatable"
    )
    number("--certificate-seconds", type=int, default=known.certificate_seconds)
    number("--check-seconds", type=float, default=known.check_seconds)
    text("--tls-folder", default=known.tls_folder)
    number("--body-bytes", type=int, default=known.body_bytes)
    number("--drain-seconds", type=float, default=known.drain_seconds)
    number("--sweep-seconds", type=float, default=known.sweep_seconds)
    text("--excluded-namespace", action="append", dest="excluded", metavar="NAME", help="may be repeated")
    text("--kubeconfig", default=known.kubeconfig)
    parser.add_argument("--log-json", action="store_true")
    text("--log-level", choices=["debug", "info", "warning", "error"], default=known.log_level)
    given = parser.parse_args(arguments)
    if given.certificate_seconds < 1:
        parser.error("--certificate-seconds must be 1 or more")
    return Settings(
        port=given.port,
        metrics_port=given.metrics_port,
        namespace=given.namespace,
        service=given.service,
        secret=given.secret,
        configuration=given.configuration,
        hosts=tuple(given.hosts or ()),
        pod_name=os.environ.get("POD_NAME", ""),
        trusted_writers=tuple(given.trusted_writers or default_trusted_writers(given.namespace)),
        options=Options(
            aliyun_unit=AliyunUnit(given.aliyun_unit),
            bare_gpu=BareGpu(given.bare_nvidia_gpu),
            opting_out=not given.no_opting_out,
            schedulers=Options().schedulers | frozenset(given.schedulers or ()),
        ),
        certificate_seconds=given.certificate_seconds,
        check_seconds=given.check_seconds,
        tls_folder=given.tls_folder,
        body_bytes=given.body_bytes,
        drain_seconds=given.drain_seconds,
        sweep_seconds=given.sweep_seconds,
        excluded=(*(given.excluded or known.excluded), given.namespace),
        kubeconfig=given.kubeconfig,
        log_json=given.log_json,
        log_level=given.log_level,
    )


def default_trusted_writers(namespace: str) -> tuple[str, ...]:
    """Service accounts of the chart that write the platform's annotations, as the API server names them."""
    return tuple(
        f"system:serviceaccount:{namespace}:{account}"
        for account in (names.ACCOUNT_SCHEDULER, names.ACCOUNT_NODE_AGENT)
    )
