"""An API server with its etcd, without controllers and nodes. It takes or refuses objects as a cluster does."""

import contextlib
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cluster import settings
from tests.chart.rendering import HELM

BIN = HELM.parent
KUBERNETES = os.environ.get("UNIGPU_KUBERNETES", "")
"""Version of the server: the one that `make check-versions` is at, or empty for the newest."""
SERVER = settings.kubernetes_programs(KUBERNETES) / "kubernetes"
AS_ON_SERVER = ("--kube-version", f"v{KUBERNETES}.0") if KUBERNETES else ()
"""Arguments with which `helm template` renders for that server."""
TOKEN = "admin-of-a-test"
PATIENCE = 120.0
"""Seconds until it answers; a few on an idle machine."""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Start both in a folder; the kubeconfig of an administrator."""
    etcd, peer, port = _ports(3)
    key = folder / "accounts.key"
    key.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (folder / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            _process(
                folder / "etcd.log",
                BIN / "etcd",
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls=http://127.0.0.1:{etcd}",
                f"--advertise-client-urls=http://127.0.0.1:{etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                "--unsafe-no-fsync",
            )
        )
        server = stack.enter_context(
            _process(
                folder / "apiserver.log",
                SERVER,
                "kube-apiserver",
                f"--etcd-servers=http://127.0.0.1:{etcd}",
                f"--secure-port={port}",
                "--bind-address=127.0.0.1",
                f"--cert-dir={folder / 'certificates'}",
                "--service-cluster-ip-range=10.98.0.0/24",
                "--authorization-mode=RBAC",
                "--allow-privileged",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}",
            )
        )
        _wait(f"https://127.0.0.1:{port}/readyz", server, folder / "apiserver.log")
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(_kubeconfig(f"https://127.0.0.1:{port}")))
        yield kubeconfig


def kubectl(kubeconfig: Path, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl, with `text` on its standard input."""
    command: list[str | Path] = [BIN / "kubectl", "--kubeconfig", kubeconfig, *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds: policies are in force some time after they were written."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def address(kubeconfig: Path) -> str:
    """Return the server's address."""
    found: str = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return found


def authority(kubeconfig: Path) -> Path:
    """Return the file with the certificate that the server made for itself."""
    return kubeconfig.parent / "certificates" / "apiserver.crt"


def _kubeconfig(address: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": address, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }


@contextlib.contextmanager
def _process(log: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=dict(os.environ))
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, context=trusting, timeout=10):
            return
        if server.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the API server doesn't answer:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)


def _ports(count: int) -> list[int]:
    """Free ports, taken all at once so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
