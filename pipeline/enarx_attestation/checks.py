"""One line of a verdict, and the sheet on which a verification writes its lines.

Hints and references are data: each kind of evidence has a table of `Rule`s, and a check that is not in the table
cannot be written, so that every id which can appear in a verdict is documented in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

Outcome = Literal["passed", "failed", "skipped"]


class Check(msgspec.Struct, frozen=True):
    """One question that was asked of the evidence, and its answer.

    `id` is stable and dotted (`snp.root.pinned`); `expected` and `actual` are for people; `hint` says what to do and is
    empty when the check passed; `reference` names the section of the specification that asks the question.
    `skipped` is only ever the outcome of a question that the policy or the caller named off.
    """

    id: str
    outcome: Outcome
    expected: str = ""
    actual: str = ""
    hint: str = ""
    reference: str = ""

    @property
    def ok(self) -> bool:
        """True unless the check failed."""
        return self.outcome != "failed"


class Rule(msgspec.Struct, frozen=True):
    """What is known beforehand about a check: what to do when it fails, and who asks for it."""

    hint: str
    reference: str


class Sheet:
    """Collects the checks of one verification or appraisal, in the order in which they were made."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._checks: list[Check] = []

    def check(self, id: str, passed: bool, expected: object = "", actual: object = "") -> bool:
        """Record a check as passed or failed, and return `passed`."""
        rule = self._rules[id]
        # Only the constant True passes: a truthy object in the place of an answer is a defect, and must refuse.
        outcome: Outcome = "passed" if passed is True else "failed"
        hint = "" if outcome == "passed" else rule.hint
        self._checks.append(Check(id, outcome, str(expected), str(actual), hint, rule.reference))
        return outcome == "passed"

    def skip(self, id: str, why: str, actual: object = "") -> None:
        """Record that a check was named off; `why` says by whom."""
        self._checks.append(Check(id, "skipped", why, str(actual), "", self._rules[id].reference))

    def take(self, checks: Iterable[Check]) -> None:
        """Record checks that were made on another sheet."""
        self._checks.extend(checks)

    def done(self) -> tuple[Check, ...]:
        """All checks so far."""
        return tuple(self._checks)
