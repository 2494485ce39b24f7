"""Write kubeconfigs, as JSON (a subset of YAML), with embedded certificates, so that the file can be copied alone."""

from __future__ import annotations

import base64
import json
import pathlib

from cluster import units


def write(file: pathlib.Path, certificates: pathlib.Path, identity: str, server: str, cluster: str) -> None:
    """Write a kubeconfig for the certificate IDENTITY.crt, readable only by its owner."""

    def encoded(name: str) -> str:
        return base64.b64encode((certificates / name).read_bytes()).decode()

    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": encoded("ca.crt")}}],
        "users": [
            {
                "name": identity,
                "user": {
                    "client-certificate-data": encoded(f"{identity}.crt"),
                    "client-key-data": encoded(f"{identity}.key"),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": identity}}],
        "current-context": cluster,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    units.write_whole(file, json.dumps(content, indent=1), mode=0o600)
