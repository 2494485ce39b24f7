"""Settings of the exporter, and what its container needs.

command     python -m exporter, as any user
env         NODE_NAME from fieldRef spec.nodeName
mounts      /var/lib/unigpu, ro
privileges  none
ports       9400: /metrics /healthz /readyz
RBAC        none
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unigpu import names
from unigpu_service import settings
from unigpu_service.settings import PORT_MAX, Logging, option


@dataclass(frozen=True, slots=True)
class Settings(Logging):
    """unigpu's exporter: what each container has of the node's GPUs, for Prometheus."""

    node: str = option("", env="NODE_NAME")
    """Name of this node, for the label `node` of each sample."""
    port: int = option(names.PORT_EXPORTER, minimum=0, maximum=PORT_MAX)
    """TCP port of /metrics, /healthz and /readyz. 0: any free one."""
    state_dir: Path = Path(names.NODE_ROOT)
    """The node agent's folder, with `containers/`."""
    dcgm_names: Literal["none", "shares", "all"] = "none"
    """Also serve dcgm-exporter's names: of containers' shares, or of shares and GPUs where no dcgm-exporter runs."""

    @property
    def containers(self) -> Path:
        """Root of containers' folders."""
        return self.state_dir / Path(names.NODE_CONTAINERS).relative_to(names.NODE_ROOT)


def parse(arguments: Sequence[str]) -> Settings:
    """Return the settings from the command line; end the process with 2 and a sentence if they can't be understood."""
    return settings.parse(Settings, arguments, prog="exporter")
