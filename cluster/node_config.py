"""Write the configuration files of a node's programs."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

from cluster import pause_image, settings, units

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CNI_FOLDER = "/var/lib/cni/net.d"
CDI_FOLDER = "/var/run/cdi"
CNI_PLUGINS = "/usr/lib/cni"
MAX_PODS = 200
"""A node's pods share one /24; the remaining addresses are for pods that are being deleted."""


def write_all(
    config: pathlib.Path,
    *,
    certificates: pathlib.Path,
    node: str,
    address: str,
    pods: str,
    cluster_pods: str,
    cgroup: str,
    kubernetes: str,
) -> None:
    """Write containerd.toml, kubelet.json, proxy.json and, below cni/, the pod network of the node."""
    units.write_whole(config / "containerd.toml", containerd(config / "cni"))
    _write(config / "kubelet.json", kubelet(certificates, node, address, cgroup, kubernetes))
    _write(config / "proxy.json", proxy(config, cluster_pods, kubernetes))
    (config / "cni").mkdir(exist_ok=True)
    _write(config / "cni" / "10-pods.conflist", pod_network(pods))


def containerd(cni: pathlib.Path) -> str:
    """Return containerd's configuration as TOML."""
    return f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause_image.name()}"

[plugins."io.containerd.cri.v1.runtime"]
enable_cdi = true
cdi_spec_dirs = ["{CDI_FOLDER}"]
# A host that is itself a container often has no CAP_SYS_RESOURCE, without which no score can be lowered.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_PLUGINS}"]
conf_dir = "{cni}"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "runc"
SystemdCgroup = false
"""


def containerd_store(root: pathlib.Path, state: pathlib.Path, socket: pathlib.Path) -> str:
    """Return the configuration, as TOML, of a containerd that only unpacks images."""
    return f"""\
version = 3
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]

[grpc]
address = "{socket}"
"""


def kubelet(
    certificates: pathlib.Path, node: str, address: str, cgroup: str, kubernetes: str = ""
) -> dict[str, object]:
    """Return the KubeletConfiguration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificates / f"kubelet-{node}.crt"),
        "tlsPrivateKeyFile": str(certificates / f"kubelet-{node}.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        # Older ones don't know the field, and take both versions of control groups.
        **({"failCgroupV1": False} if settings.at_least(kubernetes, 31) else {}),
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "maxPods": MAX_PODS,
        "registerNode": True,
        # There is no registry to pull an image again from, so images are never removed.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # With so few nodes, frequent updates are cheap: a patched capacity becomes allocatable within two seconds.
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
        "serializeImagePulls": False,
        "shutdownGracePeriod": "0s",
        # The node has no DNS server, and can reach nothing outside of the cluster.
        "resolvConf": "",
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }


def proxy(config: pathlib.Path, cluster_pods: str, kubernetes: str = "") -> dict[str, object]:
    """Return the KubeProxyConfiguration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        **({} if settings.at_least(kubernetes, 31) else {"featureGates": {"NFTablesProxyMode": True}}),
        "clientConnection": {"kubeconfig": str(config / "proxy.kubeconfig")},
        "clusterCIDR": cluster_pods,
        "oomScoreAdj": 0,
        # These settings belong to the whole host; a node must not change them.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def pod_network(pods: str) -> dict[str, object]:
    """Return a CNI configuration list: a veth pair from each pod to the node, which forwards."""
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni",
                    "ranges": [[{"subnet": pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
        ],
    }


def _write(file: pathlib.Path, content: Mapping[str, object]) -> None:
    units.write_whole(file, json.dumps(content, indent=1))
