"""The form in which endorsements of one piece of evidence lie in a directory; see `enarx_attestation.files`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from enarx_attestation import MalformedCollateral
from enarx_attestation.intel_collateral import answers_of, read_document

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
    for name, data in sorted(files.items()):
        if name in _PLAIN:
            yield Offer(name, _PLAIN[name], data)
        elif name.startswith("crl") and name.endswith(".der"):
            yield Offer(name, "amd-crl", data, role="vlek" if "vlek" in name else "vcek")
        elif name == "collateral.json":
            yield from _of_intel(name, data)


def _of_intel(name: str, data: bytes) -> Iterator[Offer]:
    try:
        document = read_document(data)
        root_crl, pck_crl = bytes.fromhex(document.root_ca_crl), bytes.fromhex(document.pck_crl)
    except (MalformedCollateral, ValueError) as exc:
        raise RefusedCollateral(f"{name}: {exc}") from exc
    info, identity = answers_of(document)
    yield Offer(name, "root-crl", root_crl)
    yield Offer(name, "pck-crl", pck_crl, document.pck_crl_issuer_chain.encode())
    yield Offer(name, "tcb-info", info, document.tcb_info_issuer_chain.encode())
    yield Offer(name, "qe-identity", identity, document.qe_identity_issuer_chain.encode())


_PLAIN = {
    "vcek.der": "vcek",
    "vlek.der": "vlek",
    "ca_chain.pem": "amd-chain",
    "platform.pub.pem": "cca-key",
}
