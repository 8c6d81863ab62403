"""What endorses an Intel quote: certificates, revocation lists, TCB info and enclave identity, and what of it is sound.

Everything that does not depend on a quote or on the time is checked once, by `endorse`, so that a verifier which sees
many quotes under one collateral pays for it once.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from .anchors import Anchors, Authority
from .errors import MalformedCollateral
from .intel_tcb import EnclaveIdentity, TcbInfo, read_enclave_identity, read_tcb_info
from .model import Collateral
from .reading import read_json
from .revocation import authentic
from .x509 import (
    Certificate,
    PublicKey,
    RevocationList,
    crl_der,
    is_pem,
    public_key,
    read_crl,
    read_pem,
    signature_valid,
    signed_by,
)

MAX_SIZE: Final = 8 << 20
"""Most bytes of a collateral document."""
INTEL: Final = "Intel Corporation"
PCK_AUTHORITIES: Final = frozenset({"Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"})
TCB_SIGNER: Final = "Intel SGX TCB Signing"
PCK: Final = "Intel SGX PCK Certificate"
ROOT: Final = "Intel SGX Root CA"
_BLANK: Final = " \t\r\n\0"  # Intel's libraries count the NUL behind a text to it


class Document(msgspec.Struct, frozen=True):
    """The JSON form in which collateral travels: PEM chains, hexadecimal lists and signatures, and the signed text.

    A list may be missing, which leaves revocation unknown. Without its signature beside it, a statement is the whole
    answer of Intel's service, as Intel's libraries hand it on.
    """

    pck_crl_issuer_chain: str
    tcb_info_issuer_chain: str
    tcb_info: str
    qe_identity_issuer_chain: str
    qe_identity: str
    root_ca_crl: str | None = None
    pck_crl: str | None = None
    tcb_info_signature: str | None = None
    qe_identity_signature: str | None = None
    pck_certificate_chain: str | None = None


class _TcbInfoAnswer(msgspec.Struct, frozen=True):
    tcbInfo: msgspec.Raw  # noqa: N815 — Intel's name
    signature: str


class _IdentityAnswer(msgspec.Struct, frozen=True):
    enclaveIdentity: msgspec.Raw  # noqa: N815 — Intel's name
    signature: str


class IntelCollateral(Collateral, frozen=True, kw_only=True):
    """Collateral that was read; nothing about it is verified."""

    sha256: str
    """Of the document, to tell one collateral from another."""
    pck_crl_chain: tuple[Certificate, ...]
    root_crl: RevocationList | None
    pck_crl: RevocationList | None
    tcb_info_chain: tuple[Certificate, ...]
    tcb_info_signed: bytes
    tcb_info_signature: bytes
    tcb_info: TcbInfo
    qe_identity_chain: tuple[Certificate, ...]
    qe_identity_signed: bytes
    qe_identity_signature: bytes
    qe_identity: EnclaveIdentity
    pck_chain: tuple[Certificate, ...] = ()
    """The platform's certificate, where the quote does not carry it."""


class Span(msgspec.Struct, frozen=True):
    """From when to when something holds, bounds included; and the same in words, made once for many quotes."""

    first: datetime
    last: datetime
    shown: str

    def holds(self, at: datetime) -> bool:
        """Whether `at` is within."""
        return self.first <= at <= self.last


class VerifiedChains:
    """Chains of platforms that were verified under one set of endorsements: the latest, up to a number.

    What is kept of a chain follows from its bytes and from the endorsements, and from nothing else: neither the time
    nor revocation is in it. Only what passed is kept, so that bad evidence displaces nothing. Threads may share it.
    """

    def __init__(self, most: int = 128) -> None:
        self._most = most
        self._kept: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Any:
        """What was kept under `key`, or None."""
        return self._kept.get(key)

    def keep(self, key: Hashable, value: Any) -> None:
        """Keep `value`; the oldest makes room."""
        self._kept[key] = value
        while len(self._kept) > self._most:
            with contextlib.suppress(StopIteration, RuntimeError):  # another thread made the room
                self._kept.pop(next(iter(self._kept)), None)


class Endorsements(Collateral, frozen=True, kw_only=True):
    """Collateral together with what was found of it under certain anchors; made by `endorse` only."""

    collateral: IntelCollateral
    anchors: Anchors
    pinned: bool
    """Every chain holds a pinned root, and no other root is in it."""
    tcb_info_signed: bool
    tcb_info_span: Span
    qe_identity_signed: bool
    qe_identity_span: Span
    root: Authority | None
    pck_authority: Authority | None
    """The CA of the revocation list's chain, verified."""
    root_lists: tuple[RevocationList, ...]
    """Authentic revocation lists of the root."""
    pck_lists: tuple[RevocationList, ...]
    """Authentic revocation lists of `pck_authority`."""
    signers: tuple[Certificate, ...]
    """All verified certificates that are not roots; their validity is looked at when a quote is verified."""
    chains: VerifiedChains = msgspec.field(default_factory=VerifiedChains)
    """Of the platforms that were seen."""


