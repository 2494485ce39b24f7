"""The service: its tasks and listeners, and their order at start and end."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import timedelta

from unigpu import logs
from unigpu_kube import client
from unigpu_kube.client import Client
from unigpu_service import http, runtime
from unigpu_service.runtime import Supervisor
from webhook.admission.cluster_cache import ClusterCache
from webhook.admission.metrics import Metrics
from webhook.admission.owner_events import OwnerEvents
from webhook.admission.server import Reviews
from webhook.admission.skipped_pods import SkippedPods
from webhook.limits.node_usage import NodeUsage
from webhook.settings import Settings
from webhook.tls import certificates
from webhook.tls.api_objects import TlsObjects
from webhook.tls.certificate_manager import CertificateManager
from webhook.tls.file_source import FileSource
from webhook.tls.serving_cert import ServingCertificate

log = logging.getLogger(__name__)
GRACE_SECONDS = 10.0
"""For reviews under way when a listener closes."""


async def run(settings: Settings, started: Callable[[int, int], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `started` gets the ports of reviews and of health once both are open.

    Raises an ExceptionGroup where a task fails, or ends and must not.
    """
    async with client.connect(settings.kubeconfig, user_agent="unigpu-webhook") as api, runtime.supervise() as tasks:
        await _serve(settings, api, tasks, started)
    logs.event(log, "ended")


async def _serve(
    settings: Settings, api: Client, tasks: Supervisor, started: Callable[[int, int], None] | None
) -> None:
    certificate = ServingCertificate()
    metrics = Metrics(certificate)
    cache = ClusterCache(settings.options)
    source = _certificate_source(settings, api, tasks, certificate)
    health = http.health(
        lambda: "draining" if tasks.stop.is_set() else source.unready() or cache.unready(), metrics.text
    )
    async with contextlib.AsyncExitStack() as stack:
        metrics_port = await stack.enter_async_context(http.listen(health, settings.metrics_port))
        tasks.start("certificate", source.run(settings.check_seconds))
        tasks.start("cluster cache", cache.run(api))
        if settings.sweep_seconds > 0:
            skipped = SkippedPods(api, cache.options, settings.excluded, settings.pod_name)
            metrics.count_skipped(lambda: skipped.found)
            tasks.start("skipped pods", skipped.run(settings.sweep_seconds))
        if not await tasks.first(source.loaded, cache.synced):
            return
        owners = OwnerEvents(api, settings.pod_name)
        tasks.start("controllers' events", owners.run())
        reviews = Reviews(cache.options, settings.trusted_writers, metrics, settings.body_bytes, NodeUsage(api), owners)
        listener = http.listen(
            reviews.application(),
            settings.port,
            tls=certificate.context,
            grace=GRACE_SECONDS,
            decompress=False,
        )
        port = await stack.enter_async_context(listener)
        logs.event(log, "serving", port=port, metrics_port=metrics_port, replica=settings.pod_name)
        if started is not None:
            started(port, metrics_port)
        await tasks.stopped()
        reviews.draining = True
        logs.event(log, "draining", seconds=settings.drain_seconds)
        await asyncio.sleep(settings.drain_seconds)


def _certificate_source(
    settings: Settings, api: Client, tasks: Supervisor, certificate: ServingCertificate
) -> CertificateManager | FileSource:
    if settings.tls_folder:
        return FileSource(settings.tls_folder, certificate)
    objects = TlsObjects(api, settings.namespace, settings.secret, settings.configuration)
    hosts = (*certificates.hosts(settings.service, settings.namespace), *settings.hosts)
    terms = certificates.Terms(hosts, timedelta(seconds=settings.certificate_seconds))
    manager = CertificateManager(objects, certificate, terms)
    tasks.start("certificate watch", objects.watch(manager.wake))
    return manager
