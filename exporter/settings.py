"""Settings of the exporter, and what its container needs.

command     python -m exporter, as user 0 (the files that it reads belong to root and to containers' users)
env         NODE_NAME from fieldRef spec.nodeName
mounts      /var/lib/unigpu, ro; for the driver the same as the device plugin's: / of the node at /host, ro, or the
            simulator's folders at the same paths as on the node
privileges  real driver: privileged (NVML opens the device nodes); simulated: none beyond user 0
ports       9400: /metrics /healthz /readyz
RBAC        none
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
    host_root: Path = Path("/host")
    """Where the node's root is mounted; `/` when the exporter runs on the node itself. Only with a real driver."""
    driver_root: PurePosixPath = option(PurePosixPath("/"), absolute=True)
    """The real driver's root as the node sees it: `/`, or for instance `/run/nvidia/driver`."""
    simulator_dir: Path | None = None
    """State of the simulated driver. Without it, the driver is real."""
    simulator_lib: Path | None = None
    """Folder of the simulated driver's libraries; goes with `--simulator-dir`."""
    driver_deadline: float = option(0.5, above=0)
    """Seconds that a scrape waits for NVML; after that the page comes without the driver's values. Well below the 10 s
    after which Prometheus gives up: when NVML hangs, containers' values are still served."""
    driver_retry: float = option(10.0, above=0)
    """Seconds between two attempts to start NVML while it can't be started."""

    @property
    def containers(self) -> Path:
        """Root of containers' folders."""
        return self.state_dir / Path(names.NODE_CONTAINERS).relative_to(names.NODE_ROOT)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each combination that can't work."""
        if (self.simulator_dir is None) != (self.simulator_lib is None):
            yield "--simulator-dir and --simulator-lib go together: give both, or neither for a real driver"


def parse(arguments: Sequence[str]) -> Settings:
    """Return the settings from the command line; end the process with 2 and a sentence if they can't be understood."""
    return settings.parse(Settings, arguments, prog="exporter")
