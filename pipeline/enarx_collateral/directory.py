"""The form in which endorsements of one piece of evidence lie in a directory; see `enarx_attestation.files`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal

import msgspec

from enarx_attestation import MalformedCollateral
from enarx_attestation.files import plain
from enarx_attestation.intel_collateral import answers_of, list_der, read_document
from enarx_attestation.x509 import crl_der, is_pem, read_pem

from .errors import RefusedCollateral


class Offer(msgspec.Struct, frozen=True):
    """One item that someone brings, as `Store.put` takes it."""

    origin: str
    """Where it was found, for people."""
    kind: str
    data: bytes
    chain: bytes | None = None
    role: Literal["vcek", "vlek"] = "vcek"


def offers(files: Mapping[str, bytes]) -> Iterator[Offer]:
    """The items in files, by name; others are not looked at. Raises `RefusedCollateral` for Intel's if it is no JSON.

    A list of AMD's whose name has "vlek" in it is taken for the one that AMD publishes for such keys.
    """
    try:
        apart = plain(files)
    except MalformedCollateral as exc:
        raise RefusedCollateral(str(exc)) from exc
    for name, data in sorted(apart.items()):
        kind = next((kind for pattern, kind in _NAMES if fnmatchcase(name, pattern)), "")
        try:
            if kind == "intel":
                yield from _of_intel(name, data)
            elif kind:
                yield Offer(name, kind, _FORMS.get(kind, bytes)(data), role="vlek" if "vlek" in name else "vcek")
        except MalformedCollateral as exc:
            raise RefusedCollateral(f"{name}: {exc}") from exc


def _of_intel(name: str, data: bytes) -> Iterator[Offer]:
    document = read_document(data)
    info, identity = answers_of(document)
    if document.root_ca_crl is not None:
        yield Offer(name, "root-crl", list_der(document.root_ca_crl))
    if document.pck_crl is not None:
        yield Offer(name, "pck-crl", list_der(document.pck_crl), document.pck_crl_issuer_chain.encode())
    yield Offer(name, "tcb-info", info, document.tcb_info_issuer_chain.encode())
    yield Offer(name, "qe-identity", identity, document.qe_identity_issuer_chain.encode())


def _first_certificate(data: bytes) -> bytes:
    """DER of the first certificate; the issuers that may follow it in PEM are pinned."""
    return read_pem(data)[0].raw if is_pem(data) else data


_NAMES: Final = (
    ("vcek.*", "vcek"),
    ("vlek.*", "vlek"),
    ("ca_chain.pem", "amd-chain"),
    ("cert_chain.pem", "amd-chain"),
    ("crl*.*", "amd-crl"),
    ("collateral.json", "intel"),
    ("platform.pub.pem", "cca-key"),
)
_FORMS: Final = {"vcek": _first_certificate, "vlek": _first_certificate, "amd-crl": crl_der}
"""How to come to the form in which an item is stored: DER, where it has one."""
