"""The API server, as far as the webhook needs it: its Secret and its two configurations."""

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes_asyncio import client, config

from unigpu import errors
from webhook import watching


@dataclass(frozen=True, slots=True)
class Stored:
    """A Secret as it was read."""

    version: str
    """resourceVersion: a write is refused if it has changed since."""
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A webhook configuration as it was read."""

    kind: str
    """`mutating` or `validating`."""
    version: str
    bundles: tuple[str, ...]
    """caBundle of each of its webhooks, PEM, empty where there is none."""


class Conflict(errors.UnigpuError):
    """Somebody else was quicker: read again."""


class Kube:
    """One connection to the API server. Every method raises Unavailable where it doesn't answer."""

    def __init__(self, api: client.ApiClient, namespace: str, secret: str, configuration: str) -> None:
        self._api = api
        self._core = client.CoreV1Api(api)
        self._admission = client.AdmissionregistrationV1Api(api)
        self._namespace, self._secret, self._configuration = namespace, secret, configuration

    async def secret(self) -> Stored | None:
        """The Secret; None if there is none."""
        try:
            async with _errors("reading the Secret"):
                found = await self._core.read_namespaced_secret(self._secret, self._namespace)
        except _Missing:
            return None
        return Stored(found.metadata.resource_version, found.data or {})

    async def write_secret(self, data: Mapping[str, str], version: str | None) -> None:
        """Create the Secret (version None), or replace it if it is still of that version; else raises Conflict."""
        metadata = client.V1ObjectMeta(name=self._secret, namespace=self._namespace, resource_version=version)
        body = client.V1Secret(metadata=metadata, data=dict(data), type="Opaque")
        try:
            async with _errors("writing the Secret"):
                if version is None:
                    await self._core.create_namespaced_secret(self._namespace, body)
                else:
                    await self._core.replace_namespaced_secret(self._secret, self._namespace, body)
        except _Missing as missing:
            raise Conflict("the Secret was deleted meanwhile") from missing

    async def configurations(self) -> tuple[Configuration, ...]:
        """Those of the two configurations that exist."""
        readers: dict[str, Callable[[str], Any]] = {
            "mutating": self._admission.read_mutating_webhook_configuration,
            "validating": self._admission.read_validating_webhook_configuration,
        }
        found = []
        for kind, read in readers.items():
            with contextlib.suppress(_Missing):
                async with _errors(f"reading the {kind} configuration"):
                    item = await read(self._configuration)
                bundles = tuple(_text(hook.client_config.ca_bundle) for hook in item.webhooks or ())
                found.append(Configuration(kind, item.metadata.resource_version, bundles))
        return tuple(found)

    async def publish(self, configuration: Configuration, bundle: str) -> None:
        """Write the bundle into each webhook of the configuration; raises Conflict if it was changed meanwhile."""
        encoded = base64.b64encode(bundle.encode()).decode()
        patch: list[dict[str, object]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": configuration.version}
        ]
        patch += [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": encoded}
            for index in range(len(configuration.bundles))
        ]
        writers: dict[str, Callable[[str, object], Any]] = {
            "mutating": self._admission.patch_mutating_webhook_configuration,
            "validating": self._admission.patch_validating_webhook_configuration,
        }
        try:
            async with _errors(f"writing the {configuration.kind} configuration"):
                await writers[configuration.kind](self._configuration, patch)
        except _Missing as missing:
            raise Conflict("the configuration was deleted meanwhile") from missing

    async def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the Secret or a configuration may have changed; never returns."""
        admission = "/apis/admissionregistration.k8s.io/v1"
        sources = {
            f"/api/v1/namespaces/{self._namespace}/secrets": self._secret,
            f"{admission}/mutatingwebhookconfigurations": self._configuration,
            f"{admission}/validatingwebhookconfigurations": self._configuration,
        }

        def nothing(_: watching.Item) -> None:
            return None

        async with asyncio.TaskGroup() as group:
            for path, name in sources.items():
                query = {"fieldSelector": f"metadata.name={name}"}
                follow = watching.list_and_watch(
                    self._api, path, query, keep=nothing, listed=lambda _: wake(), changed=lambda _, __: wake()
                )
                group.create_task(follow)


async def connect(kubeconfig: str) -> client.ApiClient:
    """A client by kubeconfig; where that is empty by service account, else by KUBECONFIG."""
    settings = client.Configuration()
    if not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(config_file=kubeconfig or None, client_configuration=settings)
    return client.ApiClient(settings)


class _Missing(Exception):
    pass


@contextlib.asynccontextmanager
async def _errors(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(10):
            yield
    except client.ApiException as error:
        if error.status == 404:
            raise _Missing from error
        if error.status in (409, 422):
            raise Conflict(f"{what}: {_brief(error)}") from error
        raise errors.Unavailable(f"{what}: {_brief(error)}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.Unavailable(f"{what}: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    if isinstance(error, client.ApiException):
        return f"{error.status} {error.reason}"
    return str(error) or type(error).__name__


def _text(bundle: str | None) -> str:
    try:
        return base64.b64decode(bundle or "").decode()
    except ValueError:
        return ""
