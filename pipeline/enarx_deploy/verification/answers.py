"""The three answers, in words: secure from whom, for how long, where. What is not known is said to be not known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from enarx_attestation.claims_extension import KeepClaims
from enarx_deploy.verification.certificate import Leaf, moment
from enarx_deploy.verification.connection import Peer

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
            f"({found.status}) keeps its promise. {word}, which appraised the hardware's evidence."
        )
    kind = _KINDS.get(found.backend, "software")
    return (
        "from whoever is on the network between you and the machine. NOT from that machine: "
        f"a {found.backend} Keep is {kind} without hardware protection, so that its operator, root, and whoever runs "
        f"as the same user can read and change all of it. {word}; it had the Keep's own to go by, so that any program "
        "that reaches that Steward could have got this certificate."
    )


def for_how_long(leaf: Leaf, peer: Peer, at: datetime) -> str:
    """Until when, how strong, and who sees to what comes after."""
    return (
        f"until {moment(leaf.not_after)}, {_left(leaf.not_after - at)} from now (since {moment(leaf.not_before)}). "
        f"The key is {leaf.key_name}{_STRENGTH.get(leaf.key_name, '')}, the channel {peer.version} with {peer.cipher}: "
        "what was recorded stays closed if that key becomes known later. Nobody renews the certificate: a new one "
        "comes with a new Keep (`enarx-deploy up`)."
    )


def where(found: KeepClaims, peer: Peer, endpoint: str) -> str:
    """Where TLS ends, and what the host sees all the same."""
    package = f"package {found.package}" if found.package else "a package that it does not name"
    seen = "when, how much and with whom it speaks" if found.hardware else "all that it does"
    verb = "runs" if found.hardware else "says that it runs"
    return (
        f"TLS ends in a {found.backend} Keep that {verb} {package}, on the machine that answers for {endpoint} "
        f"({peer.address}). That machine sees {seen}."
    )


def _left(left: timedelta) -> str:
    minutes = int(left.total_seconds()) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
