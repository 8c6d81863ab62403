"""What the certificate of a platform's provisioning key says (Intel SGX PCK Certificate Profile, section 1.3.5)."""

from __future__ import annotations

from typing import Final

import msgspec

from . import der
from .der import DerError, Element
from .x509 import Certificate

_ARC = "1.2.840.113741.1.13.1"
EXTENSION: Final = der.oid(_ARC)
_PPID, _TCB, _PCEID, _FMSPC, _TYPE, _INSTANCE, _CONFIGURATION = (der.oid(f"{_ARC}.{arc}") for arc in range(1, 8))
_COMPONENTS: Final = tuple(der.oid(f"{_ARC}.2.{arc}") for arc in range(1, 17))
_PCESVN, _CPUSVN = (der.oid(f"{_ARC}.2.{arc}") for arc in (17, 18))
_DYNAMIC, _CACHED, _SMT = (der.oid(f"{_ARC}.7.{arc}") for arc in (1, 2, 3))

SGX_TYPES: Final = {0: "standard", 1: "scalable", 2: "scalable-with-integrity"}


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """A platform as Intel certified it."""

    ppid: bytes
    components: tuple[int, ...]
    """The 16 security versions of the platform's SGX TCB."""
    pce_svn: int
    pce_id: bytes
    fmspc: bytes
    sgx_type: int
    instance_id: bytes | None
    """Only of platforms with several packages, like the three below."""
    dynamic: bool | None
    """Packages may be added."""
    cached_keys: bool | None
    """Intel keeps the platform's root keys."""
    smt: bool | None


def read_platform(certificate: Certificate) -> Platform:
    """Read Intel's extension. Raises `DerError` if it or a part of it is missing or malformed."""
    extension = certificate.extensions.get(EXTENSION)
    if extension is None:
        raise DerError("Intel's extension is missing")
    fields = _table(der.whole(extension.value, der.SEQUENCE))
    tcb = _table(_get(fields, _TCB))
    configuration = _table(fields[_CONFIGURATION]) if _CONFIGURATION in fields else {}
    components = tuple(_svn(_get(tcb, id), 255) for id in _COMPONENTS)
    _octets(_get(tcb, _CPUSVN), 16)
    kind = _get(fields, _TYPE)
    if kind.tag != der.ENUMERATED or len(kind.content) != 1:
        raise DerError("the SGX type is not an ENUMERATED")
    return Platform(
        ppid=_octets(_get(fields, _PPID), 16),
        components=components,
        pce_svn=_svn(_get(tcb, _PCESVN), 0xFFFF),
        pce_id=_octets(_get(fields, _PCEID), 2),
        fmspc=_octets(_get(fields, _FMSPC), 6),
        sgx_type=kind.content[0],
        instance_id=_octets(fields[_INSTANCE], 16) if _INSTANCE in fields else None,
        dynamic=_flag(configuration, _DYNAMIC),
        cached_keys=_flag(configuration, _CACHED),
        smt=_flag(configuration, _SMT),
    )


def _table(parent: Element) -> dict[bytes, Element]:
    """A SEQUENCE of pairs of OBJECT IDENTIFIER and value."""
    if parent.tag != der.SEQUENCE:
        raise DerError("expected a SEQUENCE")
    pairs = der.pairs(parent)
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DerError("a field is given twice")
    return found


def _get(fields: dict[bytes, Element], id: bytes) -> Element:
    found = fields.get(id)
    if found is None:
        raise DerError("a field is missing")
    return found


def _octets(found: Element, size: int) -> bytes:
    content = der.octets(found)
    if len(content) != size:
        raise DerError(f"a field has {len(content)} bytes, not {size}")
    return content


def _svn(found: Element, most: int) -> int:
    value = der.integer(found)
    if not 0 <= value <= most:
        raise DerError("a security version is out of range")
    return value


def _flag(fields: dict[bytes, Element], id: bytes) -> bool | None:
    return der.boolean(fields[id]) if id in fields else None
