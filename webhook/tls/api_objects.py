"""The API server's objects that carry the certificate: one Secret and the two webhook configurations.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/ for caBundle.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import errors
from unigpu_kube import errors as kube_errors
from unigpu_kube import objects
from unigpu_kube.client import Client, Patch
from unigpu_kube.reflector import Reflector, Sink, Source

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
KINDS = ("mutating", "validating")
"""Kinds of webhook configurations."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A Secret as it was read."""

    version: str
    """resourceVersion: a write is refused if the Secret has changed since."""
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A webhook configuration as it was read."""

    kind: str
    """`mutating` or `validating`."""
    version: str
    bundles: tuple[str, ...]
    """The caBundle of each of its webhooks, PEM, empty where there is none."""


class TlsObjects:
    """Reads, writes and watches these objects. Every method raises Unavailable or Rejected where it fails."""

    def __init__(self, client: Client, namespace: str, secret: str, configuration: str) -> None:
        self._client = client
        self._secrets = f"{objects.NAMESPACES}/{namespace}/secrets"
        self._namespace, self._secret, self._configuration = namespace, secret, configuration

    async def secret(self) -> Stored | None:
        """Return the Secret; None if there is none."""
        found = await self._client.find(f"{self._secrets}/{self._secret}")
        return None if found is None else Stored(objects.version(found), found.get("data") or {})

    async def write_secret(self, data: Mapping[str, str], version: str | None) -> None:
        """Create the Secret (version None), or replace it if it is still of that version; else raises Conflict."""
        metadata = {"name": self._secret, "namespace": self._namespace}
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": dict(data)}
        if version is None:
            await self._client.create(self._secrets, body | {"metadata": metadata})
            return
        try:
            replaced = body | {"metadata": metadata | {"resourceVersion": version}}
            await self._client.replace(f"{self._secrets}/{self._secret}", replaced)
        except kube_errors.Missing as error:
            raise kube_errors.Conflict(error.status, "the Secret has been deleted") from error

    async def configurations(self) -> tuple[Configuration, ...]:
        """Return those of the two configurations that exist."""
        found = []
        for kind in KINDS:
            item = await self._client.find(self._path(kind))
            if item is not None:
                found.append(Configuration(kind, objects.version(item), _bundles(item)))
        return tuple(found)

    async def publish(self, configuration: Configuration, bundle: str) -> None:
        """Write the bundle into each webhook of the configuration. Raises Conflict if it has changed since."""
        encoded = base64.b64encode(bundle.encode()).decode()
        patch: list[dict[str, object]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": configuration.version}
        ]
        patch += [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": encoded}
            for index in range(len(configuration.bundles))
        ]
        try:
            await self._client.patch(self._path(configuration.kind), patch, Patch.JSON)
        except kube_errors.Missing as error:
            raise kube_errors.Conflict(error.status, "the configuration has been deleted") from error

    async def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the Secret or a configuration may have changed; never returns."""
        sink: Sink[None] = Sink(
            parse=lambda _: None, listed=lambda _: wake(), changed=lambda _: wake(), gone=lambda _: wake()
        )
        paths = {self._secrets: self._secret} | {self._folder(kind): self._configuration for kind in KINDS}
        async with asyncio.TaskGroup() as group:
            for path, name in paths.items():
                source = Source(path, {"fieldSelector": f"metadata.name={name}"}, metadata_only=True)
                group.create_task(Reflector(self._client, source, sink).run())

    def _path(self, kind: str) -> str:
        return f"{self._folder(kind)}/{self._configuration}"

    @staticmethod
    def _folder(kind: str) -> str:
        return f"{_ADMISSION}/{kind}webhookconfigurations"


def _bundles(item: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return tuple(_text((hook.get("clientConfig") or {}).get("caBundle")) for hook in item.get("webhooks") or ())
    except AttributeError as error:
        raise errors.Unavailable(f"the webhook configuration can't be read: {error}") from error


def _text(bundle: str | None) -> str:
    try:
        return base64.b64decode(bundle or "").decode()
    except ValueError:
        return ""
