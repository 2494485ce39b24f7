"""Settings of the page, and what its container needs.

command     python -m page
env         KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, which Kubernetes sets in every container
mounts      /etc/unigpu/ca/ca.crt: the certificate authority of the API server (ConfigMap kube-root-ca.crt); with
            --tls-folder: tls.crt and tls.key
privileges  none, and no token of a service account: every request to the API server carries the viewer's own token
ports       8890: the page · 8891: /metrics /healthz /readyz
RBAC        none
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cli import prometheus
from unigpu import errors, names
from unigpu_service import settings
from unigpu_service.settings import PORT_MAX, Logging, option


@dataclass(frozen=True, slots=True)
class Settings(Logging):
    """unigpu's page: who uses which GPU. It shows what the viewer's own token may see, and has no rights of its own."""

    port: int = option(names.PORT_PAGE, minimum=0, maximum=PORT_MAX)
    """TCP port of the page. 0: any free one."""
    metrics_port: int = option(names.PORT_PAGE_METRICS, minimum=0, maximum=PORT_MAX)
    """TCP port of /metrics, /healthz and /readyz. 0: any free one."""
    host: str = ""
    """Address on which the page is served. Empty: every address, IPv4 and IPv6."""
    api_server: str = option("", metavar="URL")
    """Address of the API server. Empty: as Kubernetes tells each container."""
    ca_file: str = option("/etc/unigpu/ca/ca.crt", metavar="PATH")
    """Certificate authority of the API server."""
    system_namespace: str = names.SYSTEM_NAMESPACE
    """Namespace of unigpu itself, where the exporters are asked for live use."""
    prometheus: str = option("", metavar="NAMESPACE/NAME:PORT")
    """Service of the Prometheus that has the last hour, asked through the API server. Empty: the page shows what it has
    seen since it was opened."""
    tls_folder: str = option("", metavar="PATH")
    """Folder with tls.crt and tls.key, for a page that is served over TLS. Empty: plain HTTP."""
    refresh: float = option(5.0, above=0)
    """Seconds for which an answer of the API server is good for the same viewer; a large cluster is read less often."""
    viewers: int = option(200, minimum=1)
    """Most viewers whose last answer is kept. One more costs another list of all pods at each of its requests."""

    @property
    def address(self) -> str:
        """Address of the API server."""
        return self.api_server or in_cluster(os.environ)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each combination that can't work."""
        if not self.address:
            yield "--api-server is not set, and outside of Kubernetes nothing else says where the API server is"
        if self.prometheus:
            try:
                prometheus.service(self.prometheus)
            except errors.Malformed as error:
                yield f"--prometheus = {error}"


def in_cluster(environment: Mapping[str, str]) -> str:
    """Return the address that Kubernetes gives to each container; empty outside of Kubernetes."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def parse(arguments: Sequence[str]) -> Settings:
    """Return the settings from the command line; end the process with 2 and a sentence if they can't be understood."""
    return settings.parse(Settings, arguments, prog="page")
