"""Keep the certificate current: in the Secret, in the configurations, and in this replica's TLS context."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from unigpu import errors, logs
from unigpu_kube import errors as kube_errors
from webhook.tls import api_objects, certificates
from webhook.tls.api_objects import Stored, TlsObjects
from webhook.tls.certificates import State, Terms
from webhook.tls.serving_cert import ServingCertificate

log = logging.getLogger(__name__)
ATTEMPTS = 8


class CertificateManager:
    """Manages one replica's certificate. Replicas share only the Secret, and replace only the version they read."""

    def __init__(
        self,
        api: TlsObjects,
        identity: ServingCertificate,
        terms: Terms,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api, self._identity, self._terms, self._clock = api, identity, terms, clock
        self._state: State | None = None
        self._wake = asyncio.Event()
        self._trusted: dict[str, datetime] = {}
        self._complete = False
        self.loaded = asyncio.Event()
        """Set once there is a certificate to serve with."""

    def unready(self) -> str | None:
        """Return why reviews can't be answered; None if they can."""
        if not self._identity.valid(self._clock()):
            return "no valid certificate yet"
        return None if self._complete else "the webhook configurations don't trust the certificate yet"

    def wake(self) -> None:
        """Check at once."""
        self._wake.set()

    async def run(self, seconds: float) -> None:
        """Check when woken, when the certificate ends, and at the latest after `seconds`; never returns."""
        longest = min(seconds, self._terms.lifetime.total_seconds() / 30)
        while True:
            self._wake.clear()
            try:
                await self.check()
            except (errors.Unavailable, kube_errors.Rejected) as error:
                logs.event(log, "certificate check failed", logging.WARNING, reason=error)
            try:
                async with asyncio.timeout(self._pause(longest)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _pause(self, longest: float) -> float:
        """Return the seconds until the next check: a certificate with a short life may end before the usual time."""
        expires = self._identity.expires
        left = (expires - self._clock()).total_seconds() if expires else 0.0
        return min(longest, left) if left > 0 else longest

    async def check(self) -> None:
        """Bring Secret, configurations and TLS context up to date.

        Raises Unavailable where the API server doesn't answer or other replicas always write first; Rejected.
        """
        for _ in range(ATTEMPTS):
            try:
                await self._attempt()
                return
            except kube_errors.Conflict as conflict:
                logs.event(log, "certificate changed by another replica", logging.DEBUG, reason=conflict)
        raise errors.Unavailable(f"other replicas wrote first {ATTEMPTS} times in a row")

    async def _attempt(self) -> None:
        stored = await self._api.secret()
        configurations = await self._api.configurations()
        bundles = [bundle for configuration in configurations for bundle in configuration.bundles]
        complete = len(configurations) == len(api_objects.KINDS)
        known = self._read(stored)
        every = [pem for bundle in bundles for pem in certificates.split(bundle)]
        trusted = (certificates.common(bundles) if complete else ()) if known else every
        state = certificates.step(known, self._terms, self._clock(), trusted=trusted)
        if stored is None or certificates.to_secret(state) != stored.data:
            await self._api.write_secret(certificates.to_secret(state), stored.version if stored else None)
            logs.event(log, "certificate written", expires=state.current.expires, next=bool(state.next))
        self._state = state
        for configuration in configurations:
            if any(bundle != state.bundle for bundle in configuration.bundles):
                await self._api.publish(configuration, state.bundle)
                logs.event(log, "trust published", configuration=configuration.kind)
        self._complete = complete
        self._serve(state, certificates.common(bundles) if complete else ())
        self.loaded.set()
        if not complete:
            kinds = [configuration.kind for configuration in configurations]
            logs.event(log, "webhook configurations are missing", logging.WARNING, found=kinds)

    def _serve(self, state: State, trusted: Sequence[str]) -> None:
        """Serve with the current certificate: at once if no other is valid, else once API servers have had time to
        notice that it is trusted."""
        now, current = self._clock(), state.current
        self._trusted = {authority: self._trusted.get(authority, now) for authority in trusted}
        noticed = now - self._trusted.get(current.authority, now) >= self._terms.settle
        if (noticed or not self._identity.valid(now)) and self._identity.load(
            current.certificate, current.key, current.expires
        ):
            logs.event(log, "certificate in force", expires=current.expires)

    def _read(self, stored: Stored | None) -> State | None:
        """Return the Secret's state; where it is missing or damaged, the last state that this replica knows."""
        if stored is None:
            return self._state
        try:
            return certificates.from_secret(stored.data)
        except errors.Malformed as error:
            if stored.data:
                logs.event(log, "the Secret is damaged and is rewritten", logging.WARNING, reason=error)
            return self._state
