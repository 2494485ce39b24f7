"""A certificate that another program keeps current in a folder, as cert-manager does by way of a mounted Secret.

Source: https://cert-manager.io/docs/usage/certificate/.
"""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from unigpu import logs
from webhook.tls.serving_cert import ServingCertificate

log = logging.getLogger(__name__)


class FileSource:
    """Loads `tls.crt` and `tls.key` whenever they have changed. Their writer also writes caBundle."""

    def __init__(self, folder: str, identity: ServingCertificate) -> None:
        self._folder, self._identity = Path(folder), identity
        self.loaded = asyncio.Event()
        """Set once there is a certificate to serve with."""

    def unready(self) -> str | None:
        """Return why reviews can't be answered; None if they can."""
        return None if self._identity.valid() else f"no valid certificate in {self._folder} yet"

    async def run(self, seconds: float) -> None:
        """Check every `seconds`, and at least every 10 s; never returns."""
        while True:
            self.check()
            await asyncio.sleep(min(seconds, 10.0))

    def check(self) -> None:
        """Load the files. A pair that is incomplete or doesn't belong together waits for the next check."""
        try:
            certificate = (self._folder / "tls.crt").read_text()
            key = (self._folder / "tls.key").read_text()
            expires = x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
            loaded = self._identity.load(certificate, key, expires)
        except (OSError, ValueError) as error:
            logs.event(log, "certificate not loaded", logging.WARNING, folder=self._folder, reason=error)
            return
        if loaded:
            logs.event(log, "certificate in force", expires=expires, expired=expires <= datetime.now(UTC))
        self.loaded.set()
