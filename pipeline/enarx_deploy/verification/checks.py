"""One line of a report, and what is known beforehand about each: what to do when it fails, and who asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from enarx_attestation import Outcome, Rule

MAX_DETAIL: Final = 500
"""Most characters of a check's detail."""

RULES: Final[Mapping[str, Rule]] = {
    "connect": Rule(
        "Is the name right, and is it running? `enarx-deploy keeps` shows the Keeps of this machine.",
        "RFC 9293, section 3.5",
    ),
    "tls.handshake": Rule(
        'Is this the port of a `listen` socket with `prot = "tls"`?', "RFC 8446, sections 4.4.2 and 4.4.3"
    ),
    "tls.version": Rule("Something before the Keep ends TLS: connect to the Keep itself.", "RFC 8446, section 1.3"),
    "certificate.form": Rule("No Steward issues such a certificate: do not use the service.", "RFC 5280, section 4.1"),
    "certificate.chain": Rule(
        "Give the root that issued it with --root PEM, if that is one that you trust. Where the Steward replaced its "
        "root since, `enarx-deploy renew` has the Keep certified under the new one.",
        "RFC 5280, section 6.1",
    ),
    "certificate.validity": Rule(
        "`enarx-deploy up` gets a new certificate; is the clock right?", "RFC 5280, section 4.1.2.5"
    ),
    "certificate.name": Rule(
        "Say with --server-name which name it should have; names come from the Steward's policy.", "RFC 9525, section 6"
    ),
    "certificate.usage": Rule(
        "No Steward issues such a certificate: do not use the service.",
        "RFC 5280, sections 4.2.1.3, 4.2.1.9 and 4.2.1.12",
    ),
    "certificate.key": Rule("No Keep makes such a key: do not use the service.", "NIST SP 800-57, part 1, table 2"),
    "claims.present": Rule(
        "Only certificates that a Steward issued by the v1 protocol say what was attested. One of a web authority, as "
        "by ACME, says who controls the name, and nothing of a Keep.",
        "draft-ietf-rats-msg-wrap, X.509",
    ),
    "claims.marking": Rule(
        "The certificate contradicts itself: do not use the service.", "docs/steward.md, what is issued"
    ),
    "claims.spiffe": Rule("The certificate contradicts itself: do not use the service.", "SPIFFE-ID, section 2"),
    "claims.backend": Rule(
        "Name it with --accept BACKEND if its protection is enough for you.", "docs/security.md, modes"
    ),
    "claims.package": Rule(
        "It may be an older build of yours, or another program: compare the digests.", "docs/steward.md, what is issued"
    ),
    "evidence.present": Rule(
        "Have the Steward's policy put it there (`[ca] evidence_in_certificate`), or use --trust steward.",
        "draft-ietf-rats-msg-wrap, X.509",
    ),
    "evidence.hardware": Rule(
        "Start the Keep on a backend with hardware protection. There is nothing here that a CPU vouches for.",
        "RFC 9334, section 7",
    ),
    "evidence.claimed": Rule(
        "The certificate contradicts itself: do not use the service.", "docs/steward.md, what is issued"
    ),
    "evidence.age": Rule(
        "Have a new certificate issued: evidence that is older than a week is not taken.",
        "docs/how-to/verify-a-service.md, how fresh it is",
    ),
    "evidence.bound": Rule(
        "Have it issued by the v1 protocol, or accept Enarx's binding with `legacy_binding` in the policy.",
        "docs/security.md, what evidence commits to",
    ),
    "evidence.form": Rule("Do not use the service: its evidence cannot be read.", "the format of its kind"),
    "evidence.endorsed": Rule(
        "Give the vendor's certificates and lists with --endorsements DIR, or fetch them into the store.",
        "RFC 9334, section 8.3",
    ),
    "policy.workload": Rule(
        "Say what may run: --policy FILE, --reference-values FILE, --measurement HEX, or --any-workload.",
        "RFC 9334, section 8.5",
    ),
}


class Check(msgspec.Struct, frozen=True):
    """One question, its answer, and the reason in one line.

    `outcome` is `skipped` where nothing was asked: the caller named it off, or does not rely on it. `hint` says what to
    do and is empty unless the check failed; `reference` is who asks.
    """

    id: str
    ok: bool
    detail: str
    outcome: Outcome = "passed"
    hint: str = ""
    reference: str = ""


def check(id: str, ok: bool, detail: str) -> Check:
    """A check that passed or failed."""
    rule = RULES[id]
    # Only the constant True passes.
    if ok is True:
        return Check(id, True, printable(detail), "passed", "", rule.reference)
    return Check(id, False, printable(detail), "failed", rule.hint, rule.reference)


def skipped(id: str, detail: str) -> Check:
    """A check on which nothing rests."""
    return Check(id, True, printable(detail), "skipped", "", RULES[id].reference)


def printable(text: str) -> str:
    """Without what a terminal would act on, and bounded: the peer chose some of the words."""
    shown = "".join(character if character.isprintable() else "?" for character in text[: MAX_DETAIL + 1])
    return shown if len(shown) <= MAX_DETAIL else shown[: MAX_DETAIL - 1] + "…"
