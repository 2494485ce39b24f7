"""What the exporter is told at its start, and what its container has to have.

command     python -m exporter, as user 0 (the files that it reads belong to root and to containers' users)
mounts      /var/lib/unigpu, ro; for the driver the same as the device plugin's: / of the node at /host, ro, or the
            simulator's folders at the same paths as on the node
privileges  real driver: privileged (NVML opens the device nodes); simulated: none beyond user 0
ports       9400: /metrics /healthz /readyz
RBAC        none
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unigpu import names


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the exporter is told; nothing else reads arguments or environment."""

    port: int = names.PORT_EXPORTER
    """TCP port of /metrics, /healthz and /readyz. 0: any free one."""
    state_dir: Path = Path(names.NODE_ROOT)
    """The node agent's folder, with `containers/`."""
    host_root: Path = Path("/host")
    """Where the node's root is mounted; `/` when the exporter runs on the node itself. Only with a real driver."""
    driver_root: Path = Path("/")
    """The real driver's root as the node sees it: `/`, or for instance `/run/nvidia/driver`."""
    simulator_dir: Path | None = None
    """State of the simulated driver; None: the driver is real."""
    simulator_lib: Path | None = None
    """Folder of the simulated libraries; goes with `simulator_dir`."""
    driver_deadline: float = 0.5
    """Seconds that a scrape waits for NVML; then the page comes without the driver's figures. Well below the 10 s after
    which Prometheus gives up: NVML that hangs mustn't cost the containers' figures."""
    driver_retry: float = 10.0
    """Seconds between two attempts to start NVML where it can't be."""
    log_json: bool = False
    """JSON lines instead of plain ones."""
    log_level: str = "info"
    """Least severe level that is logged: debug, info, warning, error."""

    @property
    def containers(self) -> Path:
        """Root of containers' folders."""
        return self.state_dir / Path(names.NODE_CONTAINERS).relative_to(names.NODE_ROOT)


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from the command line; ends the process with 2 and a usage message if it can't be understood."""
    known = Settings()
    parser = argparse.ArgumentParser(
        prog="exporter",
        description="unigpu's exporter: what each container has of the node's GPUs, for Prometheus.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=known.port, help="port of /metrics, /healthz, /readyz; 0 is any free one")
    add("--state-dir", type=Path, default=known.state_dir, help="the node agent's folder")
    add("--host-root", type=Path, default=known.host_root, help="where the node's root is mounted")
    add("--driver-root", type=Path, default=known.driver_root, help="the real driver's root on the node")
    add("--simulator-dir", type=Path, default=None, help="state of the simulated driver")
    add("--simulator-lib", type=Path, default=None, help="folder of the simulated driver's libraries")
    add("--driver-deadline", type=float, default=known.driver_deadline, help="seconds that a scrape waits for NVML")
    add("--driver-retry", type=float, default=known.driver_retry, help="seconds between attempts to start NVML")
    add("--log-json", action="store_true", help="JSON lines instead of plain ones")
    add("--log-level", default=known.log_level, choices=["debug", "info", "warning", "error"])
    given = parser.parse_args(arguments)
    if (given.simulator_dir is None) != (given.simulator_lib is None):
        parser.error("--simulator-dir and --simulator-lib go together: give both, or neither for a real driver")
    if given.driver_deadline <= 0 or given.driver_retry <= 0:
        parser.error("--driver-deadline and --driver-retry must be above 0")
    return Settings(**vars(given))
