"""The cluster's own certificate authority, and certificates for servers and clients. Keys are made in memory.

The only door to `cryptography` (which fabric brings). Certificates bear no common name: etcd would take it for a user.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

AUTHORITY_DAYS, CERTIFICATE_DAYS = 3650, 1825
RENEW_DAYS = 60


def make_authority(cluster: str) -> tuple[str, str]:
    """(certificate, private key) as PEM texts."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    key = _new_key()
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"pgha {cluster} authority")])
    builder = _builder(name, name, key, AUTHORITY_DAYS).add_extension(x509.BasicConstraints(True, 0), critical=True)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return _signed(builder.add_extension(usage, critical=True), key), _key_text(key)


def issue(authority: tuple[str, str], hosts: Sequence[str]) -> tuple[str, str]:
    """(certificate, private key) signed by the authority. hosts: for a server, whom it may answer as; none: a client.

    `dns:ADDRESS` puts an address among the names as well: libpq looks for addresses only there before version 15.
    A member's serves as a client's too: members speak to each other, and etcd's gateway to itself.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    signer = load_pem_private_key(authority[1].encode(), None)
    issuer = x509.load_pem_x509_certificate(authority[0].encode()).subject
    key = _new_key()
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "pgha")])
    kinds = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])
    builder = _builder(name, issuer, key, CERTIFICATE_DAYS).add_extension(x509.ExtendedKeyUsage(kinds), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(h) for h in hosts]), critical=False)
    return _signed(builder, signer), _key_text(key)


def is_good(authority: str, certificate: str | None, hosts: Sequence[str]) -> bool:
    """Signed by this authority, for these hosts, and not about to expire."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    if certificate is None:
        return False
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
        names = list(found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) if hosts else []
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left.days > RENEW_DAYS and all(_general(host) in names for host in hosts)


def days_left(certificate: str) -> int:
    """Whole days until it expires, negative when it has. Raises ValueError for what is no certificate."""
    from cryptography import x509

    found = x509.load_pem_x509_certificate(certificate.encode())
    return (found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days


def _general(host: str) -> x509.GeneralName:
    from cryptography import x509

    if host.startswith("dns:"):
        return x509.DNSName(host.removeprefix("dns:"))
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _new_key() -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _builder(name: x509.Name, issuer: x509.Name, key: object, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    begin = now - datetime.timedelta(hours=1)  # hosts' clocks may be behind ours
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(issuer).serial_number(x509.random_serial_number())
    )
    public = key.public_key()  # type: ignore[attr-defined]  # every private key has one
    return builder.public_key(public).not_valid_before(begin).not_valid_after(now + datetime.timedelta(days=days))


def _signed(builder: x509.CertificateBuilder, key: object) -> str:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    done = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]  # ours is an elliptic curve's
    return done.public_bytes(Encoding.PEM).decode("ascii")


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
