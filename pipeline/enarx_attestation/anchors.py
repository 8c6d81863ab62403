"""What is trusted before any evidence is looked at: the vendors' own certificates, byte for byte."""

from __future__ import annotations

from typing import Final

import msgspec

from . import amd_roots, intel_roots
from .errors import MalformedCollateral
from .x509 import Algorithm, Certificate, PublicKey, public_key, read_certificate, signed_by


class Authority(msgspec.Struct, frozen=True):
    """A pinned certificate with its key."""

    certificate: Certificate
    key: PublicKey


class AmdAnchor(msgspec.Struct, frozen=True, kw_only=True):
    """A product line's root (ARK) and intermediates; make it with `amd_anchor`."""

    line: str
    """Name in `amd_products.LINES`."""
    ark: Authority
    vcek_issuers: tuple[Authority, ...]
    """ASK: they sign the keys of chips."""
    vlek_issuers: tuple[Authority, ...]
    """ASVK: they sign the keys that are lent to cloud providers."""

    def pins(self, certificate: Certificate) -> bool:
        """Whether this is one of the pinned certificates, byte for byte."""
        pinned = (self.ark, *self.vcek_issuers, *self.vlek_issuers)
        return any(authority.certificate.raw == certificate.raw for authority in pinned)


class Anchors(msgspec.Struct, frozen=True, kw_only=True):
    """The roots that a verification may end in. A root that is not here is not trusted, whatever its name."""

    amd: tuple[AmdAnchor, ...] = ()
    intel: tuple[Authority, ...] = ()
    """Intel SGX roots; make them with `root_anchor`."""
    nitro_roots: frozenset[str] = frozenset()
    """SHA-256 (hexadecimal) of AWS Nitro Enclaves root certificates in DER."""
    cca_platform_keys: frozenset[str] = frozenset()
    """SHA-256 (hexadecimal) of the DER public keys of Arm CCA platforms."""


def amd_anchor(line: str, ark: bytes, *, vcek_issuers: tuple[bytes, ...], vlek_issuers: tuple[bytes, ...]) -> AmdAnchor:
    """An anchor of DER certificates: the root signs itself and each intermediate, else `MalformedCollateral`."""
    root = _authority(ark)
    anchor = AmdAnchor(
        line=line,
        ark=root,
        vcek_issuers=tuple(_authority(issuer) for issuer in vcek_issuers),
        vlek_issuers=tuple(_authority(issuer) for issuer in vlek_issuers),
    )
    for child in (root, *anchor.vcek_issuers, *anchor.vlek_issuers):
        certificate = child.certificate
        sound = certificate.issuer == root.certificate.subject and certificate.is_authority and certificate.may_sign()
        if not sound or not signed_by(certificate, root.key, "rsa-pss-sha384"):
            raise MalformedCollateral(f"the anchor {line!r} is not a chain of its root")
    return anchor


def root_anchor(data: bytes, algorithm: Algorithm) -> Authority:
    """An anchor of one DER certificate that signs itself, else `MalformedCollateral`."""
    root = _authority(data)
    certificate = root.certificate
    sound = certificate.issuer == certificate.subject and certificate.is_authority and certificate.may_sign()
    if not sound or not signed_by(certificate, root.key, algorithm):
        raise MalformedCollateral("the anchor is not a root")
    return root


def _authority(data: bytes) -> Authority:
    certificate = read_certificate(data)
    key = public_key(certificate)
    if key is None:
        raise MalformedCollateral("the key of an anchor is of an unsupported kind")
    return Authority(certificate, key)


VENDOR_ANCHORS: Final = Anchors(
    amd=(
        amd_anchor(
            "milan",
            amd_roots.ARK_MILAN,
            vcek_issuers=(amd_roots.ASK_MILAN,),
            vlek_issuers=(amd_roots.ASVK_MILAN,),
        ),
        # AMD revoked the first SEV-Genoa (serial 0x20001) in October 2022; it is not pinned.
        amd_anchor(
            "genoa",
            amd_roots.ARK_GENOA,
            vcek_issuers=(amd_roots.ASK_GENOA,),
            vlek_issuers=(amd_roots.ASVK_GENOA,),
        ),
        amd_anchor(
            "turin",
            amd_roots.ARK_TURIN,
            vcek_issuers=(amd_roots.ASK_TURIN,),
            vlek_issuers=(amd_roots.ASVK_TURIN,),
        ),
    ),
    intel=(root_anchor(intel_roots.SGX_ROOT, "ecdsa-sha256"),),
    nitro_roots=frozenset({"641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"}),
)
"""The vendors' production roots."""
