"""What the node agent is told at its start, and what its pod has to have.

What a manifest of it (DaemonSet `unigpu-node-agent`, container `deviceplugin`) has to give:

    command     python -m deviceplugin, as user 0
    env         NODE_NAME from fieldRef spec.nodeName
    arguments   all have defaults; a simulated driver needs --simulator-dir and --simulator-lib
    mounts      each at the same path in the container as on the node:
                  /var/lib/kubelet/device-plugins   rw, Directory
                  /var/lib/kubelet/pod-resources    ro, Directory (not the socket: the kubelet makes it anew)
                  /var/lib/unigpu                   rw, DirectoryOrCreate
                  /var/run/cdi                      rw, DirectoryOrCreate
                real driver:   / of the node at /host, ro, mountPropagation HostToContainer
                simulated:     --simulator-dir rw and --simulator-lib ro, at the same paths as on the node
    privileges  real driver: privileged (NVML opens the device nodes); simulated: none beyond user 0
                neither hostNetwork nor hostPID
    ports       9401: /healthz (liveness), /readyz (readiness: registered with the kubelet, inventory published)
    RBAC        cluster role: pods get, list, watch · pods/status patch · events create
                nodes get, list, watch, patch · nodes/status patch
    rollout     updateStrategy RollingUpdate with maxUnavailable, not maxSurge: one agent a node at a time
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unigpu import errors, names

_ROOT = PurePosixPath("/")
_KUBELET = Path(names.KUBELET_PLUGINS).parent


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the agent is told; nothing else reads arguments or environment."""

    node: str
    """Name of the node; from NODE_NAME, or --node. Required."""
    shares_per_gpu: int = 16
    """Slots for each GPU; bounds how many containers can have a share of one GPU. More cost nothing but a longer list
    of devices at the kubelet."""
    kubelet_dir: Path = _KUBELET
    """The kubelet's folder, with `device-plugins/` and `pod-resources/`."""
    state_dir: Path = Path(names.NODE_ROOT)
    """Where containers' folders and the copies of libvgpu lie; the same path in the agent and on the node, because CDI
    specs name it to the runtime."""
    cdi_dir: Path = Path(names.NODE_CDI)
    """One of the runtime's CDI folders; the same path in the agent and on the node."""
    library: Path = Path(names.CONTAINER_LIBRARY)
    """libvgpu as the image has it; copied to the node at start."""
    host_root: Path = Path("/host")
    """Where the node's root is mounted in the agent's container; `/` when the agent runs on the node itself. Only read,
    and only with a real driver."""
    driver_root: PurePosixPath = _ROOT
    """The real driver's root as the node sees it: `/`, or for instance `/run/nvidia/driver`."""
    simulator_dir: Path | None = None
    """State of the simulated driver; None: the driver is real."""
    simulator_lib: Path | None = None
    """Folder of the simulated libraries; goes with `simulator_dir`."""
    kubeconfig: Path | None = None
    """How to reach the API server; None: as a pod does."""
    health_port: int = names.PORT_PLUGIN_HEALTH
    """TCP port of /healthz and /readyz."""
    probe_interval: float = 5.0
    """Seconds between two looks at the GPUs through NVML; an XID is seen at once where the driver reports events."""
    probe_deadline: float = 30.0
    """Seconds that NVML may take for one look; then its process is replaced and the GPUs count as unhealthy until it
    answers again. A cold driver without persistence takes several seconds for each GPU."""
    xid_quiet: float = 60.0
    """Seconds without another critical XID after which a GPU that answers counts as healthy again."""
    republish_interval: float = 60.0
    """Seconds between two checks that the node object still says what it should; a change is published at once."""
    kubelet_poll: float = 0.5
    """Seconds between two looks at the kubelet's socket and ours; bounds how long a restarted kubelet waits for us."""
    log_json: bool = False
    """JSON lines instead of plain ones."""
    log_level: str = "info"
    """As Python's logging names them."""

    @property
    def plugins(self) -> Path:
        """Folder of device plugins' sockets."""
        return self.kubelet_dir / Path(names.KUBELET_PLUGINS).name

    @property
    def checkpoint(self) -> Path:
        """The kubelet's own record of who has which slots."""
        return self.plugins / Path(names.KUBELET_CHECKPOINT).name

    @property
    def pod_resources(self) -> Path:
        """Socket of the kubelet's pod-resources API."""
        return self.kubelet_dir / Path(names.KUBELET_POD_RESOURCES).relative_to(_KUBELET)

    @property
    def containers(self) -> Path:
        """Root of containers' folders."""
        return self.state_dir / Path(names.NODE_CONTAINERS).relative_to(names.NODE_ROOT)

    @property
    def libraries(self) -> Path:
        """Where copies of libvgpu lie."""
        return self.state_dir / Path(names.NODE_LIBRARY).parent.relative_to(names.NODE_ROOT)


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the command line.

    Raises Malformed where they don't fit together; argparse exits by itself on what it doesn't know.
    """
    parser = argparse.ArgumentParser(prog="deviceplugin", description="The node agent of unigpu.")
    defaults = Settings(node="")
    parser.add_argument("--node", default=environment.get("NODE_NAME", ""), help="this node's name (env NODE_NAME)")
    for name, kind, text in (
        ("shares_per_gpu", int, "slots for each GPU"),
        ("kubelet_dir", Path, "the kubelet's folder"),
        ("state_dir", Path, "containers' folders and libvgpu's copies; same path on the node"),
        ("cdi_dir", Path, "the runtime's CDI folder; same path on the node"),
        ("library", Path, "libvgpu.so in the image"),
        ("host_root", Path, "where the node's root is mounted"),
        ("driver_root", PurePosixPath, "the real driver's root on the node"),
        ("simulator_dir", Path, "state of the simulated driver"),
        ("simulator_lib", Path, "folder of the simulated driver's libraries"),
        ("kubeconfig", Path, "how to reach the API server; default: as a pod does"),
        ("health_port", int, "port of /healthz and /readyz"),
        ("probe_interval", float, "seconds between two looks at the GPUs"),
        ("probe_deadline", float, "seconds that NVML may take for a look"),
        ("xid_quiet", float, "seconds after a critical XID until a GPU counts as healthy again"),
        ("republish_interval", float, "seconds between two checks of the node object"),
        ("kubelet_poll", float, "seconds between two looks at the kubelet's socket"),
        ("log_level", str, "debug, info, warning or error"),
    ):
        default = getattr(defaults, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"{text} ({default})")
    parser.add_argument("--log-json", action="store_true", help="JSON lines instead of plain ones")
    settings = Settings(**vars(parser.parse_args(arguments)))
    problem = _problem(settings)
    if problem:
        raise errors.Malformed(problem)
    return settings


def _problem(settings: Settings) -> str | None:
    if not settings.node:
        return "the node's name isn't known: set the environment variable NODE_NAME, or --node"
    if settings.shares_per_gpu < 1:
        return f"--shares-per-gpu is {settings.shares_per_gpu}, and must be 1 or more"
    if (settings.simulator_dir is None) != (settings.simulator_lib is None):
        return "--simulator-dir and --simulator-lib go together: give both, or neither for a real driver"
    for name in ("state_dir", "cdi_dir", "simulator_dir", "simulator_lib", "driver_root"):
        path = getattr(settings, name)
        if path is not None and not path.is_absolute():
            return f"--{name.replace('_', '-')} is {path}, and must be absolute: the container runtime reads it too"
    for name in ("probe_interval", "probe_deadline", "republish_interval", "kubelet_poll"):
        if getattr(settings, name) <= 0:
            return f"--{name.replace('_', '-')} is {getattr(settings, name)}, and must be above 0"
    return None
