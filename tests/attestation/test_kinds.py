"""A third party adds a kind of evidence, and still cannot say that it is accepted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from enarx_attestation import (
    KINDS,
    VENDOR_ANCHORS,
    Anchors,
    Claims,
    Collateral,
    Evidence,
    InvalidArgument,
    Kind,
    NilPolicy,
    Policy,
    Rule,
    Sheet,
    UnknownKind,
    appraise,
    parse,
    verify,
)

AT = datetime(2026, 11, 24, tzinfo=UTC)
RULES = {
    "abacus.beads": Rule("Count again.", "the abacus"),
    "abacus.policy.beads": Rule("Use another abacus.", "the abacus"),
}


class Wider(Policy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    abacus: NilPolicy | None = None


def read(data: bytes) -> Evidence:
    return Evidence(kind="abacus", raw=data)


def count(evidence: Evidence, _collateral: Collateral, _anchors: Anchors, _at: datetime) -> Claims:
    sheet = Sheet(RULES)
    sheet.check("abacus.beads", evidence.raw.count(b"o") == 10, 10, evidence.raw.count(b"o"))
    return claims(checks=sheet.done())


def claims(**fields: Any) -> Claims:
    common = {"kind": "abacus", "hardware": False, "status": "", "evidence_sha256": "", "report_data": "00" * 64}
    return Claims(**{**common, **fields})


def weigh(_claims: Claims, _policy: object, sheet: Sheet) -> None:
    sheet.check("abacus.policy.beads", True)


ABACUS = Kind(
    name="abacus",
    max_size=100,
    recognise=lambda data: data.startswith(b"|"),
    parse=read,
    verify=count,
    appraise=weigh,
    rules=RULES,
    required=frozenset({"abacus.beads"}),
)
WITH_ABACUS = {**KINDS, "abacus": ABACUS}
POLICY = Wider(abacus=NilPolicy(any_workload=True))


def judge(data: bytes) -> bool:
    found = verify(parse(data, kinds=WITH_ABACUS), Collateral(), VENDOR_ANCHORS, AT, kinds=WITH_ABACUS)
    return appraise(found, POLICY, expected=None, kinds=WITH_ABACUS).ok


def test_a_kind_of_a_third_party() -> None:
    assert judge(b"|oooooooooo|")
    assert not judge(b"|ooooooooo|")


def test_a_kind_that_checks_nothing_is_refused() -> None:
    assert not appraise(claims(), POLICY, expected=None, kinds=WITH_ABACUS).ok
    with pytest.raises(InvalidArgument):
        replace(ABACUS, required=frozenset())
    with pytest.raises(InvalidArgument):
        replace(ABACUS, required=frozenset({"abacus.undocumented"}))


def test_a_kind_is_refused_without_its_section() -> None:
    found = count(read(b"oooooooooo"), Collateral(), VENDOR_ANCHORS, AT)
    assert not appraise(found, Policy(), expected=None, kinds=WITH_ABACUS).ok


def test_a_kind_that_is_not_in_the_table() -> None:
    with pytest.raises(UnknownKind):
        verify(read(b""), Collateral(), VENDOR_ANCHORS, AT)


def test_a_truthy_answer_is_not_an_answer() -> None:
    sheet = Sheet(RULES)
    assert not sheet.check("abacus.beads", "yes")  # type: ignore[arg-type]  # the defect that is meant
    assert sheet.done()[0].outcome == "failed"


def test_every_check_is_documented() -> None:
    for kind in KINDS.values():
        for name, rule in kind.rules.items():
            assert name == name.lower()
            assert rule.hint.endswith(".")
            assert rule.reference