def read_document(data: bytes) -> Document:
    """Read the JSON of a collateral document, and none of its parts. Raises `MalformedCollateral`."""
    if len(data) > MAX_SIZE:
        raise MalformedCollateral(f"collateral has at most {MAX_SIZE} bytes, not {len(data)}")
    return read_json(data, Document, lambda why: MalformedCollateral(f"not Intel collateral: {why}"))


def read_collateral(data: bytes) -> IntelCollateral:
    """Read a collateral document. Raises `MalformedCollateral`."""
    document = read_document(data)
    tcb_info, tcb_info_signature = _tcb_info_of(document)
    identity, identity_signature = _identity_of(document)
    return IntelCollateral(
        sha256=hashlib.sha256(data).hexdigest(),
        pck_crl_chain=_chain(document.pck_crl_issuer_chain),
        root_crl=_list(document.root_ca_crl),
        pck_crl=_list(document.pck_crl),
        tcb_info_chain=_chain(document.tcb_info_issuer_chain),
        tcb_info_signed=tcb_info,
        tcb_info_signature=tcb_info_signature,
        tcb_info=read_tcb_info(tcb_info),
        qe_identity_chain=_chain(document.qe_identity_issuer_chain),
        qe_identity_signed=identity,
        qe_identity_signature=identity_signature,
        qe_identity=read_enclave_identity(identity),
        pck_chain=_chain(document.pck_certificate_chain) if document.pck_certificate_chain else (),
    )


def compose(
    *,
    tcb_info: bytes,
    tcb_info_chain: str,
    qe_identity: bytes,
    qe_identity_chain: str,
    root_ca_crl: bytes,
    pck_crl: bytes,
    pck_crl_chain: str,
    pck_chain: str | None = None,
) -> bytes:
    """A collateral document of what Intel's service answers.

    `tcb_info` and `qe_identity` are bodies as they came, of which the signed text is kept byte for byte. Revocation
    lists are DER; chains are PEM, no longer URL-encoded. Raises `MalformedCollateral` if a body is not such an answer.
    """
    info, info_signature = read_tcb_info_answer(tcb_info)
    identity, identity_signature = read_identity_answer(qe_identity)
    document = Document(
        pck_crl_issuer_chain=pck_crl_chain,
        root_ca_crl=root_ca_crl.hex(),
        pck_crl=pck_crl.hex(),
        tcb_info_issuer_chain=tcb_info_chain,
        tcb_info=info.decode(),
        tcb_info_signature=info_signature.hex(),
        qe_identity_issuer_chain=qe_identity_chain,
        qe_identity=identity.decode(),
        qe_identity_signature=identity_signature.hex(),
        pck_certificate_chain=pck_chain,
    )
    return msgspec.json.encode(document)


def read_tcb_info_answer(body: bytes) -> tuple[bytes, bytes]:
    """The signed text and the signature in an answer with TCB info. Raises `MalformedCollateral`."""
    answer = read_json(body, _TcbInfoAnswer, _no_answer)
    return bytes(answer.tcbInfo), _signature(answer.signature)


def read_identity_answer(body: bytes) -> tuple[bytes, bytes]:
    """The signed text and the signature in an answer with an enclave identity. Raises `MalformedCollateral`."""
    answer = read_json(body, _IdentityAnswer, _no_answer)
    return bytes(answer.enclaveIdentity), _signature(answer.signature)


def answers_of(document: Document) -> tuple[bytes, bytes]:
    """The bodies with TCB info and with the enclave identity, as Intel's service would have answered them."""
    tcb_info, identity = document.tcb_info, document.qe_identity
    if document.tcb_info_signature is not None:
        tcb_info = f'{{"tcbInfo":{tcb_info},"signature":"{document.tcb_info_signature}"}}'
    if document.qe_identity_signature is not None:
        identity = f'{{"enclaveIdentity":{identity},"signature":"{document.qe_identity_signature}"}}'
    return tcb_info.encode(), identity.encode()


def _tcb_info_of(document: Document) -> tuple[bytes, bytes]:
    """The signed text and the signature."""
    text = document.tcb_info.encode()
    signature = document.tcb_info_signature
    return read_tcb_info_answer(text) if signature is None else (text, _signature(signature))


def _identity_of(document: Document) -> tuple[bytes, bytes]:
    text = document.qe_identity.encode()
    signature = document.qe_identity_signature
    return read_identity_answer(text) if signature is None else (text, _signature(signature))


def _list(text: str | None) -> RevocationList | None:
    return None if text is None else read_crl(list_der(text))


def _no_answer(why: str) -> MalformedCollateral:
    return MalformedCollateral(f"not an answer of Intel's service: {why}")


