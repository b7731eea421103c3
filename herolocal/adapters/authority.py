"""Our own local certificate authority, good for localhost and 127.0.0.1 only, and for one year at most."""

import datetime
import ipaddress
import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from herolocal.model.limits import CERTIFICATE_DAYS, CERTIFICATE_RENEWAL_DAYS

_NAMES = ("localhost", "*.localhost")
_ADDRESSES = ("127.0.0.1", "::1")


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Authority:
    """Issues what router, API and add-ons show to their clients. Files are made at the first use, below `home`/tls.

    A certificate that ends within a month is replaced at the next use; so is the authority itself, and then the
    new one has to be trusted again.
    """

    def __init__(self, home: Path, now: Callable[[], datetime.datetime] = _utc_now) -> None:
        self._directory = home / "tls"
        self._now = now
        self._making = threading.RLock()  # several add-ons may be the first to ask, from threads

    @property
    def ca_path(self) -> Path:
        """The authority's certificate, PEM, for those who want to trust it."""
        self._authority()
        return self._directory / "ca.pem"

    def certificate(self) -> tuple[Path, Path]:
        """The server certificate with its chain, and its key, both PEM; valid for localhost, *.localhost, 127.0.0.1."""
        ca, ca_key = self._authority()
        chain, key = self._directory / "server.pem", self._directory / "server.key"
        with self._making:
            if not self._is_good(chain, key, issuer=ca):
                self._issue_server(ca, ca_key)
        return chain, key

    def server_context(self, *protocols: str) -> ssl.SSLContext:
        """A context for servers of ours: TLS 1.2 and later, `protocols` by ALPN when named."""
        chain, key = self.certificate()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(chain, key)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def client_context(self, *protocols: str) -> ssl.SSLContext:
        """A context that trusts this authority alone."""
        context = ssl.create_default_context(cafile=str(self.ca_path))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    # the authority itself -------------------------------------------------------------------------------------------

    def _authority(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        path, key_path = self._directory / "ca.pem", self._directory / "ca.key"
        with self._making:
            if not self._is_good(path, key_path):
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                key = ec.generate_private_key(ec.SECP256R1())
                write_private(key_path, _pem(key))
                write_private(path, self._make_authority(key).public_bytes(serialization.Encoding.PEM), mode=0o644)
        return x509.load_pem_x509_certificate(path.read_bytes()), _load_key(key_path)

    def _make_authority(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        """Name constraints: whoever steals this key can pretend to be localhost, and nobody else."""
        name = _name("herolocal on this machine")
        permitted: list[x509.GeneralName] = [x509.DNSName("localhost")]
        permitted += [x509.IPAddress(ipaddress.ip_network(address)) for address in _ADDRESSES]
        builder = self._builder(name, name, key.public_key(), key.public_key())
        return (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.NameConstraints(permitted, None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )

    def _issue_server(self, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in _NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
        certificate = (
            self._builder(_name("localhost"), ca.subject, key.public_key(), ca_key.public_key(), ca.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        write_private(self._directory / "server.key", _pem(key))
        write_private(self._directory / "server.pem", certificate.public_bytes(pem) + ca.public_bytes(pem), mode=0o644)

    def _builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePublicKey,
        issuer_key: ec.EllipticCurvePublicKey,
        end: datetime.datetime | None = None,
    ) -> x509.CertificateBuilder:
        now = self._now()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(end or now + datetime.timedelta(days=CERTIFICATE_DAYS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        )

    def _is_good(self, path: Path, key_path: Path, issuer: x509.Certificate | None = None) -> bool:
        """Whether certificate and key are there, belong together, and are not about to end."""
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            key = _load_key(key_path)
            if issuer is not None:
                certificate.verify_directly_issued_by(issuer)
        except Exception:  # noqa: BLE001 - whatever is wrong with these files, the answer is to make new ones
            return False
        left = certificate.not_valid_after_utc - self._now()
        renewal = datetime.timedelta(days=CERTIFICATE_RENEWAL_DAYS)
        return certificate.public_key() == key.public_key() and left > renewal


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic curve key")
    return key


def write_private(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file at once; nobody else can read it unless `mode` says so."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    new.replace(path)
