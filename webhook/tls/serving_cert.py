"""The TLS context of the server, whose certificate can be replaced while it serves."""

import contextlib
import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime


class ServingCertificate:
    """The certificate in use. Open connections keep the one that they began with."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.expires: datetime | None = None
        self.certificate = ""
        """The one in use, PEM; empty before the first."""

    def load(self, certificate: str, key: str, expires: datetime) -> bool:
        """Serve with this certificate (PEM) from now on; False if it is the one in use.

        ssl reads certificates from files only; these are in memory, so that no key is ever on a disk.
        """
        if certificate == self.certificate:
            return False
        with _file(certificate) as certificate_path, _file(key) as key_path:
            self.context.load_cert_chain(certificate_path, key_path)
        self.certificate, self.expires = certificate, expires
        return True

    def valid(self, now: datetime | None = None) -> bool:
        """Whether there is a certificate that clients would accept."""
        return self.expires is not None and (now or datetime.now(UTC)) < self.expires


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    descriptor = os.memfd_create("unigpu-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
