"""The API server without kubectl: one persistent connection, for tests that send many requests."""

import base64
import http.client
import json
import ssl
import urllib.parse
from pathlib import Path
from typing import Any

import yaml


class Api:
    """The administrator's connection, for one thread."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        context = ssl.create_default_context(cadata=_pem(cluster, "certificate-authority", folder).read_text())
        context.load_cert_chain(_pem(user, "client-certificate", folder), _pem(user, "client-key", folder))
        address = urllib.parse.urlsplit(cluster["server"])
        assert address.hostname is not None
        self._connection = http.client.HTTPSConnection(address.hostname, address.port, context=context, timeout=30)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Send a request; return status and text. Raises OSError without an answer; the next request reconnects."""
        content = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            self._connection.close()
            raise

    def get(self, path: str) -> Any:
        """Return the object at this path."""
        status, text = self.ask("GET", path)
        assert status == 200, f"{path}: {status} {text}"
        return json.loads(text)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _pem(owner: dict[str, str], key: str, folder: Path) -> Path:
    """Return the file that a kubeconfig names, or write one with the embedded data."""
    if key in owner:
        return Path(owner[key])
    path = folder / key
    path.write_bytes(base64.b64decode(owner[f"{key}-data"]))
    return path
