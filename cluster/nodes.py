"""A node: containerd, kubelet and kube-proxy in their own namespaces.

Each program finds its files at the standard paths, because the node's mount namespace has the node's own folders there.
This is necessary because the kubelet's device plugin folder is fixed, and it lets a node agent use the host paths of a
real node.
"""

from __future__ import annotations

import pathlib

from cluster import cgroups, kubeconfigs, network, node_config, settings, state, store, units

NODE_FOLDERS = (
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/var/lib/unigpu",
    "/var/log/pods",
    "/var/log/containers",
)
"""Folders that each node has for itself; they exist as long as the cluster."""

SIMULATOR_STATE = "/run/unigpu-sim"
"""State of the simulated driver, shared by all containers of the node."""

SIMULATOR_LIBRARIES = "/usr/local/unigpu-sim/lib"
"""Folder of the simulator's libcuda.so.1 and libnvidia-ml.so.1, as if a driver had been installed on a real node."""


def describe(layout: settings.Layout, known: state.State, node: str) -> units.Unit:
    """Describe the unit, and write the node's configuration files."""
    home = layout.node(node)
    index = known.nodes[node]
    config = home / "config"
    config.mkdir(parents=True, exist_ok=True)
    server, name = known.server, known.settings.name
    kubeconfigs.write(config / "kubelet.kubeconfig", layout.certificates, f"kubelet-{node}", server, name)
    kubeconfigs.write(config / "proxy.kubeconfig", layout.certificates, "proxy", server, name)
    mounts = _mounts(home, simulated=known.settings.gpus > 0)
    store.copy_to(home / "files/var/lib/containerd", home / "images.json")
    address = network.node_address(known.network, index)
    node_config.write_all(
        config,
        certificates=layout.certificates,
        node=node,
        address=address,
        pods=network.pod_subnet(known.network, index),
        cluster_pods=known.subnet,
        cgroup=cgroups.unit_group(layout, node),
        kubernetes=known.settings.kubernetes,
    )
    return units.Unit(
        name=node,
        programs=_programs(config, node, address, settings.kubernetes_programs(known.settings.kubernetes)),
        logs=str(layout.logs / node),
        cgroups=cgroups.make(layout, node),
        path=f"{settings.BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        network=units.Network(
            bridge=known.bridge,
            host_end=network.cable_name(known.bridge, index),
            address=f"{address}/24",
            gateway=network.gateway(known.network),
            routes=tuple(
                (network.pod_subnet(known.network, other), network.node_address(known.network, other))
                for other in known.nodes.values()
                if other != index
            ),
        ),
        mounts=mounts,
    )


def _programs(config: pathlib.Path, node: str, address: str, kubernetes: pathlib.Path) -> tuple[units.Program, ...]:
    return (
        units.Program("containerd", (str(settings.BIN / "containerd"), f"--config={config / 'containerd.toml'}")),
        units.Program(
            "kubelet",
            (
                str(kubernetes / "kubelet"),
                f"--config={config / 'kubelet.json'}",
                f"--kubeconfig={config / 'kubelet.kubeconfig'}",
                f"--hostname-override={node}",
                f"--node-ip={address}",
            ),
            needs=node_config.CONTAINERD_SOCKET,
        ),
        units.Program("kube-proxy", (str(kubernetes / "kube-proxy"), f"--config={config / 'proxy.json'}")),
    )


def _mounts(home: pathlib.Path, *, simulated: bool) -> tuple[units.Mount, ...]:
    """Return the mounts of the node, and create their folders on the host."""
    files = home / "files"
    extra = home / "mountpoints"
    overlaid = ["/var/lib", "/var/log"]
    bound = [units.Mount(target, source=str(files / target.lstrip("/"))) for target in NODE_FOLDERS]
    if simulated:
        overlaid.append("/usr/local")
        simulator = files / SIMULATOR_STATE.lstrip("/")
        simulator.mkdir(parents=True, exist_ok=True)
        (extra / SIMULATOR_LIBRARIES.lstrip("/")).mkdir(parents=True, exist_ok=True)
        bound.append(units.Mount(SIMULATOR_STATE, source=str(simulator)))
        bound.append(units.Mount(SIMULATOR_LIBRARIES, source=str(settings.SIMULATOR), read_only=True))
    for target in NODE_FOLDERS:
        (files / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (extra / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return (
        *(units.Mount(target, overlay=str(extra / target.lstrip("/"))) for target in overlaid),
        # Sockets, network namespaces, CDI files and the agents' shared memory disappear with the node.
        units.Mount("/run"),
        *bound,
    )


def simulator_folder(layout: settings.Layout, node: str) -> pathlib.Path:
    """Return the host path of the node's SIMULATOR_STATE."""
    return layout.node(node) / "files" / SIMULATOR_STATE.lstrip("/")
