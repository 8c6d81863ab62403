"""Where the vendors give items out: AMD's key distribution service (57230, section 4) and Intel's PCS, version 4.

The hosts are in this table, and paths are made of an item's key. No address is ever taken from evidence, from a
certificate or from an answer.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

import httpx

from enarx_attestation.intel_tcb import MAX_JSON
from enarx_attestation.lookup import VcekRequest
from enarx_attestation.x509 import MAX_CERTIFICATE, MAX_CHAIN, MAX_CRL

from .directory import Offer
from .errors import SourceError
from .item import Item, levels
from .transport import Answer, Transport

KDS: Final = "https://kdsintf.amd.com"
PCS: Final = "https://api.trustedservices.intel.com"
INTEL_CERTIFICATES: Final = "https://certificates.trustedservices.intel.com"

_MOST_HEADER: Final = 2 * MAX_CHAIN * MAX_CERTIFICATE
_ROOT_CRL: Final = "/IntelSGXRootCA.der"
_MIRRORED_ROOT_CRL: Final = "/sgx/certification/v4/rootcacrl"
_CHAIN_HEADERS: Final = {
    "tcb-info": ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"),
    "qe-identity": ("sgx-enclave-identity-issuer-chain",),
    "pck-crl": ("sgx-pck-crl-issuer-chain",),
}
"""Where Intel's issuers stand, percent-encoded PEM; mirrors of older versions use the second name."""
_SEQUENCE: Final = 0x30


class AmdKds:
    """AMD's service: keys of chips, issuers, revocation lists."""

    def __init__(self, transport: Transport, base: str = KDS) -> None:
        self._transport = transport
        self._base = base

    async def offer(self, item: Item) -> Offer:
        """What the service gives for an item; not verified. Raises `SourceError`, `NotFound`."""
        if item.kind == "vcek":
            line, chip, tcb = item.key
            components = tuple((f"{name}SPL", value) for name, value in levels(line, tcb))
            path, most, role = VcekRequest(line.capitalize(), chip, components).path, MAX_CERTIFICATE, "vcek"
        else:
            line, role = item.key
            name, most = ("crl", MAX_CRL) if item.kind == "amd-crl" else ("cert_chain", 2 * MAX_CHAIN * MAX_CERTIFICATE)
            path = f"/{role}/v1/{line.capitalize()}/{name}"
        answer = await self._transport.get(self._base + path, most)
        return Offer(self._base + path, item.kind, answer.body, role="vlek" if role == "vlek" else "vcek")


class IntelPcs:
    """Intel's service, or a caching service (PCCS) that speaks as it does."""

    def __init__(self, transport: Transport, base: str = PCS, root_crl: str = INTEL_CERTIFICATES + _ROOT_CRL) -> None:
        self._transport = transport
        self._base = base
        self._root_crl = root_crl

    async def offer(self, item: Item) -> Offer:
        """What the service gives for an item; not verified. Raises `SourceError`, `NotFound`."""
        url = self._url(item)
        answer = await self._transport.get(url, 2 * MAX_CRL if item.kind.endswith("-crl") else MAX_JSON)
        body = _binary(answer.body, url) if item.kind.endswith("-crl") else answer.body
        return Offer(url, item.kind, body, _chain(answer, item.kind, url))

    def _url(self, item: Item) -> str:
        if item.kind == "tcb-info":
            tee, fmspc = item.key
            return f"{self._base}/{tee}/certification/v4/tcb?fmspc={fmspc.upper()}"
        if item.kind == "qe-identity":
            return f"{self._base}/{item.key[0]}/certification/v4/qe/identity"
        if item.kind == "pck-crl":
            return f"{self._base}/sgx/certification/v4/pckcrl?ca={item.key[0]}&encoding=der"
        return self._root_crl


class Sources:
    """For each item the service that gives it out."""

    def __init__(self, kds: AmdKds, pcs: IntelPcs) -> None:
        intel = dict.fromkeys(("tcb-info", "qe-identity", "pck-crl", "root-crl"), pcs)
        self._of: dict[str, AmdKds | IntelPcs] = {**dict.fromkeys(("vcek", "amd-chain", "amd-crl"), kds), **intel}

    @classmethod
    def vendors(cls, transport: Transport) -> Sources:
        """The vendors' own."""
        return cls(AmdKds(transport), IntelPcs(transport))

    @classmethod
    def mirror(cls, transport: Transport, url: str) -> Sources:
        """One address for everything, which the operator names. Raises `SourceError` if it is not of https."""
        base = mirror_base(url)
        return cls(AmdKds(transport, base), IntelPcs(transport, base, base + _MIRRORED_ROOT_CRL))

    async def offer(self, item: Item) -> Offer:
        """What a vendor gives for an item; not verified. Raises `SourceError`, `NotFound`."""
        source = self._of.get(item.kind)
        if source is None:
            raise SourceError(f"{item}: no service gives it to everyone", hint="`enarx-deploy collateral import` it")
        return await source.offer(item)


def mirror_base(url: str) -> str:
    """A mirror's address without a slash at its end. Raises `SourceError`."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise SourceError(f"{url!r} is no URL: {exc}", hint="such as https://pccs.example.org:8081") from exc
    if found.scheme != "https" or not found.host or found.query or found.fragment or found.userinfo:
        raise SourceError(
            f"{url!r} is not the address of a mirror", hint="https, a host, a path at most: https://pccs.example.org"
        )
    return str(found).rstrip("/")


def _chain(answer: Answer, kind: str, url: str) -> bytes | None:
    names = _CHAIN_HEADERS.get(kind)
    if names is None:
        return None
    found = next((answer.headers[name] for name in names if name in answer.headers), None)
    if found is None or len(found) > _MOST_HEADER:
        raise SourceError(f"{url}: the answer does not name its issuers", hint="is it the right service?")
    return unquote_to_bytes(found)


def _binary(body: bytes, url: str) -> bytes:
    """DER, which caching services send in hexadecimal."""
    if body[:1] == bytes([_SEQUENCE]) and body[1:2] >= b"\x80":
        return body
    try:
        return bytes.fromhex(body.decode("ascii"))
    except ValueError as exc:
        raise SourceError(f"{url}: the answer is no revocation list", hint="is it the right service?") from exc
