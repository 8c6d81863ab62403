"""Checks of the Steward's own, beside those of `enarx_attestation`: what to do when one fails, and who asks for it."""

from __future__ import annotations

from typing import Final

from enarx_attestation import Rule

RULES: Final = {
    "nonce.open": Rule(
        "Ask for a new challenge and have the Keep answer it: each is good once, for two minutes.",
        "docs/steward.md, challenges",
    ),
    "request.marking": Rule(
        "The certificate request marks another kind of Keep than the evidence is of.", "docs/steward.md, requests"
    ),
    "evidence.collateral": Rule(
        "Have the Steward's store fetch or import what is missing (`enarx-deploy collateral`), or send it along as "
        '`endorsements`; lists and statements of the requester\'s count only under `endorsements = "request-too"`.',
        "RFC 9334, section 8.3",
    ),
    "policy.kind": Rule(
        "Add a section of this name to the policy if such Keeps are to be accepted.", "RFC 9334, section 8.5"
    ),
    "policy.workload": Rule(
        "Enarx's protocol names no package: set `any_workload` in the policy, or use the v1 protocol.",
        "docs/steward.md, Enarx's protocol",
    ),
    "policy.grant": Rule(
        "Add a [[grant]] for this package, measurement or signer, or `names` to the section.",
        "docs/steward.md, policy",
    ),
    "packages.allowed": Rule(
        "Add the package's digest to `[packages] allow`; a protocol that names no package cannot be used with that.",
        "docs/steward.md, policy",
    ),
    "packages.denied": Rule("Deploy a package that is not on `[packages] deny`.", "docs/steward.md, policy"),
    "packages.signed": Rule(
        "Sign the package with a key of `[[packages.signers]]` (`enarx-deploy package sign`), and send the signature "
        "along; Enarx's protocol can carry none: use v1.",
        "docs/steward.md, policy",
    ),
    "certificate.lifetime": Rule(
        "Fetch the collateral anew: a certificate does not outlive what it rests on, and too little of that is left.",
        "docs/steward.md, lifetimes",
    ),
    "renewal.certificate": Rule(
        "Send the chain as this Steward issued it; after another root, ask for a first certificate instead.",
        "docs/steward.md, renewal",
    ),
    "renewal.age": Rule(
        "Renew before the end, or within `[ca] renewal_grace` after it; else ask for a first certificate.",
        "docs/steward.md, renewal",
    ),
    "renewal.backend": Rule(
        "A Keep of another kind is another Keep: ask for a first certificate.", "docs/steward.md, renewal"
    ),
    "renewal.package": Rule(
        "A Keep with another package is another Keep: ask for a first certificate.", "docs/steward.md, renewal"
    ),
    "secret.granted": Rule(
        "Name kind and package of this Keep in the [[secret]] sections of the Steward's policy, or take the secret out "
        "of the manifest.",
        "docs/how-to/secrets.md",
    ),
    "binding.form": Rule(
        "Set `legacy_binding` in the policy for Enarx's clients, or use the v1 protocol.",
        "docs/steward.md, Enarx's protocol",
    ),
}
"""By the check's id."""
