"""Create the cluster's certificates: one authority, and one certificate for each part that needs one.

They are created once per cluster and are valid for ten years; `down` removes them with everything else.
"""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster import units

LIFETIME = datetime.timedelta(days=3650)
ALLOWANCE = datetime.timedelta(hours=1)
"""Tolerated lag of another machine's clock."""


def make_all(
    folder: pathlib.Path, api_names: Iterable[str], api_addresses: Iterable[str], nodes: dict[str, str]
) -> None:
    """Create the missing certificates in the folder; `nodes` maps the name of each node to its address."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "service-accounts.key").exists():
        _write_key(folder / "service-accounts.key", ec.generate_private_key(ec.SECP256R1()))
    if not (folder / "ca.crt").exists():
        _make_authority(folder)
    _issue(folder, "apiserver", "kube-apiserver", names=api_names, addresses=api_addresses)
    _issue(folder, "etcd", "etcd", names=("localhost",), addresses=("127.0.0.1",))
    _issue(folder, "admin", "local-admin", group="system:masters")
    _issue(folder, "apiserver-kubelet", "kube-apiserver", group="system:masters")
    _issue(folder, "controller-manager", "system:kube-controller-manager")
    _issue(folder, "scheduler", "system:kube-scheduler")
    _issue(folder, "proxy", "system:kube-proxy")
    for node, address in nodes.items():
        _issue(
            folder,
            f"kubelet-{node}",
            f"system:node:{node}",
            group="system:nodes",
            names=(node,),
            addresses=(address,),
        )


def _make_authority(folder: pathlib.Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local cluster")])
    certificate = (
        _begin(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / "ca.key", key)
    _write(folder / "ca.crt", certificate)


def _issue(
    folder: pathlib.Path,
    file: str,
    name: str,
    *,
    group: str = "",
    names: Iterable[str] = (),
    addresses: Iterable[str] = (),
) -> None:
    """Create FILE.crt and FILE.key, valid for servers and clients, unless they exist."""
    if (folder / f"{file}.crt").exists():
        return
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _begin(subject, authority.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
    )
    alternatives: list[x509.GeneralName] = [x509.DNSName(entry) for entry in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(entry)) for entry in addresses]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    _write_key(folder / f"{file}.key", key)
    _write(folder / f"{file}.crt", builder.sign(signer, hashes.SHA256()))


def _begin(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - ALLOWANCE)
        .not_valid_after(now + LIFETIME)
    )


def _write_key(file: pathlib.Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
    units.write_whole(file, text, mode=0o600)


def _write(file: pathlib.Path, certificate: x509.Certificate) -> None:
    units.write_whole(file, certificate.public_bytes(serialization.Encoding.PEM).decode())
