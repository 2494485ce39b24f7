"""The control plane: etcd, API server, controller manager, and the stock scheduler for ordinary pods."""

from __future__ import annotations

import pathlib

from cluster import cgroups, kubeconfigs, network, settings, state, units

UNIT = "control-plane"


def describe(layout: settings.Layout, known: state.State) -> units.Unit:
    """Describe the unit, and write the kubeconfigs of its programs."""
    certificates = layout.certificates
    for identity in ("controller-manager", "scheduler"):
        kubeconfigs.write(
            layout.home / UNIT / f"{identity}.kubeconfig", certificates, identity, known.server, known.settings.name
        )
    return units.Unit(
        name=UNIT,
        programs=(
            _etcd(layout, known),
            _api_server(layout, known),
            _controller_manager(layout, known),
            _scheduler(layout, known),
        ),
        logs=str(layout.logs / UNIT),
        cgroups=cgroups.make(layout, UNIT),
        path="/usr/sbin:/usr/bin:/sbin:/bin",
    )


def _program(known: state.State, name: str, *arguments: str) -> units.Program:
    return units.Program(name, (str(settings.kubernetes_programs(known.settings.kubernetes) / name), *arguments))


def _etcd(layout: settings.Layout, known: state.State) -> units.Program:
    certificates = layout.certificates
    client = f"https://127.0.0.1:{known.etcd_port}"
    peer = f"http://127.0.0.1:{known.etcd_peer_port}"
    return units.Program(
        "etcd",
        (
            str(settings.BIN / "etcd"),
            f"--data-dir={layout.home / UNIT / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            f"--cert-file={certificates / 'etcd.crt'}",
            f"--key-file={certificates / 'etcd.key'}",
            f"--trusted-ca-file={certificates / 'ca.crt'}",
            "--client-cert-auth",
            # The data live only as long as the cluster, and a power cut ends both.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
    )


def _api_server(layout: settings.Layout, known: state.State) -> units.Program:
    certificates: pathlib.Path = layout.certificates
    address = network.gateway(known.network)
    return _program(
        known,
        "kube-apiserver",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={known.api_port}",
        f"--service-cluster-ip-range={network.service_subnet(known.network)}",
        f"--etcd-servers=https://127.0.0.1:{known.etcd_port}",
        f"--etcd-cafile={certificates / 'ca.crt'}",
        f"--etcd-certfile={certificates / 'etcd.crt'}",
        f"--etcd-keyfile={certificates / 'etcd.key'}",
        f"--client-ca-file={certificates / 'ca.crt'}",
        f"--tls-cert-file={certificates / 'apiserver.crt'}",
        f"--tls-private-key-file={certificates / 'apiserver.key'}",
        f"--kubelet-certificate-authority={certificates / 'ca.crt'}",
        f"--kubelet-client-certificate={certificates / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={certificates / 'apiserver-kubelet.key'}",
        # No DNS knows the nodes' names, so exec and logs use addresses.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={certificates / 'service-accounts.key'}",
        f"--service-account-signing-key-file={certificates / 'service-accounts.key'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        # The API server reaches webhooks and aggregated APIs at their pods' addresses, because no kube-proxy runs here.
        "--enable-aggregator-routing=true",
        "--allow-privileged=true",
        "--profiling=false",
    )


def _controller_manager(layout: settings.Layout, known: state.State) -> units.Program:
    certificates = layout.certificates
    return _program(
        known,
        "kube-controller-manager",
        f"--kubeconfig={layout.home / UNIT / 'controller-manager.kubeconfig'}",
        f"--service-account-private-key-file={certificates / 'service-accounts.key'}",
        f"--root-ca-file={certificates / 'ca.crt'}",
        f"--cluster-signing-cert-file={certificates / 'ca.crt'}",
        f"--cluster-signing-key-file={certificates / 'ca.key'}",
        f"--service-cluster-ip-range={network.service_subnet(known.network)}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        # Don't listen: a second cluster on this machine would use the same default port.
        "--secure-port=0",
    )


def _scheduler(layout: settings.Layout, known: state.State) -> units.Program:
    return _program(
        known,
        "kube-scheduler",
        f"--kubeconfig={layout.home / UNIT / 'scheduler.kubeconfig'}",
        "--leader-elect=false",
        "--secure-port=0",
    )
