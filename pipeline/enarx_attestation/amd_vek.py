"""AMD's endorsement keys: what a VCEK or VLEK certificate says about a chip (57230, VCEK and KDS, section 3.1)."""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from . import der
from .amd_products import Tcb
from .der import DerError
from .x509 import Certificate, Extension, public_key

_ARC = "1.3.6.1.4.1.3704.1."
_PRODUCT: Final = der.oid(_ARC + "2")
_HWID: Final = der.oid(_ARC + "4")
_CSP_ID: Final = der.oid(_ARC + "5")
_STRUCT_VERSION: Final = der.oid(_ARC + "1")
_SPL: Final = {
    der.oid(_ARC + "3.1"): "bl",
    der.oid(_ARC + "3.2"): "tee",
    der.oid(_ARC + "3.3"): "snp",
    der.oid(_ARC + "3.4"): "spl4",
    der.oid(_ARC + "3.5"): "spl5",
    der.oid(_ARC + "3.6"): "spl6",
    der.oid(_ARC + "3.7"): "spl7",
    der.oid(_ARC + "3.8"): "ucode",
    der.oid(_ARC + "3.9"): "fmc",
}
_ROLES: Final = {"SEV-VCEK": "VCEK", "SEV-VLEK": "VLEK"}
_AMD: Final = "Advanced Micro Devices"
_HWID_SIZES: Final = (8, 64)


class Vek(msgspec.Struct, frozen=True, kw_only=True):
    """What an endorsement key's certificate says. It is worth as much as the signature over it."""

    role: str
    """VCEK or VLEK."""
    key: ec.EllipticCurvePublicKey
    product: str
    tcb: Tcb
    """Components by name, with the reserved ones, which are zero."""
    hwid: bytes | None
    """Identity of the chip, 64 bytes, or 8 from Turin on; a VLEK has none."""
    csp_id: str | None
    """The cloud provider to which a VLEK is lent."""


def read_vek(certificate: Certificate) -> Vek:
    """Read AMD's extensions. Raises `DerError` if one is missing, malformed, or contradicts the role."""
    role = _ROLES.get(certificate.common_name)
    if role is None or certificate.organisation != _AMD:
        raise DerError(
            f"subject {certificate.common_name!r} of {certificate.organisation!r} is not an endorsement key of AMD's"
        )
    if certificate.unknown_critical or certificate.is_authority:
        raise DerError("an endorsement key has no critical extension that is unknown, and signs no certificates")
    key = public_key(certificate)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise DerError("the key is not on P-384")
    extensions = certificate.extensions
    if der.integer(der.whole(_value(extensions.get(_STRUCT_VERSION)), der.INTEGER)) not in {0, 1}:
        raise DerError("structVersion is not 0 or 1")
    hwid, csp_id = extensions.get(_HWID), extensions.get(_CSP_ID)
    if (hwid is not None, csp_id is not None) != (role == "VCEK", role == "VLEK"):
        raise DerError("a VCEK names a chip and a VLEK names a provider")
    return Vek(
        role=role,
        key=key,
        product=_text(_value(extensions.get(_PRODUCT))),
        tcb={name: _component(extensions[id]) for id, name in _SPL.items() if id in extensions},
        hwid=None if hwid is None else _hwid(hwid.value),
        csp_id=None if csp_id is None else _text(csp_id.value),
    )


def _component(extension: Extension) -> int:
    value = der.integer(der.whole(extension.value, der.INTEGER))
    if not 0 <= value <= 255:
        raise DerError("a component of the TCB is outside a byte")
    return value


def _hwid(value: bytes) -> bytes:
    """The chip's identity: bare in certificates of Turin and older Milan, in an OCTET STRING in others."""
    if len(value) in _HWID_SIZES:
        return value
    content = der.octets(der.whole(value, der.OCTET_STRING))
    if len(content) not in _HWID_SIZES:
        raise DerError("the chip's identity is neither 8 nor 64 bytes")
    return content


def _text(value: bytes) -> str:
    found = der.element(value, 0, len(value))
    if found.end != len(value):
        raise DerError("bytes follow a string")
    return der.text(found)


def _value(extension: Extension | None) -> bytes:
    if extension is None:
        raise DerError("an extension of AMD's is missing")
    return extension.value
