"""Vendors in miniature: authorities of our own that issue what AMD and Intel issue, flawed where a test wants it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from enarx_attestation.anchors import Anchors, amd_anchor, root_anchor

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PSS = padding.PSS(padding.MGF1(SHA384()), 48)
PlainExtension = tuple[str, bytes]


def name(common_name: str, organisation: str) -> x509.Name:
    attributes = [(NameOID.COMMON_NAME, common_name), (NameOID.ORGANIZATION_NAME, organisation)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def integer(value: int) -> bytes:
    """A DER INTEGER of up to two bytes."""
    content = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(content)]) + content


def sequence(*parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    head = bytes([size]) if size < 128 else b"\x81" + bytes([size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
    return b"\x30" + head + content


class Party:
    """A key with a name and a certificate."""

    def __init__(self, key: Any, subject: x509.Name, certificate: x509.Certificate) -> None:
        self.key, self.subject, self.certificate = key, subject, certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


def issue(
    subject: x509.Name,
    key: Any,
    issuer: Party | None,
    *,
    authority: bool,
    plain: Sequence[PlainExtension] = (),
    days: tuple[int, int] = (-30, 3650),
    digest: Any = None,
    pss: Any = PSS,
    critical: bool = False,
) -> Party:
    """A certificate; `issuer` None makes it sign itself. `days` are from NOW."""
    signer_key = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = {"key_cert_sign": True, "crl_sign": True}
        flags = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        others = dict.fromkeys((*flags, "encipher_only", "decipher_only"), False)
        builder = builder.add_extension(x509.KeyUsage(**usage, **others), critical=True)
    for oid, value in plain:
        builder = builder.add_extension(x509.UnrecognizedExtension(ObjectIdentifier(oid), value), critical=critical)
    rsa_signer = isinstance(signer_key, rsa.RSAPrivateKey)
    hashed = digest or (SHA384() if rsa_signer else SHA256())
    certificate = builder.sign(signer_key, hashed, rsa_padding=pss if rsa_signer else None)
    return Party(key, subject, certificate)


def revocation_list(
    issuer: Party,
    serials: Sequence[int] = (),
    days: tuple[int, int] = (-1, 30),
    critical: x509.ExtensionType | None = None,
) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(NOW + timedelta(days=days[0]))
        .next_update(NOW + timedelta(days=days[1]))
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()
        builder = builder.add_revoked_certificate(revoked)
    if critical is not None:
        builder = builder.add_extension(critical, critical=True)
    if isinstance(issuer.key, rsa.RSAPrivateKey):
        return builder.sign(issuer.key, SHA384(), rsa_padding=PSS).public_bytes(Encoding.DER)
    return builder.sign(issuer.key, SHA256()).public_bytes(Encoding.DER)


@cache
def rsa_key(_label: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


AMD = "Advanced Micro Devices"
AMD_ARC = "1.3.6.1.4.1.3704.1."
TCB = {"bl": 4, "tee": 0, "snp": 24, "ucode": 219}
SPL = {"bl": "3.1", "tee": "3.2", "snp": "3.3", "ucode": "3.8", "fmc": "3.9", "spl4": "3.4"}
CHIP = bytes(range(64))


class Amd:
    """AMD in miniature: one line with its root, intermediates, and keys for chips and providers."""

    def __init__(self, line: str = "milan") -> None:
        self.line = line
        product = line.capitalize()
        self.ark = issue(name(f"ARK-{product}", AMD), rsa_key(line + "ark"), None, authority=True)
        self.ask = issue(name(f"SEV-{product}", AMD), rsa_key(line + "ask"), self.ark, authority=True)
        self.asvk = issue(name(f"SEV-VLEK-{product}", AMD), rsa_key(line + "asvk"), self.ark, authority=True)
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.anchor = amd_anchor(line, self.ark.der, vcek_issuers=(self.ask.der,), vlek_issuers=(self.asvk.der,))
        self.anchors = Anchors(amd=(self.anchor,))

    def extensions(
        self, tcb: dict[str, int] | None = None, hwid: bytes | None = CHIP, product: str = "Milan-B0", csp: str = ""
    ) -> list[PlainExtension]:
        plain = [(AMD_ARC + "1", integer(0)), (AMD_ARC + "2", b"\x16" + bytes([len(product)]) + product.encode())]
        plain += [(AMD_ARC + SPL[part], integer(value)) for part, value in (tcb or TCB).items()]
        if hwid is not None:
            plain.append((AMD_ARC + "4", hwid))
        if csp:
            plain.append((AMD_ARC + "5", b"\x16" + bytes([len(csp)]) + csp.encode()))
        return plain

    def vek(
        self, plain: list[PlainExtension], *, role: str = "VCEK", issuer: Party | None = None, **options: Any
    ) -> Party:
        issuer = issuer or (self.ask if role == "VCEK" else self.asvk)
        return issue(
            name(f"SEV-{role}", AMD), options.pop("key", self.key), issuer, authority=False, plain=plain, **options
        )

    def crl(self, *serials: int, issuer: Party | None = None, days: tuple[int, int] = (-1, 30)) -> bytes:
        """A revocation list, of the root's if nothing else is said."""
        return revocation_list(issuer or self.ark, serials, days)

    def crl_with(self, critical: x509.ExtensionType) -> bytes:
        """A revocation list of the root's with one more extension, which must be understood."""
        return revocation_list(self.ark, critical=critical)

    def report(self, fields: dict[int, bytes] | None = None, *, version: int = 3, key: Any = None) -> bytes:
        """A signed report; `fields` are laid over it by offset before it is signed."""
        report = bytearray(0x4A0)
        tcb = bytes([4, 0, 0, 0, 0, 0, 24, 219])
        firmware = bytes([29, 55, 1, 0])
        defaults = {
            0x00: struct.pack("<IIQ", version, 0, 0x3001F),
            0x34: struct.pack("<I", 1),
            0x38: tcb,
            0x180: tcb,
            0x188: bytes([0x19, 0x01, 0x01]) if version >= 3 else b"",
            0x1A0: CHIP,
            0x1E0: tcb,
            0x1E8: firmware + firmware,
            0x1F0: tcb,
        }
        for offset, value in {**defaults, **(fields or {})}.items():
            report[offset : offset + len(value)] = value
        r, s = decode_dss_signature((key or self.key).sign(bytes(report[:0x2A0]), ec.ECDSA(SHA384())))
        report[0x2A0:0x330] = r.to_bytes(72, "little") + s.to_bytes(72, "little")
        return bytes(report)


