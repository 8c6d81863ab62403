"""The same quotes before another verifier: where the two differ, the difference is known and wanted.

Real vectors as they are, then damaged, mixed up and at other times; and quotes of an Intel in miniature. What is
compared is whether a quote is verified with a current revocation list, its status and its advisories.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dcap_qvl  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enarx_attestation import (
    VENDOR_ANCHORS,
    Anchors,
    MalformedCollateral,
    MalformedEvidence,
    endorse,
    parse,
    verify,
)
from enarx_attestation.intel_claims import IntelClaims
from enarx_attestation.intel_collateral import read_collateral

if TYPE_CHECKING:
    from conftest import Intel

VECTORS = Path(__file__).parent / "vectors"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
MUTATIONS = 120
CASES = [
    f"{path.parent.parent.name}/{path.parent.name}"
    for kind in ("sgx", "tdx")
    for path in sorted((VECTORS / kind).glob("*/collateral.json"))
]


@dataclass(frozen=True)
class Answer:
    """What one of the two says: a status and advisories, or why not."""

    status: str = ""
    advisories: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True)
class Difference:
    """One refuses with words like these, the other accepts."""

    why: str
    words: str


WE_REFUSE = [
    Difference("a root that was shown is the pinned one, byte for byte, or the evidence is refused", r"root\.unpinned"),
    Difference("text that is nearly PEM, or has more in it, is not read", r"in PEM, and nothing else|not PEM"),
    Difference("certificates that are not used are read too", r"not a certificate"),
    Difference("who asks for SGX is not given TDX, nor the other way", r"this quote is of TEE type"),
    Difference("a list that is issued later than now is not current", r"revocation: stale"),
    Difference("the issuer of a list is in the chain that belongs to it", r"revocation: absent"),
    Difference("a chain in the quote with a damaged certificate in it has no one beginning", r"pck\.certificate"),
    Difference("a statement is of the same PCE as the platform", r"^\w+\.tcb-info\.match$"),
]
THEY_REFUSE = [
    Difference("debugging is a claim, and a matter of policy, which forbids it by default", r"Debug mode is enabled"),
    Difference("SEPT_VE_DISABLE is a matter of policy: Azure's domains have it off", r"SEPT_VE_DISABLE"),
    Difference("a service domain is a matter of policy, which forbids it by default", r"Invalid MR service TD"),
    Difference("quotes of SGX in the later forms are read", r"SGX TEE quote must have version 3"),
    Difference(
        "a list ends after the second of its nextUpdate, and not with it", r"CrlExpired .*UnixTime\((\d+)\).*\(\1\)"
    ),
]
SEEN_IN_REAL_VECTORS = {
    "root\\.unpinned",
    "in PEM, and nothing else|not PEM",
    "this quote is of TEE type",
    "revocation: stale",
    "revocation: absent",
    "Debug mode is enabled",
    "SEPT_VE_DISABLE",
    "Invalid MR service TD",
}


class KeyFields(msgspec.Struct):
    T: str = "2025-07-01T00:00:00Z"


class Meta(msgspec.Struct):
    key_fields: KeyFields = msgspec.field(default_factory=KeyFields)


@cache
def moment(case: str) -> datetime:
    meta = msgspec.json.decode((VECTORS / case / "meta.json").read_bytes(), type=Meta)
    text = meta.key_fields.T
    return datetime.fromisoformat(("2025-07-01T00:00:00Z" if text == "-" else text).replace("Z", "+00:00"))


@cache
def quote_of(case: str) -> bytes:
    return (VECTORS / case / "quote.bin").read_bytes()


@cache
def document_of(case: str) -> dict[str, str]:
    document: dict[str, str] = json.loads((VECTORS / case / "collateral.json").read_bytes())
    return document


def ours(kind: str, quote: bytes, document: bytes, at: datetime, anchors: Anchors = VENDOR_ANCHORS) -> Answer:
    try:
        claims = verify(parse(quote, kind), endorse(read_collateral(document), anchors), anchors, at)
    except (MalformedEvidence, MalformedCollateral) as exc:
        return Answer(why_not=str(exc))
    assert isinstance(claims, IntelClaims)
    failed = [check.id for check in claims.checks if not check.ok]
    if claims.revocation != "good":
        failed.append(f"revocation: {claims.revocation}")
    return Answer(why_not=", ".join(failed)) if failed else Answer(claims.status, claims.advisories)


def theirs(quote: bytes, document: bytes, at: datetime, root: bytes | None = None) -> Answer:
    now = int(at.timestamp())
    try:
        collateral = dcap_qvl.QuoteCollateralV3.from_json(document.decode())
        found = (
            dcap_qvl.verify(quote, collateral, now)
            if root is None
            else dcap_qvl.verify_with_root_ca(quote, collateral, root, now)
        )
    except ValueError as exc:
        return Answer(why_not=str(exc) or "a value")
    return Answer(found.status, tuple(sorted(found.advisory_ids)))


def difference(mine: Answer, other: Answer) -> str:
    """The known difference that tells these answers apart, by its words; "" if they are alike. Fails for any other."""
    if mine == other or (mine.why_not and other.why_not):
        return ""
    known = WE_REFUSE if mine.why_not else THEY_REFUSE
    said = mine.why_not or other.why_not
    found = [entry.words for entry in known if said and re.search(entry.words, said, re.DOTALL)]
    assert found, f"we say {mine}, they say {other}"
    return found[0]


def altered(case: str) -> Iterator[tuple[bytes, bytes, datetime]]:
    """The vector with a damaged quote, with damaged collateral, at another time, or with that of another vector."""
    generator = random.Random(case)
    for _ in range(MUTATIONS):
        quote, document, at = bytearray(quote_of(case)), dict(document_of(case)), moment(case)
        match generator.randrange(4):
            case 0:
                for _ in range(generator.randint(1, 3)):
                    quote[generator.randrange(len(quote))] = generator.randrange(256)
            case 1:
                damage(document, generator)
            case 2:
                at += timedelta(days=generator.randint(-60, 60))
            case _:
                document = dict(document_of(generator.choice(CASES)))
                if generator.random() < 0.5:
                    quote = bytearray(quote_of(generator.choice(CASES)))
        yield bytes(quote), json.dumps(document).encode(), at


def damage(document: dict[str, str], generator: random.Random) -> None:
    """Change, drop or exchange something in one field of collateral."""
    field = generator.choice([name for name, value in document.items() if isinstance(value, str) and value])
    text = document[field]
    place = generator.randrange(len(text))
    document[field] = generator.choice(
        [
            text[:place] + chr(generator.randrange(32, 127)) + text[place + 1 :],
            text[:place] + text[place + 1 :],
            document_of(generator.choice(CASES))[field],
            generator.choice(sorted(value for value in document.values() if isinstance(value, str))),
        ]
    )


@cache
def differences(case: str) -> frozenset[str]:
    kind = case.partition("/")[0]
    found = {
        difference(ours(kind, quote, document, at), theirs(quote, document, at))
        for quote, document, at in altered(case)
    }
    return frozenset(found - {""})


@pytest.mark.parametrize("case", CASES)
def test_both_say_the_same_of_a_real_vector(case: str) -> None:
    document = json.dumps(document_of(case)).encode()
    mine = ours(case.partition("/")[0], quote_of(case), document, moment(case))
    found = difference(mine, theirs(quote_of(case), document, moment(case)))
    expected = {
        "sgx/occlum-debug-enclave": "Debug mode is enabled",
        "tdx/alibaba-v5-servicetd": "Invalid MR service TD",
        "tdx/azure-sept-ve-disable-off": "SEPT_VE_DISABLE",
        "tdx/coco-debug-td": "Debug mode is enabled",
    }
    assert found == expected.get(case, "")


@pytest.mark.parametrize("case", CASES)
def test_of_altered_vectors_both_say_the_same_but_for_what_is_listed(case: str) -> None:
    differences(case)


def test_what_is_listed_occurs() -> None:
    assert set().union(*(differences(case) for case in CASES)) >= SEEN_IN_REAL_VECTORS


def compare(intel: Intel, kind: str, quote: bytes, collateral: bytes) -> str:
    mine = ours(kind.lower(), quote, collateral, NOW, intel.anchors)
    return difference(mine, theirs(quote, collateral, NOW, intel.root.der))


@pytest.mark.parametrize(
    ("kind", "version", "words"),
    [
        ("SGX", 3, ""),
        ("SGX", 4, "SGX TEE quote must have version 3"),
        ("SGX", 5, "SGX TEE quote must have version 3"),
        ("TDX", 4, ""),
        ("TDX", 5, ""),
    ],
)
def test_versions(kind: str, version: int, words: str, intel: Intel) -> None:
    assert compare(intel, kind, intel.quote(kind, version=version), intel.collateral(kind)) == words


@pytest.mark.parametrize("kind", ["SGX", "TDX"])
def test_a_statement_of_another_pce(kind: str, intel: Intel) -> None:
    collateral = intel.collateral(kind, tcb_info=intel.tcb_info(kind, pceId="0001"))
    assert compare(intel, kind, intel.quote(kind), collateral) == r"^\w+\.tcb-info\.match$"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 584}, ""),
        ({"size": 885}, ""),
        ({"attributes": 0}, "SEPT_VE_DISABLE"),
        ({"attributes": 1 << 28 | 1}, "Debug mode is enabled"),
        ({"svn": bytes([5, 1, 3]), "svn2": bytes([6, 1, 3])}, ""),
        ({"svn": bytes([6, 1, 2]), "svn2": bytes([6, 1, 3])}, ""),
        ({"signer": b"\1" * 48}, ""),
        ({"svn": bytes([6, 1, 3]), "svn2": bytes([6, 1, 1])}, ""),
        ({"svn": bytes([6, 1, 3]), "svn2": bytes([3, 1, 3])}, ""),
        ({"svn": bytes([6, 1, 3]), "svn2": bytes([6, 2, 3])}, ""),
    ],
)
def test_domains(options: dict[str, Any], words: str, intel: Intel) -> None:
    assert compare(intel, "TDX", intel.quote("TDX", body=intel.domain(**options)), intel.collateral("TDX")) == words


STATUSES = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
]


def numbers_of(level: tuple[Any, ...]) -> tuple[int, ...]:
    return (*level[0], level[1], *level[2])


LEVELS = st.lists(
    st.tuples(
        st.lists(st.integers(2, 4), min_size=4, max_size=4),
        st.integers(12, 14),
        st.lists(st.integers(0, 4), min_size=3, max_size=3),
        st.sampled_from(STATUSES),
        st.lists(st.sampled_from(["INTEL-SA-00001", "INTEL-SA-00002"]), unique=True),
    ),
    min_size=1,
    max_size=4,
    unique_by=numbers_of,
)
SVNS = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from(["UpToDate", "OutOfDate", "Revoked"])), min_size=1, max_size=3
)


@pytest.mark.parametrize("kind", ["SGX", "TDX"])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(levels=LEVELS, enclave=SVNS, module=SVNS, svn=st.lists(st.integers(0, 4), min_size=3, max_size=3))
def test_levels_of_any_kind_are_judged_alike(
    kind: str,
    levels: list[tuple[Any, ...]],
    enclave: list[tuple[int, str]],
    module: list[tuple[int, str]],
    svn: list[int],
    intel: Intel,
) -> None:
    """Intel lists levels from the highest down, so that the first that is reached is the best: so they are here."""
    info = intel.tcb_info(kind)
    template = json.dumps(info["tcbLevels"][0])
    ordered = sorted(levels, reverse=True)
    info["tcbLevels"] = [level_of(json.loads(template), level) for level in ordered]
    if kind == "TDX":
        info["tdxModuleIdentities"][0]["tcbLevels"] = svn_levels(module)
    identity = intel.identity(kind, tcbLevels=svn_levels(enclave))
    collateral = intel.collateral(kind, tcb_info=info, qe_identity=identity)
    body = {"body": intel.domain(svn=bytes(svn), svn2=bytes(svn))} if kind == "TDX" else {}
    assert compare(intel, kind, intel.quote(kind, **body), collateral) == ""


def level_of(level: dict[str, Any], drawn: tuple[Any, ...]) -> dict[str, Any]:
    components, pce, tdx, status, advisories = drawn
    for name, values in (("sgxtcbcomponents", components), ("tdxtcbcomponents", tdx)):
        for place, value in enumerate(values):
            if name in level["tcb"]:
                level["tcb"][name][place]["svn"] = value
    level["tcb"]["pcesvn"] = pce
    return {**level, "tcbStatus": status, "advisoryIDs": advisories}


def svn_levels(drawn: list[tuple[int, str]]) -> list[dict[str, Any]]:
    return [
        {"tcb": {"isvsvn": svn}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": status}
        for svn, status in sorted(dict(drawn).items(), reverse=True)
    ]
