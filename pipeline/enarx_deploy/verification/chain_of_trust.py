"""The chain of trust behind a report, link by link, for whoever wants to see on whose word the answer rests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from .hardware import UNPROTECTED

if TYPE_CHECKING:
    from . import Report

State = Literal["holds", "broken", "aside", "absent"]
"""Checked and good; checked and bad; there, and not relied upon; not there, or not seen."""

_CERTIFICATE_CHECKS: Final = ("certificate.", "claims.")
_BINDING_CHECKS: Final = ("binding.", "evidence.bound", "evidence.claimed", "evidence.age")
_NOT_OF_A_VENDOR: Final = ("connect", "tls.", "certificate.", "claims.", "binding.", "evidence.", "policy.")


class Link(NamedTuple):
    """One party or thing, and what it says of the next."""

    title: str
    detail: str
    state: State


class ChainOfTrust(NamedTuple):
    """`hardware` leads from a vendor's root by the evidence to the Keep's key, `steward` from a Steward's root to the
    certificate; key and certificate meet in the connection."""

    hardware: list[Link]
    steward: list[Link]
    connection: Link


def draw(report: Report) -> ChainOfTrust:
    """The links of a report."""
    return ChainOfTrust([*_evidence(report), *_key(report)], _steward(report), _connection(report))


def _evidence(report: Report) -> list[Link]:
    found: dict[str, Any] | None = report.hardware
    kind = "" if report.claims is None else str(report.claims["backend"])
    if found is None:
        return [_unseen(report, kind)]
    genuine = _state(report, lambda id: not id.startswith(_NOT_OF_A_VENDOR) and ".policy." not in id)
    wanted = _state(report, lambda id: ".policy." in id or id.startswith(("policy.", "evidence.")))
    root, *others = found["links"]
    vendor = [Link(root, "built in", genuine), *(Link(title, "signed by the one above", genuine) for title in others)]
    said = f"status {found['status']}, measurement {found['measurement'] or 'not of one value'}"
    state: State = "broken" if "broken" in (genuine, wanted) else "holds"
    return [*vendor, Link(f"Evidence of {found['tee']}", said, state)]


def _unseen(report: Report, kind: str) -> Link:
    if kind in UNPROTECTED:
        detail = f"a {kind} Keep has no hardware behind it: its evidence is its own word"
        return Link("No hardware vouches", detail, "broken" if report.trust == "hardware" else "absent")
    if report.trust == "hardware":
        return Link("No verdict over evidence", "see the checks that failed", "broken")
    if not kind:
        return Link("No evidence seen", "nothing says what was attested", "absent")
    return Link(f"Evidence of {kind} hardware", "appraised by the Steward, and not looked at here", "aside")


def _key(report: Report) -> list[Link]:
    if report.certificate is None:
        return []
    detail = f"{report.certificate['key']}; the peer proved that it holds it"
    if report.hardware is not None:
        detail += ", and the evidence commits to it"
    state = _state(report, lambda id: id.startswith(_BINDING_CHECKS))
    if state == "broken":
        detail = f"{report.certificate['key']}; not shown to be that of the evidence"
    return [Link("Key of the Keep", detail, state)]


def _steward(report: Report) -> list[Link]:
    certificate: dict[str, Any] | None = report.certificate
    if certificate is None:
        return [Link("No certificate seen", "nothing was shown that could have an issuer", "absent")]
    chain = next(check for check in report.checks if check.id == "certificate.chain")
    issued: State = "aside" if chain.outcome == "skipped" else "holds" if chain.ok else "broken"
    named = _state(report, lambda id: id.startswith(_CERTIFICATE_CHECKS) and id != chain.id)
    names = ", ".join(map(str, certificate["names"])) or "no name"
    return [
        Link("Root of the Steward", chain.detail, issued),
        Link("Issuer", str(certificate["issuer"]), issued),
        Link("Certificate", f"for {names}, until {certificate['not_after']}", named),
    ]


def _connection(report: Report) -> Link:
    certificate: dict[str, Any] | None = report.certificate
    if certificate is None:
        return Link("This connection", report.checks[-1].detail, "broken")
    channel = f"{certificate['tls_version']} with {certificate['tls_cipher']}"
    return Link("This connection", channel, _state(report, lambda id: id.startswith("tls.")))


def _state(report: Report, concerns: Callable[[str], bool]) -> State:
    return "broken" if any(not check.ok and concerns(check.id) for check in report.checks) else "holds"
