"""The wiring: what runs, and what ends it."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from aiohttp import web
from kubernetes_asyncio import client

from unigpu import errors, logs
from webhook import kube
from webhook.admission import server
from webhook.admission.cluster_cache import ClusterCache
from webhook.admission.metrics import Metrics
from webhook.admission.skipped_pods import SkippedPods
from webhook.limits.node_usage import NodeUsage
from webhook.settings import Settings
from webhook.tls import certificates
from webhook.tls.certificate_manager import CertificateManager
from webhook.tls.file_source import FileSource
from webhook.tls.serving_cert import ServingCertificate

log = logging.getLogger(__name__)


async def run(settings: Settings, started: Callable[[int, int], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `started` gets the ports of reviews and of health once both are open.

    Raises what ended a task that must not end.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api = await kube.connect(settings.kubeconfig)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(api.close)
        await _serve(settings, api, stop, stack, started)
    logs.event(log, "ended")


async def _serve(
    settings: Settings,
    api: client.ApiClient,
    stop: asyncio.Event,
    stack: contextlib.AsyncExitStack,
    started: Callable[[int, int], None] | None,
) -> None:
    identity = ServingCertificate()
    metrics = Metrics(identity)
    cluster_cache = ClusterCache(settings.options)
    reviews = server.Reviews(
        cluster_cache.options, settings.trusted_writers, metrics, settings.body_bytes, NodeUsage(api)
    )
    peer = kube.Kube(api, settings.namespace, settings.secret, settings.configuration)
    hosts = (*certificates.hosts(settings.service, settings.namespace), *settings.hosts)
    terms = certificates.Terms(hosts, timedelta(seconds=settings.certificate_seconds))
    certificate = (
        FileSource(settings.tls_folder, identity) if settings.tls_folder else CertificateManager(peer, identity, terms)
    )
    health = server.health(lambda: _unready(stop, certificate, cluster_cache), metrics)
    metrics_port = await listen(stack, health, settings.metrics_port)
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(certificate.run(settings.check_seconds), name="certificate"),
        asyncio.create_task(cluster_cache.run(api), name="cluster cache"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    skipped = SkippedPods(api, cluster_cache.options, settings.excluded, settings.pod_name)
    if settings.sweep_seconds > 0:
        metrics.count_skipped(lambda: skipped.found)
        tasks.append(asyncio.create_task(skipped.run(settings.sweep_seconds), name="skipped pods"))
    if isinstance(certificate, CertificateManager):
        tasks.append(asyncio.create_task(peer.watch(certificate.wake), name="watch"))
    stack.push_async_callback(_end, tasks)
    for first in (certificate.first, cluster_cache.first):
        await guard([*tasks, asyncio.create_task(first.wait())])
        if stop.is_set():
            return
    port = await listen(stack, reviews.application(), settings.port, identity.context)
    logs.event(log, "serving", port=port, metrics_port=metrics_port, pod=settings.pod_name)
    if started is not None:
        started(port, metrics_port)
    await guard(tasks)
    reviews.draining = True
    logs.event(log, "draining", seconds=settings.drain_seconds)
    await asyncio.sleep(settings.drain_seconds)


def _unready(
    stop: asyncio.Event, certificate: CertificateManager | FileSource, cluster_cache: ClusterCache
) -> str | None:
    return "draining" if stop.is_set() else certificate.unready() or cluster_cache.unready()


async def guard(tasks: list[asyncio.Task[Any]]) -> None:
    """Wait until one of the tasks ends: `stop`, the one that may end, or an error.

    Raises RuntimeError, or the task's own error, for any other one.
    """
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        error = task.exception()
        if error is not None:
            raise error
        if task.result() is not True:
            raise RuntimeError(f"the task {task.get_name()!r} ended, and must not")


async def listen(
    stack: contextlib.AsyncExitStack, application: web.Application, port: int, tls: ssl.SSLContext | None = None
) -> int:
    """Serve the application until the stack is closed; the port that it got."""
    runner = web.AppRunner(application, access_log=None, auto_decompress=False, shutdown_timeout=10.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    opened = _socket(port)
    await web.SockSite(runner, opened, ssl_context=tls).start()
    return int(opened.getsockname()[1])


def _socket(port: int) -> socket.socket:
    """A listening socket for IPv4 and IPv6 at once, where the machine has both."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=512)
    except OSError as error:
        raise errors.Unavailable(f"can't listen on port {port}: {error.strerror}") from error


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
