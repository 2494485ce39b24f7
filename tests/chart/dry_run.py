"""An API server judges objects without keeping them, over one connection: an answer takes milliseconds."""

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.chart import apiserver
from tests.chart.rendering import Document

FOREIGN = ("cert-manager.io", "monitoring.coreos.com")
"""Groups of other projects' definitions, which the server doesn't have."""


class DryRun:
    """Applies objects as Helm does, for nothing; what they need is created, and stays."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        server = urllib.parse.urlsplit(apiserver.address(kubeconfig))
        trusted = ssl.create_default_context(cafile=str(apiserver.authority(kubeconfig)))
        self._connection = http.client.HTTPSConnection(
            str(server.hostname), server.port, context=trusted, timeout=apiserver.PATIENCE
        )
        self._kubeconfig, self._namespace = kubeconfig, namespace
        self._created: set[tuple[str, ...]] = set()
        self._resources: dict[str, dict[str, dict[str, Any]]] = {}
        self._taken: set[str] = set()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def refusals(self, documents: Iterable[Document]) -> list[str]:
        """Return what the server says of the objects that it doesn't take; what it took before isn't asked again."""
        found = []
        for document in documents:
            text = json.dumps(document, sort_keys=True)
            if text in self._taken or document["apiVersion"].partition("/")[0] in FOREIGN:
                continue
            self._prepare(document)
            status, answer = self._ask("PATCH", self._path(document), text)
            if status in (200, 201):
                self._taken.add(text)
            else:
                found.append(f"{document['kind']} {document['metadata']['name']}: {answer['message']}")
        return found

    def _prepare(self, document: Document) -> None:
        """Create what must be there before it: its namespace, and what a pod names."""
        namespace = document["metadata"].get("namespace", self._namespace)
        wanted: list[tuple[str, ...]] = [("namespace", namespace)]
        if document["kind"] == "Pod":
            spec = document["spec"]
            wanted.append(("serviceaccount", spec.get("serviceAccountName", "default"), f"--namespace={namespace}"))
            if "priorityClassName" in spec:
                wanted.append(("priorityclass", spec["priorityClassName"]))
        for words in wanted:
            if words not in self._created:
                apiserver.kubectl(self._kubeconfig, "create", *words)
                self._created.add(words)

    def _path(self, document: Document) -> str:
        """Return where the server applies an object."""
        version = document["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._resources:
            status, answer = self._ask("GET", root)
            assert status == 200, f"{version}: {answer}"
            # The names of subresources have a slash.
            self._resources[version] = {one["kind"]: one for one in answer["resources"] if "/" not in one["name"]}
        kind = self._resources[version][document["kind"]]
        where = f"/namespaces/{document['metadata'].get('namespace', self._namespace)}" if kind["namespaced"] else ""
        choices = "dryRun=All&fieldManager=helm&force=true&fieldValidation=Strict"
        return f"{root}{where}/{kind['name']}/{document['metadata']['name']}?{choices}"

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {apiserver.TOKEN}"}
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml"
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content: dict[str, Any] = json.loads(answer.read())
        return answer.status, content