INTEL = "Intel Corporation"
INTEL_ARC = "1.2.840.113741.1.13.1"
FMSPC = bytes.fromhex("90c06f000000")
COMPONENTS = [3, 3, 2, 2, 4, 1, 0, 5] + [0] * 8
VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytes([first * 40 + second])
    for arc in rest:
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        content += bytes(reversed(digits))
    return b"\x06" + bytes([len(content)]) + content


def octets(value: bytes) -> bytes:
    return b"\x04" + bytes([len(value)]) + value


class Intel:
    """Intel in miniature: a root, PCK CAs, TCB signing, platforms, quoting enclaves, and collateral about them."""

    def __init__(self) -> None:
        self.root = issue(name("Intel SGX Root CA", INTEL), self.curve(), None, authority=True)
        self.ca = issue(name("Intel SGX PCK Platform CA", INTEL), self.curve(), self.root, authority=True)
        self.processor = issue(name("Intel SGX PCK Processor CA", INTEL), self.curve(), self.root, authority=True)
        self.signer = self.signer_until(days=3650)
        self.pck = self.platform()
        self.key = self.curve()
        self.anchors = Anchors(intel=(root_anchor(self.root.der, "ecdsa-sha256"),))

    @staticmethod
    def curve() -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    def signer_until(self, days: int) -> Party:
        """A certificate for TCB signing, which ends `days` after NOW."""
        subject = name("Intel SGX TCB Signing", INTEL)
        return issue(subject, self.curve(), self.root, authority=False, plain=[PLAIN], days=(-30, days))

    def platform(
        self, components: Sequence[int] = COMPONENTS, pce_svn: int = 13, issuer: Party | None = None, **options: Any
    ) -> Party:
        """A platform's certificate."""
        arcs = [(f"{INTEL_ARC}.2.{index}", integer(value)) for index, value in enumerate(components, 1)]
        arcs += [(f"{INTEL_ARC}.2.17", integer(pce_svn)), (f"{INTEL_ARC}.2.18", octets(bytes(components)))]
        tcb = sequence(*(sequence(oid(arc), value) for arc, value in arcs))
        fields = {"1": octets(b"p" * 16), "2": tcb, "3": octets(bytes(2)), "4": octets(FMSPC), "5": b"\x0a\x01\x01"}
        fields |= options.pop("fields", {})
        value = sequence(*(sequence(oid(f"{INTEL_ARC}.{arc}"), field) for arc, field in fields.items()))
        subject = name(options.pop("subject", "Intel SGX PCK Certificate"), INTEL)
        plain = [(INTEL_ARC, value)]
        return issue(subject, self.curve(), issuer or self.ca, authority=False, plain=plain, **options)

    def whole_platform(self, components: Sequence[int] = COMPONENTS) -> Party:
        """The certificate of a platform of several packages, which says all that one can."""
        flags = {1: b"\xff", 2: b"\0", 3: b"\xff"}
        configuration = sequence(
            *(sequence(oid(f"{INTEL_ARC}.7.{arc}"), b"\1\1" + flag) for arc, flag in flags.items())
        )
        fields = {"5": b"\x0a\x01\x01", "6": octets(b"i" * 16), "7": configuration}
        return self.platform(components, fields=fields)

    def sign(self, key: Any, message: bytes) -> bytes:
        signature: bytes = key.sign(message, ec.ECDSA(SHA256()))
        r, s = decode_dss_signature(signature)
        return b"".join(part.to_bytes(32, "big") for part in (r, s))

    def crl(self, issuer: Party, *revoked: Party, days: tuple[int, int] = (-1, 30)) -> str:
        """A revocation list, in the hexadecimal of collateral documents."""
        return revocation_list(issuer, [found.certificate.serial_number for found in revoked], days).hex()

    def domain(self, **options: Any) -> bytes:
        return domain(**options)

    def enclave(self, **options: Any) -> bytes:
        return enclave(**options)

    def tcb_info(self, kind: str = "TDX", **changes: Any) -> dict[str, Any]:
        module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        info: dict[str, Any] = {
            "id": kind,
            "version": 3,
            "issueDate": "2026-05-20T00:00:00Z",
            "nextUpdate": "2026-06-20T00:00:00Z",
            "fmspc": FMSPC.hex().upper(),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": 18,
            "tcbLevels": [
                level(COMPONENTS, [5, 0, 3], "UpToDate", kind=kind),
                level([2, 2, 2, 2, 3, 1, 0, 5], [5, 0, 2], "OutOfDate", kind=kind, advisories=["INTEL-SA-01036"]),
            ],
        }
        if kind == "TDX":
            modules = [(3, "UpToDate", 6), (3, "OutOfDate", 4)]
            levels = [
                {"tcb": {"isvsvn": svn}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": status}
                for _, status, svn in modules
            ]
            info["tdxModule"] = module
            info["tdxModuleIdentities"] = [{"id": "TDX_01", **module, "tcbLevels": levels}]
        return {**info, **changes}

    def identity(self, kind: str = "TDX", **changes: Any) -> dict[str, Any]:
        info = {
            "id": "TD_QE" if kind == "TDX" else "QE",
            "version": 2,
            "issueDate": "2026-05-21T00:00:00Z",
            "nextUpdate": "2026-06-21T00:00:00Z",
            "tcbEvaluationDataNumber": 18,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11" + "00" * 15,
            "attributesMask": "FB" + "FF" * 7 + "00" * 8,
            "mrsigner": "DC" * 32,
            "isvprodid": 2,
            "tcbLevels": [
                {"tcb": {"isvsvn": 8}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"},
                {"tcb": {"isvsvn": 6}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "OutOfDate"},
                {"tcb": {"isvsvn": 2}, "tcbDate": "2020-01-01T00:00:00Z", "tcbStatus": "Revoked"},
            ],
        }
        return {**info, **changes}

    def collateral(self, kind: str = "TDX", **changes: Any) -> bytes:
        """The document; `tcb_info` and `qe_identity` among `changes` are signed, the others laid over it."""
        info = json.dumps(changes.pop("tcb_info", None) or self.tcb_info(kind))
        identity = json.dumps(changes.pop("qe_identity", None) or self.identity(kind))
        signer = changes.pop("signer", self.signer)
        document = {
            "pck_crl_issuer_chain": self.ca.pem + self.root.pem,
            "root_ca_crl": revocation_list(self.root).hex(),
            "pck_crl": revocation_list(self.ca).hex(),
            "tcb_info_issuer_chain": signer.pem + self.root.pem,
            "tcb_info": info,
            "tcb_info_signature": self.sign(signer.key, info.encode()).hex(),
            "qe_identity_issuer_chain": signer.pem + self.root.pem,
            "qe_identity": identity,
            "qe_identity_signature": self.sign(signer.key, identity.encode()).hex(),
        }
        return json.dumps({**document, **changes}).encode()

    def quote(self, kind: str = "TDX", **options: Any) -> bytes:
        """A signed quote; see the options."""
        version = options.get("version", 5 if kind == "TDX" else 3)
        body: bytes = options.get("body") or (domain() if kind == "TDX" else enclave())
        pck: Party = options.get("pck", self.pck)
        auth: bytes = options.get("auth", b"a" * 32)
        header = struct.pack("<HHI", version, 2, 0x81 if kind == "TDX" else 0) + bytes(4) + VENDOR + bytes(20)
        if version == 5:
            body = struct.pack("<HI", {384: 1, 584: 2, 648: 3, 885: 4}[len(body)], len(body)) + body
        elif version == 4 and kind == "TDX":
            body = body[:584]
        signed = header + body
        numbers = self.key.public_key().public_numbers()
        key = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        binding = hashlib.sha256(key + auth).digest().ljust(64, b"\0")
        qe = enclave(
            mrsigner=options.get("qe_signer", b"\xdc" * 32),
            isv_prod_id=2,
            isv_svn=options.get("qe_svn", 8),
            attributes=options.get("qe_attributes", b"\x11".ljust(16, b"\0")),
            report_data=options.get("binding", binding),
        )
        text: str = options.get("chain", pck.pem + self.ca.pem + self.root.pem)
        chain = text.encode() + b"\0"
        inner = qe + self.sign(pck.key, qe) + struct.pack("<H", len(auth)) + auth
        inner += struct.pack("<HI", options.get("certification_type", 5), len(chain)) + chain
        if version > 3:
            inner = struct.pack("<HI", 6, len(inner)) + inner
        data = self.sign(self.key, signed) + key + inner
        return signed + struct.pack("<I", len(data)) + data + bytes(options.get("trailing", 0))


PLAIN: PlainExtension = ("1.2.3.4", b"\x05\x00")


def level(
    components: Sequence[int],
    tdx: Sequence[int],
    status: str,
    *,
    kind: str,
    advisories: Sequence[str] = (),
    pce: int = 13,
) -> dict[str, Any]:
    def padded(values: Sequence[int]) -> list[dict[str, int]]:
        return [{"svn": value} for value in [*values, *[0] * 16][:16]]

    tcb: dict[str, Any] = {"sgxtcbcomponents": padded(components), "pcesvn": pce}
    if kind == "TDX":
        tcb["tdxtcbcomponents"] = padded(tdx)
    return {"tcb": tcb, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": status, "advisoryIDs": list(advisories)}


def enclave(
    *,
    mrsigner: bytes = b"\x02" * 32,
    isv_prod_id: int = 0,
    isv_svn: int = 0,
    attributes: bytes = b"\x05".ljust(16, b"\0"),
    report_data: bytes = bytes(64),
) -> bytes:
    report = bytearray(384)
    report[48:64] = attributes
    report[64:96] = b"\x01" * 32
    report[128:160] = mrsigner
    report[256:260] = struct.pack("<HH", isv_prod_id, isv_svn)
    report[320:384] = report_data
    return bytes(report)


def domain(
    svn: bytes = bytes([6, 1, 3]),
    svn2: bytes | None = None,
    attributes: int = 1 << 28,
    xfam: int = 0x3,
    size: int = 648,
    signer: bytes = bytes(48),
    seam_attributes: bytes = b"",
    service: bytes = bytes(48),
    rtmr: Sequence[bytes] = (bytes(48),) * 4,
) -> bytes:
    report = bytearray(885)
    report[:16] = svn.ljust(16, b"\0")
    report[64:112] = signer
    report[112:120] = seam_attributes.ljust(8, b"\0")
    report[120:128] = attributes.to_bytes(8, "little")
    report[128:136] = xfam.to_bytes(8, "little")
    report[328:520] = b"".join(rtmr)
    report[584:600] = (svn if svn2 is None else svn2).ljust(16, b"\0")
    report[829:877] = service
    return bytes(report[:size])


@pytest.fixture(scope="session")
def amd() -> Amd:
    return Amd()


@pytest.fixture(scope="session")
def genoa() -> Amd:
    return Amd("genoa")


@pytest.fixture(scope="session")
def turin() -> Amd:
    return Amd("turin")


@pytest.fixture(scope="session")
def intel() -> Intel:
    return Intel()
