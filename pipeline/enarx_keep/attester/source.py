"""What every source of evidence is, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from enarx_keep.errors import NoEvidence

REPORT_DATA = 64
"""Bytes of report data, for every kind."""
EVIDENCE_LIMIT = 1 << 17
"""Most bytes of evidence that a source is believed to give."""

_REPORT_DATA_AT = {"snp": [0x50], "tdx": [48 + 520, 54 + 520], "sgx": [48 + 320, 54 + 320]}
"""Where the report data stands: in an SNP report; in a quote, behind its header, and in v5 behind the body's type."""


class Probe(NamedTuple):
    """What a look at a source found: a kind of evidence, or why not.

    `present` is true also of a source that is there and does not work. A Keep with such a source is on hardware that
    could vouch for it, so that evidence without hardware would be a downgrade.
    """

    source: str
    kind: str = ""
    why_not: str = ""
    present: bool = False


class Evidence(NamedTuple):
    """Evidence as the platform gave it, and what came with it.

    `endorsements` are certificates by the name that they have in a directory for `appraise --endorsements`. They are
    the host's word: a verifier that uses them checks them as it checks those from anywhere else.
    """

    kind: str
    document: bytes
    endorsements: Mapping[str, bytes] = MappingProxyType({})


class Source(Protocol):
    """A place that evidence comes from."""

    name: str

    def probe(self) -> Probe:
        """Look for it, and leave nothing behind. Raises nothing: what the kernel answers is the reason."""

    def evidence(self, package: str, data: bytes) -> Evidence:
        """Evidence over 64 bytes of report data, for the package of this digest. Raises NoEvidence."""


def check_commitment(kind: str, document: bytes, data: bytes, source: str) -> None:
    """Refuse evidence that does not hold `data` where its kind has the report data. Raises NoEvidence.

    The verifier would refuse it too. But here it is known that the platform mixed requests up, and the source's name.
    """
    if not document or len(document) > EVIDENCE_LIMIT:
        raise NoEvidence(f"{source} gave {len(document):,} bytes of evidence")
    places = _REPORT_DATA_AT.get(kind)
    if places is not None and all(document[at : at + REPORT_DATA] != data for at in places):
        raise NoEvidence(
            f"{source} gave {kind} evidence over other report data",
            hint="another program may share this source; see its log",
        )
