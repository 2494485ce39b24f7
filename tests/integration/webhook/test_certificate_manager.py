"""The certificate over its life: replicas that race, renew, and lose their Secret, against an API server."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from unigpu import errors, names
from unigpu_kube import client
from webhook.tls import certificates
from webhook.tls.api_objects import TlsObjects
from webhook.tls.certificate_manager import CertificateManager
from webhook.tls.certificates import Terms
from webhook.tls.serving_cert import ServingCertificate

SECRET = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/secrets/{names.SECRET_WEBHOOK_TLS}"
HOSTS = certificates.hosts(names.SERVICE_WEBHOOK, names.SYSTEM_NAMESPACE)
Replica = tuple[CertificateManager, ServingCertificate]


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def replica(kubeconfig: str, clock: Clock) -> AsyncIterator[Callable[..., Awaitable[Replica]]]:
    """Make replicas that check only when the test asks."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(lifetime: timedelta = timedelta(days=90), clock: Callable[[], datetime] = clock) -> Replica:
            api = await stack.enter_async_context(client.connect(kubeconfig))
            identity = ServingCertificate()
            peer = TlsObjects(api, names.SYSTEM_NAMESPACE, names.SECRET_WEBHOOK_TLS, names.WEBHOOK_CONFIGURATION)
            return CertificateManager(peer, identity, Terms(HOSTS, lifetime), clock=clock), identity

        yield make


def secret(apiserver: Any) -> certificates.State:
    return certificates.from_secret(apiserver.objects[SECRET]["data"])


async def test_a_first_replica_makes_publishes_and_serves(apiserver: Any, replica: Any) -> None:
    manager, identity = await replica()
    assert manager.unready() is not None
    await manager.check()
    assert manager.unready() is None
    assert identity.expires == secret(apiserver).current.expires
    assert apiserver.bundle("mutating") == apiserver.bundle("validating") == secret(apiserver).bundle


async def test_replicas_that_race_share_one_certificate(apiserver: Any, replica: Any) -> None:
    replicas = [await replica() for _ in range(5)]
    await asyncio.gather(*(manager.check() for manager, _ in replicas))
    assert len({identity.certificate for _, identity in replicas}) == 1
    assert apiserver.writes.count(f"POST {SECRET.rpartition('/')[0]}/{names.SECRET_WEBHOOK_TLS}") == 1


async def test_nothing_is_written_while_nothing_is_due(apiserver: Any, replica: Any) -> None:
    manager, _ = await replica()
    await manager.check()
    written = list(apiserver.writes)
    await manager.check()
    assert apiserver.writes == written


async def test_a_renewal_never_serves_what_isnt_trusted(apiserver: Any, replica: Any, clock: Clock) -> None:
    replicas = [await replica(timedelta(seconds=15)) for _ in range(2)]
    seen = set()
    for second in range(120):
        clock.now += timedelta(seconds=0.5)
        for number, (manager, identity) in enumerate(replicas):
            if (second + number) % 3:
                await manager.check()
            if not identity.certificate:
                continue
            seen.add(identity.certificate)
            assert identity.valid(clock.now)
            trusted = [certificates.split(apiserver.bundle(kind)) for kind in ("mutating", "validating")]
            state = secret(apiserver)
            known = {state.current.certificate: state.current.authority}
            if identity.certificate in known:
                assert all(known[identity.certificate] in bundle for bundle in trusted)
    assert len(seen) >= 5


async def test_a_deleted_secret_is_restored_from_memory(apiserver: Any, replica: Any) -> None:
    manager, identity = await replica()
    await manager.check()
    before = identity.certificate
    await apiserver.change(SECRET, None)
    await manager.check()
    assert secret(apiserver).current.certificate == before


async def test_a_fresh_replica_without_secret_keeps_what_others_serve_trusted(apiserver: Any, replica: Any) -> None:
    manager, _ = await replica()
    await manager.check()
    old = secret(apiserver).current.authority
    await apiserver.change(SECRET, None)
    fresh, _ = await replica()
    await fresh.check()
    assert old in apiserver.bundle("mutating")
    assert secret(apiserver).current.authority in apiserver.bundle("mutating")


async def test_replicas_change_over_only_when_the_new_authority_was_noticed(
    apiserver: Any, replica: Any, clock: Clock
) -> None:
    manager, identity = await replica()
    await manager.check()
    before = identity.certificate
    await apiserver.change(SECRET, None)
    await (await replica())[0].check()
    await manager.check()
    assert identity.certificate == before
    clock.now += timedelta(seconds=61)
    await manager.check()
    assert identity.certificate == secret(apiserver).current.certificate != before


async def test_a_damaged_secret_is_replaced(apiserver: Any, replica: Any) -> None:
    manager, _ = await replica()
    await manager.check()
    await apiserver.change(SECRET, {"metadata": {"name": names.SECRET_WEBHOOK_TLS}, "data": {"tls.key": "eA=="}})
    await manager.check()
    assert manager.unready() is None
    assert secret(apiserver).current.hosts == HOSTS


async def test_an_emptied_bundle_is_written_again(apiserver: Any, replica: Any) -> None:
    manager, _ = await replica()
    await manager.check()
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{names.WEBHOOK_CONFIGURATION}"
    item = apiserver.objects[path]
    for hook in item["webhooks"]:
        hook["clientConfig"]["caBundle"] = base64.b64encode(b"").decode()
    await apiserver.change(path, item)
    await manager.check()
    assert apiserver.bundle("mutating") == secret(apiserver).bundle


async def test_a_missing_configuration_is_unready(apiserver: Any, replica: Any) -> None:
    path = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{names.WEBHOOK_CONFIGURATION}"
    await apiserver.change(path, None)
    manager, _ = await replica()
    await manager.check()
    assert "trust" in str(manager.unready())


async def test_an_api_server_that_doesnt_answer_is_unavailable(apiserver: Any, replica: Any) -> None:
    manager, _ = await replica()
    await manager.check()
    apiserver.available = False
    with pytest.raises(errors.Unavailable):
        await manager.check()
    assert manager.unready() is None


async def test_a_change_wakes_the_keeper(apiserver: Any, replica: Any, kubeconfig: str) -> None:
    async with client.connect(kubeconfig) as api:
        peer = TlsObjects(api, names.SYSTEM_NAMESPACE, names.SECRET_WEBHOOK_TLS, names.WEBHOOK_CONFIGURATION)
        manager, _ = await replica()
        running = [asyncio.create_task(manager.run(600)), asyncio.create_task(peer.watch(manager.wake))]
        try:
            await manager.loaded.wait()
            async with asyncio.timeout(10):
                await apiserver.change(SECRET, None)
                await apiserver.until(lambda: SECRET in apiserver.objects)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def test_a_certificate_that_ends_between_two_looks_is_replaced_at_once(apiserver: Any, replica: Any) -> None:
    """As when a platform makes its certificates live longer than before."""

    def clock() -> datetime:
        return datetime.now(UTC)

    short, _ = await replica(timedelta(seconds=2), clock)
    await short.check()
    longer, identity = await replica(timedelta(days=90), clock)
    running = asyncio.create_task(longer.run(600))
    async with asyncio.timeout(30):
        await apiserver.until(lambda: secret(apiserver).current.expires > clock() + timedelta(days=1))
        while identity.certificate != secret(apiserver).current.certificate:  # noqa: ASYNC110 (nobody tells of it)
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert longer.unready() is None
