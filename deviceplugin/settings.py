"""What the node agent is configured with, and what its pod must provide.

A manifest of the agent (DaemonSet `unigpu-node-agent`, container `deviceplugin`) needs:

    command     python -m deviceplugin, as user 0
    env         NODE_NAME from fieldRef spec.nodeName
    arguments   all have defaults; a simulated driver needs --simulator-dir and --simulator-lib
    mounts      each at the same path in the container as on the node:
                  /var/lib/kubelet/device-plugins   rw, Directory
                  /var/lib/kubelet/pod-resources    ro, Directory (not the socket: the kubelet replaces it)
                  /var/lib/unigpu                   rw, DirectoryOrCreate
                  /var/run/cdi                      rw, DirectoryOrCreate
                  /sys/fs/cgroup                    ro, Directory (--cgroup-root: the driver's own memory limits)
                real driver:   / of the node at /host, ro, mountPropagation HostToContainer
                simulated:     --simulator-dir rw and --simulator-lib ro, at the same paths as on the node
    privileges  real driver: privileged (NVML opens the device nodes); simulated: none beyond user 0
                hostPID, to compare what processes use with what was granted (--proc-root=/proc); no hostNetwork
                --on-breach=end: CAP_KILL
    ports       9401: /healthz (liveness), /readyz (readiness: registered with the kubelet, inventory published)
    RBAC        cluster role: pods get, list, watch · pods/status patch · events create
                nodes get, list, watch, patch · nodes/status patch
    rollout     updateStrategy RollingUpdate with maxUnavailable, not maxSurge: one agent a node at a time
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from unigpu import configured_dialects, errors, names
from unigpu.driver_parts import Capability
from unigpu_service import settings as service
from unigpu_service.settings import option

_KUBELET = Path(names.KUBELET_PLUGINS).parent


@dataclass(frozen=True, slots=True)
class Settings(service.Logging):
    """All of the agent's settings; nothing else reads arguments or environment."""

    node: str = option("", env="NODE_NAME", required=True)
    """Name of the node."""
    shares_per_gpu: int = option(16, minimum=1)
    """Slots for each GPU: the most containers that can share one. A higher number costs only a longer list of devices
    at the kubelet."""
    kubelet_dir: Path = _KUBELET
    """The kubelet's folder, with `device-plugins/` and `pod-resources/`."""
    state_dir: Path = option(Path(names.NODE_ROOT), absolute=True)
    """Folder of containers' files and of the copies of libvgpu. It must have the same path in the agent and on the
    node, because CDI specs name it to the runtime."""
    cdi_dir: Path = option(Path(names.NODE_CDI), absolute=True)
    """One of the container runtime's CDI folders; the same path in the agent and on the node."""
    selinux_label: str = ""
    """SELinux context of the files that containers mount: on a node with SELinux, one that containers may read and
    write, `system_u:object_r:container_file_t:s0`. Without it, the agent leaves labels alone."""
    library: Path = Path(names.IMAGE_LIBRARY)
    """libvgpu.so in the agent's image; the agent copies it to the node when it starts."""
    host_root: Path = Path("/host")
    """Folder at which the node's root is mounted in the agent's container; `/` when the agent runs on the node itself.
    It is only read, and only with a real driver."""
    driver_root: PurePosixPath = option(PurePosixPath("/"), absolute=True)
    """Root of the real driver on the node: `/`, or for instance `/run/nvidia/driver`."""
    driver_capabilities: str = option("compute,utility", metavar="LIST")
    """Parts of the real driver for containers whose pods don't set NVIDIA_DRIVER_CAPABILITIES, in the words of that
    variable: compute, utility, video, graphics, display, ngx, compat32, all. All get compute and utility."""
    simulator_dir: Path | None = option(None, absolute=True)
    """State of the simulated driver; without it the driver is real."""
    simulator_lib: Path | None = option(None, absolute=True)
    """Folder of the simulated driver's libraries; goes with --simulator-dir."""
    kubeconfig: Path | None = None
    """Kubeconfig file that names the API server; without it the pod's service account is used."""
    health_port: int = option(names.PORT_PLUGIN_HEALTH, minimum=0, maximum=65535)
    """TCP port of /healthz and /readyz."""
    probe_interval: float = option(5.0, above=0)
    """Seconds between two NVML samples of the GPUs. Where the driver reports events, an XID is read at once."""
    probe_deadline: float = option(30.0, above=0)
    """Seconds that NVML may take for one sample. After that its process is replaced, and all GPUs count as unhealthy
    until NVML answers again. A driver without persistence mode takes several seconds for each GPU when it is cold."""
    xid_quiet: float = option(60.0, minimum=0)
    """Seconds without another critical XID after which a GPU counts as healthy again. XIDs that need a reset of the
    GPU don't pass with time."""
    proc_root: Path | None = option(None, absolute=True)
    """Where the node's own /proc is seen: `/proc` in a pod with hostPID. Without it the agent compares nobody's use of
    the GPUs with the grants, and notices neither breaches nor strangers."""
    cgroup_root: Path | None = option(None, absolute=True)
    """Where the node's control groups are seen, at the same path as on the node: `/sys/fs/cgroup`. Without it the agent
    doesn't set the driver's own memory limits, which drivers of branch R615 and later have."""
    process_interval: float = option(1.0, above=0, maximum=2.0)
    """Seconds between two NVML samples of the processes on the GPUs. A breach is noticed within four such intervals."""
    on_breach: Literal["report", "end"] = "report"
    """What to do with the processes of a container that use more of a GPU than it was granted: only report the breach,
    or also end them, where the breach lasts."""
    breach_grace: float = option(10.0, minimum=0)
    """Seconds for which a reported breach may last before its processes are ended, with --on-breach=end."""
    dialects: str = option("", metavar="JSON")
    """Resource names that the cluster renames or adds, as JSON: the chart's values dialects.additional and
    dialects.hamiResourceNames."""
    publish_vendor_resources: bool = False
    """Publish capacities of vendors' resources in the node's status, except those of other device plugins."""
    aliyun_unit: Literal["GiB", "MiB"] = "GiB"
    """Unit of aliyun.com/gpu-mem in which its capacity is published."""
    volcano_memory_factor: int = option(1, minimum=1, maximum=1 << 20)
    """MiB in one unit of Volcano's memory in which its capacity is published."""
    vgpu_manager_memory_factor: int = option(1, minimum=1, maximum=1 << 20)
    """MiB in one unit of vgpu-manager's memory in which its capacity is published."""
    bare_nvidia_gpu: Literal["whole", "leave"] = "whole"
    """Whether nvidia.com/gpu is unigpu's; with leave it is another device plugin's, and isn't published."""
    limits_from_container: Literal["within-free", "tighten-only"] = "within-free"
    """Whether a program can raise its container's limits by the variables that name limits: within what its GPUs have
    free and its namespace allows, or never. It can always lower its own."""
    shrink_before_evicting: bool = False
    """Publish which containers could do with less, so that the scheduler lowers limits before it evicts pods."""
    shrink_reserve: int = option(10, minimum=0, maximum=100)
    """Percent of its limit that a container keeps free beyond the memory that it holds when its limits are lowered."""
    shrink_least_cores: int = option(5, minimum=1, maximum=100)
    """Percent of each GPU's compute time that a soft container keeps guaranteed when its limits are lowered."""
    shrink_pause: float = option(60.0, above=0)
    """Seconds that a container runs before its limits may be lowered, between two publications of the same containers,
    and before limits that were lowered are raised again: the pod that they were lowered for needs the time."""
    republish_interval: float = option(60.0, above=0)
    """Seconds between two comparisons of the node object with the GPUs; a change is published at once."""
    kubelet_poll: float = option(0.5, above=0)
    """Seconds between two checks of the kubelet's socket and the agent's: how long a restarted kubelet waits for the
    agent at most."""

    @property
    def plugins(self) -> Path:
        """Folder of device plugins' sockets."""
        return self.kubelet_dir / Path(names.KUBELET_PLUGINS).name

    @property
    def checkpoint(self) -> Path:
        """The kubelet's own record of which container has which slots."""
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
        """Folder of the copies of libvgpu."""
        return self.state_dir / Path(names.NODE_LIBRARY).parent.relative_to(names.NODE_ROOT)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each combination that can't work."""
        try:
            configured_dialects.load(self.dialects)
        except errors.Malformed as error:
            yield f"--dialects: {error}"
        known = {*Capability, "all"}
        for word in self.driver_capabilities.split(","):
            if word.strip() not in known:
                yield f"--driver-capabilities = {word.strip()}: unknown; accepted: {', '.join(sorted(known))}"
        if (self.simulator_dir is None) != (self.simulator_lib is None):
            yield "--simulator-dir and --simulator-lib go together: give both, or neither for a real driver"


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; end the process with status 2 and a sentence where they can't work."""
    return service.parse(
        Settings,
        arguments,
        prog="deviceplugin",
        description="The node agent of unigpu: publishes the node's GPUs, gives containers their shares of them and "
        "keeps them to it.",
        environment=environment,
    )
