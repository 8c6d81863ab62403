"""The three answers, in words: secure from whom, for how long, where. What is not known is said to be not known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from enarx_attestation import Claims
from enarx_attestation.claims_extension import KeepClaims
from enarx_deploy.verification.certificate import Leaf, moment
from enarx_deploy.verification.connection import Peer
from enarx_deploy.verification.platform import Platform

_KINDS: Final = {"nil": "a process", "kvm": "a virtual machine"}
"""What a Keep without hardware is to its host."""
_STRENGTH: Final = {
    "ECDSA secp256r1": " (128 bits of strength, none against a quantum computer)",
    "ECDSA secp384r1": " (192 bits of strength, none against a quantum computer)",
}


def from_whom(found: KeepClaims, issuer: str, root_path: str) -> str:
    """Who is kept out, who is not, and on whose word."""
    word = f"The word for this is the Steward's whose root is {root_path} ({issuer})"
    if found.hardware:
        return (
            f"from the network, and from the operator of the machine as far as its {found.backend} hardware "
            f"({found.status}{_applying(found)}) keeps its promise. {word}, which appraised the hardware's evidence. "
            "Whether it lets the operator debug the Keep is up to its policy: `--trust hardware` shows that."
        )
    kind = _KINDS.get(found.backend, "software")
    return (
        "from whoever is on the network between you and the machine. NOT from that machine: "
        f"a {found.backend} Keep is {kind} without hardware protection, so that its operator, root, and whoever runs "
        f"as the same user can read and change all of it. {word}; it had the Keep's own to go by, so that any program "
        "that reaches that Steward could have got this certificate."
    )


def _applying(found: KeepClaims) -> str:
    return f"; {', '.join(found.advisories)} apply" if found.advisories else ""


def for_how_long(leaf: Leaf, peer: Peer, at: datetime) -> str:
    """Until when, how strong, and who sees to what comes after."""
    return (
        f"until {moment(leaf.not_after)}, {_left(leaf.not_after - at)} from now (since {moment(leaf.not_before)}). "
        f"The key is {leaf.key_name}{_STRENGTH.get(leaf.key_name, '')}, the channel {peer.version} with {peer.cipher}: "
        "what was recorded stays closed if that key becomes known later. Whether the certificate is renewed is up to "
        "the Keep's host, which asks for a new one from half of its life on, for a new key."
    )


def where(found: KeepClaims, peer: Peer, endpoint: str) -> str:
    """Where TLS ends, and what the host sees all the same."""
    package = f"package {found.package}" if found.package else "a package that it does not name"
    if found.package_signers:
        package += f" (signed by {', '.join(found.package_signers)})"
    measured = f" with measurement {found.measurement}" if found.measurement else ""
    seen = "when, how much and with whom it speaks" if found.hardware else "all that it does"
    verb = "runs, by that Steward's word," if found.hardware else "says that it runs"
    return (
        f"TLS ends in a {found.backend} Keep{measured} that {verb} {package}, on the machine that answers for "
        f"{endpoint} ({peer.address}). That machine sees {seen}."
    )


def by_name_alone(leaf: Leaf) -> str:
    """What a certificate comes to that is good and says nothing of a Keep, such as one of a web authority (ACME)."""
    return (
        f"The certificate is a good one of {leaf.issuer}, whose word it is that who holds the key controls the name. "
        "Nobody looked at evidence of a Keep, so that it may be any program on any machine"
    )


def from_whom_by_hardware(found: Platform) -> str:
    """Who is kept out on the word of the hardware's vendor, and who is not."""
    tcb = f", TCB {found.tcb}" if found.tcb else ""
    others = "the operator of the machine, its hypervisor and its other tenants"
    kept_out = f"NOT from {others}" if found.debug else f"and from {others} as far as {found.tee} keeps its promise"
    return (
        f"from the network, {kept_out}: status {found.status}{tcb}; {_advisories(found)}; {_debugging(found)}. The "
        f"word for this is {found.vendor}'s, whose root is built in; the evidence was appraised here, and no Steward "
        "is trusted for it. NOT from whoever can open the machine and measure its chips, nor from mistakes of the "
        "program itself."
    )


def for_how_long_by_hardware(leaf: Leaf, peer: Peer, found: Claims, at: datetime, *, challenged: bool) -> str:
    """Until when, and how old what was looked at can be."""
    ends = min(filter(None, (leaf.not_after, found.valid_until)))
    what = "the certificate" if ends == leaf.not_after else "what the vendor says of the platform"
    endorsed = f"; the vendor's statements hold until {moment(found.valid_until)}" if found.valid_until else ""
    return (
        f"until {moment(ends)}, {_left(ends - at)} from now, when {what} ends (certificate since "
        f"{moment(leaf.not_before)}{endorsed}). {_age(peer, challenged=challenged)} "
        "Shown here is that the Keep which made it holds "
        f"the key of this connection. The key is {leaf.key_name}{_STRENGTH.get(leaf.key_name, '')}, the channel "
        f"{peer.version} with {peer.cipher}: what was recorded stays closed if that key becomes known later."
    )


def where_by_hardware(
    found: Platform, package: str | None, peer: Peer, endpoint: str, *, measured_as_wanted: bool
) -> str:
    """Where TLS ends; and that hardware knows no names."""
    runs = f"runs package {package}" if package else "runs a package that the evidence does not name"
    if not measured_as_wanted:
        runs = f"says that it {runs} (what it is was not compared, so that this is a stranger's word)"
    return (
        f"TLS ends in a Keep in {found.tee} with measurement {found.measurement or 'as the checks show'} that "
        f"{runs}, on the machine that answers for {endpoint} ({peer.address}). That machine sees when, how much and "
        "with whom the Keep speaks. Whose machine it is, and that the name is rightly its, hardware does not say."
    )


def _age(peer: Peer, *, challenged: bool) -> str:
    """How old evidence can be, which hardware does not say, and on whose word."""
    if peer.chain_fault or peer.time_fault:
        return (
            "Nobody whom you trust issued the certificate, so that its times are the peer's own word, and the evidence "
            "may be of any age."
        )
    if challenged:
        return (
            "The evidence was made before the certificate, for a challenge of the Steward: that it was fresh then is "
            "the Steward's word."
        )
    return "The evidence was made before the certificate, for no challenge: it may be of any age."


def _advisories(found: Platform) -> str:
    if found.advisories is None:
        return f"{found.vendor}'s endorsements name no advisories"
    return f"advisories {', '.join(found.advisories)}" if found.advisories else "no advisory applies"


def _debugging(found: Platform) -> str:
    if found.debug is None:
        return "of debugging it says nothing"
    return "debugging is ON, so that the host can read and change all of it" if found.debug else "debugging is off"


def _left(left: timedelta) -> str:
    minutes = int(left.total_seconds()) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