def endorse(collateral: IntelCollateral, anchors: Anchors) -> Endorsements:
    """Check all that depends on the collateral and the anchors alone: chains, and the signatures over statements."""
    tcb_root, tcb_signer = _signer(collateral.tcb_info_chain, anchors)
    qe_root, qe_signer = _signer(collateral.qe_identity_chain, anchors)
    pck_root, authority = pck_authority(collateral.pck_crl_chain, anchors)
    chains = (collateral.tcb_info_chain, collateral.qe_identity_chain, collateral.pck_crl_chain)
    return Endorsements(
        collateral=collateral,
        anchors=anchors,
        pinned=None not in (tcb_root, qe_root, pck_root) and all(ends_in_pinned(chain, anchors) for chain in chains),
        tcb_info_signed=_signed(tcb_signer, collateral.tcb_info_signature, collateral.tcb_info_signed),
        tcb_info_span=_span_of(collateral.tcb_info),
        qe_identity_signed=_signed(qe_signer, collateral.qe_identity_signature, collateral.qe_identity_signed),
        qe_identity_span=_span_of(collateral.qe_identity),
        root=tcb_root,
        pck_authority=authority,
        root_lists=_authentic(tcb_root, collateral.root_crl),
        pck_lists=_authentic(authority, collateral.pck_crl),
        signers=tuple(found.certificate for found in (tcb_signer, qe_signer, authority) if found is not None),
    )


def _authentic(issuer: Authority | None, found: RevocationList | None) -> tuple[RevocationList, ...]:
    return () if issuer is None or found is None else authentic(issuer, (found,), "ecdsa-sha256")


def ends_in_pinned(chain: tuple[Certificate, ...], anchors: Anchors) -> bool:
    """Whether the chain holds a root, and no other root than pinned ones, byte for byte."""
    pinned = {root.certificate.raw for root in anchors.intel}
    roots = [found.raw for found in chain if found.issuer == found.subject]
    return bool(roots) and pinned.issuperset(roots)


def statement_signed(chain: tuple[Certificate, ...], signature: bytes, message: bytes, anchors: Anchors) -> bool:
    """Whether Intel's TCB signing key of the chain, under a pinned root in it, signed these exact bytes."""
    _, signer = _signer(chain, anchors)
    return ends_in_pinned(chain, anchors) and _signed(signer, signature, message)


def pck_authority(chain: tuple[Certificate, ...], anchors: Anchors) -> tuple[Authority | None, Authority | None]:
    """The pinned root and the PCK CA of a chain in any order; None where there is none, or more than one."""
    return _issued(chain, PCK_AUTHORITIES, anchors, authority=True)


def is_intel(certificate: Certificate, common_names: frozenset[str]) -> bool:
    """Whether the subject is one of these names of Intel's."""
    return certificate.common_name in common_names and certificate.organisation == INTEL


def raw_signature(signature: bytes) -> bytes:
    """A signature of 64 bytes, r and s big-endian, in DER."""
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def _signer(chain: tuple[Certificate, ...], anchors: Anchors) -> tuple[Authority | None, Authority | None]:
    """The pinned root and Intel's TCB signing certificate of a chain; not just any certificate under the root."""
    return _issued(chain, frozenset({TCB_SIGNER}), anchors, authority=False)


def _issued(
    chain: tuple[Certificate, ...], common_names: frozenset[str], anchors: Anchors, *, authority: bool
) -> tuple[Authority | None, Authority | None]:
    found = [certificate for certificate in chain if is_intel(certificate, common_names)]
    if len(found) != 1:
        return None, None
    certificate = found[0]
    root = next((anchor for anchor in anchors.intel if anchor.certificate.subject == certificate.issuer), None)
    key: PublicKey | None = public_key(certificate)
    sound = certificate.is_authority == authority and not certificate.unknown_critical
    sound = sound and certificate.may_sign(5 if authority else 0)
    if root is None or key is None or not sound or not signed_by(certificate, root.key, "ecdsa-sha256"):
        return root, None
    return root, Authority(certificate, key)


def _signed(signer: Authority | None, signature: bytes, message: bytes) -> bool:
    return signer is not None and signature_valid(signer.key, "ecdsa-sha256", raw_signature(signature), message)


def common_span(certificates: Sequence[Certificate]) -> Span:
    """When all of these certificates are valid, of which there is at least one."""
    return _span(max(found.not_before for found in certificates), min(found.not_after for found in certificates))


def _span_of(statement: TcbInfo | EnclaveIdentity) -> Span:
    return _span(statement.issueDate, statement.nextUpdate)


def _span(first: datetime, last: datetime) -> Span:
    return Span(first, last, f"{first} to {last}")


def _chain(text: str) -> tuple[Certificate, ...]:
    return tuple(read_pem(text.encode()))


def list_der(text: str) -> bytes:
    """A revocation list as DER, of hexadecimal as Intel's service has it for the root's, or PEM, or base64.

    Raises `MalformedCollateral`.
    """
    data = text.strip(_BLANK).encode()
    if is_pem(data):
        return crl_der(data)
    try:
        return bytes.fromhex(data.decode())
    except ValueError:
        pass
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as exc:
        raise MalformedCollateral("a revocation list is neither hexadecimal nor PEM nor base64") from exc


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as exc:
        raise MalformedCollateral("a signature is not hexadecimal") from exc


def _signature(text: str) -> bytes:
    signature = _bytes(text)
    if len(signature) != 64:
        raise MalformedCollateral(f"a signature has 64 bytes, not {len(signature)}")
    return signature
