"""The wiring: viewers, the page, and the listeners, from the start of the process to a signal."""

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from page.metrics import Metrics
from page.routes import Routes
from page.settings import Settings
from page.viewers import Viewers
from unigpu import errors, logs
from unigpu_kube import client
from unigpu_service import http, runtime
from unigpu_service.runtime import Supervisor

logger = logging.getLogger(__name__)
_DEADLINE = 30.0
"""Seconds for a short request of a viewer."""


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports that are open."""

    page: int
    metrics: int


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises Malformed, in a group, where the settings can't work."""
    async with runtime.supervise() as supervisor, serve(settings, supervisor):
        await supervisor.stopped()
    logs.event(logger, "ended")


@contextlib.asynccontextmanager
async def serve(settings: Settings, supervisor: Supervisor) -> AsyncIterator[Ports]:
    """Run the whole service while the block lasts."""
    authority = settings.ca_file if settings.address.startswith("https") else ""

    def connect(token: str) -> contextlib.AbstractAsyncContextManager[client.Client]:
        return client.as_bearer(settings.address, token, authority, user_agent="unigpu-page", deadline=_DEADLINE)

    known = Viewers(connect, settings.viewers)
    metrics = Metrics(known.__len__)
    routes = Routes(settings, known, metrics)
    tls = _tls(Path(settings.tls_folder)) if settings.tls_folder else None
    try:
        async with (
            http.listen(routes.application(), settings.port, host=settings.host, tls=tls) as port,
            http.listen(http.health(lambda: None, metrics.text), settings.metrics_port) as metrics_port,
        ):
            logs.event(logger, "serving", port=port, metrics_port=metrics_port, tls=tls is not None)
            supervisor.start("viewers", known.run())
            yield Ports(port, metrics_port)
            logs.event(logger, "stopping")
    finally:
        await known.forget(everyone=True)


def _tls(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    except (OSError, ssl.SSLError) as error:
        raise errors.Malformed(
            f"--tls-folder = {folder}: its tls.crt and tls.key can't be used: {error}; accepted: a certificate and "
            "its key, as in a Secret of type kubernetes.io/tls"
        ) from error
    return context
