"""A machine's patch level (TCB), held to what the store of collateral says. Nothing is fetched.

| kind | this machine's level | what it is held to |
|---|---|---|
| snp | what the firmware reports, and which chip it is: `/dev/sev` | the chip's keys in the store, a policy's minimum |
| tdx, sgx | what a quote of this machine says | TCB info of its FMSPC in the store, signed by Intel |

Of Intel's machines only a quote tells the family (FMSPC) and the level that is attested. None has been looked at yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from enarx_attestation import VENDOR_ANCHORS, AttestationError, Claims, parse, verify
from enarx_attestation.amd_products import LINES, ProductLine, Tcb, at_least, line_of_cpu, show, tcb_components
from enarx_collateral import CollateralError, Store
from enarx_collateral.item import command, levels, tcb_text, vcek
from enarx_deploy.machine.cpu import Cpu
from enarx_deploy.machine.sev import snp_status
from enarx_deploy.machine.tree import Machine
from enarx_deploy.models import ProbeCheck

BY_QUOTE: Final = ("tdx", "sgx")
"""Kinds of which only evidence tells the level."""
_FIRMWARE: Final = "update the machine's firmware and the SEV firmware (linux-firmware, amd/), then `snphost commit`"
_TO_DO: Final = {
    "OutOfDate": "update the machine's firmware (BIOS), its microcode and, for TDX, its module",
    "OutOfDateConfigurationNeeded": "update the machine's firmware and microcode, and set it up as the advisories say",
    "ConfigurationNeeded": "set the firmware up as the advisories say, hyperthreading among it",
    "SWHardeningNeeded": "what runs in Keeps has to be hardened; a policy may accept that with `accept_statuses`",
    "ConfigurationAndSWHardeningNeeded": "set the firmware up as the advisories say, and harden what runs in Keeps",
    "Revoked": "let no policy accept this machine",
}
"""By Intel's word for a level."""


def snp(machine: Machine, store: Store, minimum: Mapping[str, Tcb]) -> Iterator[ProbeCheck]:
    """An SNP host's level. `minimum` is a policy's `minimum_tcb`, by product line. Nothing where firmware is silent."""
    status = snp_status(machine)
    family = Cpu(machine).family
    if status is None or family is None:
        return
    line = LINES.get(line_of_cpu(*family) or "")
    if line is None:
        known = ", ".join(sorted(LINES))
        yield _check(
            "TCB", False, f"family {family[0]}, model {family[1]} is none of {known}", "is there a newer version?"
        )
        return
    level = tcb_components(line, status.reported_tcb)
    if not status.vlek:  # whose keys are a provider's and not a chip's
        yield from _endorsed(machine, store, line, level)
    if line.name in minimum:
        wanted = minimum[line.name]
        told = f"{show(level)}; your Steward's policy asks for {show(wanted)}"
        yield _check("TCB minimum", at_least(level, wanted), told, _FIRMWARE)


def _endorsed(machine: Machine, store: Store, line: ProductLine, level: Tcb) -> Iterator[ProbeCheck]:
    """Whether the store has the chip's key for its level, and none for a higher one."""
    identity = machine.sev_chip()
    if identity is None:
        yield _check("TCB endorsed", False, "the chip does not say which it is", "let your user read /dev/sev")
        return
    wanted = vcek(line.name, identity[: line.chip_id_size].hex(), tcb_text(line, level))
    own = [dict(levels(line.name, item.key[2])) for item in store.items("vcek", *wanted.key[:2])]
    has = level in own
    told = f"{show(level)}; the store has {'the' if has else 'no'} key of this chip for it"
    yield _check("TCB endorsed", has, told, command([wanted]))
    higher = [other for other in own if other != level and at_least(other, level)]
    if own:
        told = f"{show(level)}" + (f"; the store has a key of this chip for {show(higher[0])}" if higher else "")
        yield _check("TCB newest", not higher, told, f"it reports less than it could: {_FIRMWARE}")


def by_quote(kind: str, quote: bytes, store: Store, at: datetime) -> ProbeCheck:
    """The level of the machine that made a quote, which is verified; revocation lists count where the store has any."""
    try:
        evidence = parse(quote, kind)
        claims = verify(evidence, store.find(evidence, at, revocation="prefer"), VENDOR_ANCHORS, at)
    except AttestationError as error:
        return _check(
            "TCB level", False, str(error), error.hint or "was it made by this machine, for this kind of Keep?"
        )
    except CollateralError as error:
        return _check("TCB level", False, str(error), error.hint)
    return _level(claims)


def unknown() -> ProbeCheck:
    """What is said of a machine of Intel's without a quote."""
    told = "not known here: the family of an Intel machine, and its level, are told by a quote"
    return _check("TCB level", False, told, "`--quote FILE` with one of this machine's, such as a Keep's evidence")


def _level(claims: Claims) -> ProbeCheck:
    failed = [check for check in claims.checks if not check.ok]
    if failed:
        told = "; ".join(f"{check.id}: {check.actual}" for check in failed)
        return _check("TCB level", False, f"the quote is not good: {told}", failed[0].hint)
    advisories = ", ".join(getattr(claims, "advisories", ()))
    told = claims.status + (f"; {advisories}" if advisories else "")
    return _check("TCB level", claims.status == "UpToDate", told, _TO_DO.get(claims.status, "see Intel's advisories"))


def _check(name: str, ok: bool, detail: str, hint: str) -> ProbeCheck:
    return ProbeCheck(name=name, ok=ok, detail=detail, hint="" if ok else hint, required=False)
