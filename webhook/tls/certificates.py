"""The webhook's certificates, and when each of them is in force. Pure, except for random keys.

Each serving certificate has an authority of its own, created with it, whose key is discarded at once, so that it can
never sign anything else. Authority and certificate end at the same moment: while an authority is valid, its certificate
may be in use somewhere; afterwards it can't be.

A renewal takes three steps. Each is written to the Secret before the next begins:

    created     the next certificate is in the Secret; its authority joins the current one in the configurations
    published   every configuration has been seen to have it; API servers get some time to notice
    in force    the next is now the current one, and replicas load it; the old authority stays trusted until it expires
"""

import base64
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from unigpu import errors

_BACKDATED = timedelta(hours=1)
"""Allowance for API servers whose clock is behind."""
_END = "-----END CERTIFICATE-----\n"


@dataclass(frozen=True, slots=True)
class Generation:
    """A serving certificate with its key and its authority, all PEM."""

    authority: str
    certificate: str
    key: str
    expires: datetime
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """The contents of the Secret."""

    current: Generation
    next: Generation | None = None
    published: datetime | None = None
    """When every configuration was first seen to trust `next`."""
    retired: tuple[str, ...] = ()
    """Authorities of earlier certificates that haven't expired, PEM."""

    @property
    def bundle(self) -> str:
        """Every authority that must be trusted, newest first, PEM."""
        newest = [self.next.authority] if self.next else []
        return "".join(dict.fromkeys([*newest, self.current.authority, *self.retired]))


@dataclass(frozen=True, slots=True)
class Terms:
    """Subject and lifetime of certificates."""

    hosts: tuple[str, ...]
    """DNS names of the Service."""
    lifetime: timedelta

    @property
    def settle(self) -> timedelta:
        """Time that API servers get to notice a changed configuration."""
        return min(self.lifetime / 10, timedelta(seconds=60))


def hosts(service: str, namespace: str) -> tuple[str, ...]:
    """Names by which API servers and people reach the Service."""
    return (f"{service}.{namespace}.svc", f"{service}.{namespace}", f"{service}.{namespace}.svc.cluster.local")


def make(terms: Terms, now: datetime) -> Generation:
    """A new authority, and the one certificate that it signs."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    expires = now.replace(microsecond=0) + max(terms.lifetime, timedelta(seconds=1))
    begins = now - _BACKDATED
    title = f"unigpu webhook authority {now:%Y-%m-%d %H:%M:%S}"
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(issuer, issuer, begins, expires)
        .public_key(authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, terms.hosts[0][:64])])
    certificate = (
        _builder(subject, issuer, begins, expires)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in terms.hosts]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return Generation(
        authority=authority.public_bytes(serialization.Encoding.PEM).decode(),
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        expires=expires,
        hosts=terms.hosts,
    )


def step(state: State | None, terms: Terms, now: datetime, *, trusted: Iterable[str]) -> State:
    """What the Secret must hold now.

    `trusted` are the authorities that every configuration trusts at this moment. Without a state they are kept, for
    replicas that may still serve what an earlier Secret held.
    """
    trusted = tuple(trusted)
    if state is None:
        return State(make(terms, now), retired=valid(trusted, now))
    if state.next is not None and (state.next.expires <= now or state.next.hosts != terms.hosts):
        state = dataclasses.replace(state, next=None, published=None)
    if state.current.expires <= now or state.current.hosts != terms.hosts:
        fresh = state.next or make(terms, now)
        return State(fresh, retired=valid((state.current.authority, *state.retired), now))
    state = dataclasses.replace(state, retired=valid(state.retired, now))
    if state.next is None:
        left = state.current.expires - now
        due = not terms.lifetime / 3 < left <= terms.lifetime * 2
        return dataclasses.replace(state, next=make(terms, now)) if due else state
    if state.published is None:
        seen = state.next.authority in trusted
        return dataclasses.replace(state, published=now.replace(microsecond=0)) if seen else state
    if now < state.published + terms.settle:
        return state
    return State(state.next, retired=(state.current.authority, *state.retired))


def valid(authorities: Iterable[str], now: datetime) -> tuple[str, ...]:
    """Those that haven't expired, once each. What isn't a certificate is left out."""
    kept: dict[str, None] = {}
    for pem in authorities:
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode())
        except ValueError:
            continue
        if certificate.not_valid_after_utc > now:
            kept[pem] = None
    return tuple(kept)


def split(bundle: str) -> tuple[str, ...]:
    """The certificates of a bundle, PEM each."""
    return tuple(part.lstrip() + _END for part in bundle.split(_END) if "BEGIN CERTIFICATE" in part)


def to_secret(state: State) -> dict[str, str]:
    """The Secret's `data`, base64."""
    texts = {"ca.crt": state.current.authority, "tls.crt": state.current.certificate, "tls.key": state.current.key}
    if state.next is not None:
        texts |= {
            "next-ca.crt": state.next.authority,
            "next-tls.crt": state.next.certificate,
            "next-tls.key": state.next.key,
        }
    if state.published is not None:
        texts["published"] = state.published.isoformat()
    if state.retired:
        texts["retired-ca.crt"] = "".join(state.retired)
    return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def from_secret(data: Mapping[str, str]) -> State:
    """The reverse of `to_secret`.

    Raises Malformed for a Secret that somebody else has written.
    """
    try:
        texts = {name: base64.b64decode(text).decode() for name, text in data.items()}
        published = texts.get("published")
        return State(
            current=_generation(texts, ""),
            next=_generation(texts, "next-") if "next-tls.crt" in texts else None,
            published=datetime.fromisoformat(published).astimezone(UTC) if published else None,
            retired=split(texts.get("retired-ca.crt", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, x509.ExtensionNotFound) as error:
        raise errors.Malformed(f"the Secret doesn't hold the webhook's certificates: {error!r}") from error


def _generation(texts: Mapping[str, str], prefix: str) -> Generation:
    certificate = x509.load_pem_x509_certificate(texts[f"{prefix}tls.crt"].encode())
    authority = x509.load_pem_x509_certificate(texts[f"{prefix}ca.crt"].encode())
    key = serialization.load_pem_private_key(texts[f"{prefix}tls.key"].encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("key and certificate don't belong together")
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception as error:
        raise ValueError("the certificate is not the authority's") from error
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return Generation(
        authority=texts[f"{prefix}ca.crt"],
        certificate=texts[f"{prefix}tls.crt"],
        key=texts[f"{prefix}tls.key"],
        expires=certificate.not_valid_after_utc,
        hosts=tuple(names.get_values_for_type(x509.DNSName)),
    )


def _builder(subject: x509.Name, issuer: x509.Name, begins: datetime, expires: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(expires)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def common(bundles: Sequence[str]) -> tuple[str, ...]:
    """Authorities that are in every one of the bundles."""
    if not bundles:
        return ()
    first, *others = (split(bundle) for bundle in bundles)
    return tuple(pem for pem in first if all(pem in other for other in others))
