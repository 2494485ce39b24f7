"""The cluster's certificates."""

from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from cluster import certificates


def test_each_part_has_a_certificate_of_the_same_authority_and_a_second_call_keeps_them(tmp_path: Path) -> None:
    arguments = (("kubernetes",), ("10.201.0.1",), {"n-1": "10.201.0.2"})
    certificates.make_all(tmp_path, *arguments)
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    kubelet = x509.load_pem_x509_certificate((tmp_path / "kubelet-n-1.crt").read_bytes())
    kubelet.verify_directly_issued_by(authority)
    assert [entry.value for entry in kubelet.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["system:node:n-1"]
    names = kubelet.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(entry) for entry in names.get_values_for_type(x509.IPAddress)] == ["10.201.0.2"]
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0

    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    certificates.make_all(tmp_path, *arguments)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
