"""`enarx-deploy appraise`: evidence in a file, against endorsements in a directory and a policy, at a moment.

Nothing is fetched. What the file and the endorsements hold may be hostile: they are read once, within bounds, and
whatever is wrong with them is part of the verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from enarx_deploy.cli import evidence_files
from enarx_deploy.cli.collateral_store import open_store, store_option
from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError, VerificationRefused

if TYPE_CHECKING:
    from enarx_attestation import Check, Collateral, Endorse, Evidence, Policy, Verdict

_UNPROTECTED = ("nil", "kvm")  # anyone can write such evidence, so that a policy has to ask for it by name
_REPORT_DATA = re.compile(r"(?:[0-9A-Fa-f]{2}){1,64}")
_MALFORMED = ("evidence.malformed", "collateral.malformed")
_CELL = 34  # columns of a cell in the table; --explain and --json show all

Mode = Literal["require", "prefer", "off"]


@click.command(
    epilog="""\b
FILE holds evidence as the platform made it, or that in hexadecimal, base64 or
PEM.

\b
Exit statuses:
  0  accepted
  2  wrong usage, or a file or directory that cannot be read
  3  refused: a check failed. Evidence and endorsements that are malformed
     or missing are refused too.

\b
Names in the directory of endorsements; others are not looked at:
  vcek.der, vlek.der   AMD: the endorsement key's certificate (or .pem, .crt)
  ca_chain.pem         AMD: its issuers; not needed, as they are pinned
  crl*.der             AMD: revocation lists (or .pem, .crl)
  collateral.json      Intel: TCB info, enclave identity, chains and lists
  platform.pub.pem     Arm CCA: the platform's public key

\b
Without --policy and without --any-workload nothing is accepted.

\b
With --collateral endorsements are those that `enarx-deploy collateral`
has fetched or imported.
""",
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--kind", metavar="KIND", required=True, help="snp, sgx, tdx, az-snp, nitro, cca, nil or kvm.")
@click.option(
    "--endorsements",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Certificates, revocation lists and statements of the vendor.",
)
@click.option("--collateral", is_flag=True, help="Take endorsements from the store instead.")
@store_option
@click.option("--at", metavar="TIME", help="Verify as of this time (RFC 3339, or Unix seconds). Default: now.")
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What is accepted (TOML), with a section for the kind.",
)
@click.option("--any-workload", is_flag=True, help="Accept whatever runs in the Keep. The result says so.")
@click.option(
    "--revocation",
    type=click.Choice(["require", "prefer", "off"]),
    help="Whether current revocation lists are needed. Default: what the policy says, else require.",
)
@click.option("--report-data", metavar="HEX", help="Expect these 1 to 64 bytes, padded with zeros.")
@click.option(
    "--event-log",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Of a TDX domain (CCEL): what it measured must be what the quote's registers hold.",
)
@click.option("--explain", is_flag=True, help="Show every check, and the specification that asks for it.")
@common_options()
def command(
    context: Context,
    file: Path,
    kind: str,
    endorsements: Path | None,
    collateral: bool,
    store: Path | None,
    at: str | None,
    policy_file: Path | None,
    any_workload: bool,
    revocation: str | None,
    report_data: str | None,
    event_log: Path | None,
    explain: bool,
) -> None:
    """Appraise evidence in FILE, and say of each check how it came out.

    Chains must end in the vendors' own roots, which are built in; nothing is fetched, and no policy can add a root.
    The defaults are strict: an Intel platform must be UpToDate, revocation lists must be there and current, and the
    policy must name the workload.
    """
    evidence_files.require_known(kind)
    moment = datetime.now(UTC) if at is None else evidence_files.moment_of(at)
    expected = None if report_data is None else _expected(report_data)
    policy = _policy(kind, policy_file, any_workload, cast(Mode | None, revocation))
    source = _source(endorsements, collateral, store, policy, kind, moment)
    data = evidence_files.read_evidence(file)
    verdict = _verdict(data, source, policy, kind, moment, expected)
    if event_log is not None:
        verdict = _with_event_log(verdict, event_log, kind)
    if policy_file is None and policy.section(kind) is None:
        verdict = _without_policy(verdict, kind)
    context.emit(lambda: _shown(verdict, file, moment, explain), _record(verdict))
    if not verdict.ok:
        first = verdict.failed[0]
        if first.id in _MALFORMED:  # how it is wrong, which the table's cell cuts off
            raise VerificationRefused(f"{file} is refused: {first.id}: {first.actual}", hint=first.hint)
        failed = ", ".join(check.id for check in verdict.failed)
        raise VerificationRefused(f"{file} is refused: {failed}", hint=f"{first.id}: {first.hint}")


def _source(
    endorsements: Path | None, collateral: bool, store: Path | None, policy: Policy, kind: str, moment: datetime
) -> Endorse:
    """Where collateral comes from: the store, or the directory and what came along with the evidence."""
    from enarx_attestation import MalformedCollateral, endorse_with
    from enarx_collateral import MissingCollateral

    if endorsements is not None and collateral:
        raise UsageError("--endorsements and --collateral exclude each other", hint="give one of the two")
    if not collateral:
        return endorse_with({} if endorsements is None else evidence_files.read_endorsements(endorsements))
    kept, section = open_store(store), policy.section(kind)

    def find(evidence: Evidence, _shown: Mapping[str, bytes]) -> Collateral:
        try:
            return kept.find(evidence, moment, revocation=getattr(section, "revocation", "require"))
        except MissingCollateral as error:
            raise MalformedCollateral(f"{error}; {error.hint}" if error.hint else str(error)) from error

    return find


def _verdict(
    data: bytes, source: Endorse, policy: Policy, kind: str, moment: datetime, expected: bytes | None
) -> Verdict:
    from enarx_attestation import InvalidArgument, appraise_with

    try:
        return appraise_with(data, source, policy, kind=kind, at=moment, expected=expected)
    except InvalidArgument as error:
        raise UsageError(str(error), hint=error.hint) from error


def _with_event_log(verdict: Verdict, file: Path, kind: str) -> Verdict:
    """The verdict with the log's checks; evidence that could not be read has no registers to compare."""
    from enarx_attestation import TdxClaims, ccel

    if kind != "tdx":
        raise UsageError(f"--event-log is of TDX domains, not of {kind}", hint="leave it out")
    log = evidence_files.read(file, ccel.MAX_SIZE)
    return ccel.with_log_of_file(verdict, log) if isinstance(verdict.claims, TdxClaims) else verdict


def _expected(text: str) -> bytes:
    if _REPORT_DATA.fullmatch(text) is None:
        raise UsageError(
            f"--report-data: {text!r} is not 1 to 64 bytes in hexadecimal", hint="two digits for each byte"
        )
    return bytes.fromhex(text)


def _policy(kind: str, path: Path | None, any_workload: bool, revocation: Mode | None) -> Policy:
    """The file's policy with the options laid over the section of `kind`; options alone make no file's section."""
    from enarx_attestation import PolicyError, load_policy, policy_for

    name = kind.replace("-", "_")
    tables = {} if path is None else evidence_files.read_tables(path)
    if path is None and any_workload and kind not in _UNPROTECTED:
        tables = {name: {}}
    shown = "the options" if path is None else str(path)
    try:
        if not isinstance(tables.get(name), dict):
            return load_policy(tables)
        return policy_for(kind, tables, any_workload=any_workload, revocation=revocation)
    except PolicyError as error:
        raise UsageError(f"{shown}: {error}", hint=error.hint or evidence_files.POLICY_HINT) from error


def _without_policy(verdict: Verdict, kind: str) -> Verdict:
    """The verdict with the reason why nothing could have been accepted."""
    import msgspec

    from enarx_attestation import Check

    hint = f"Give --policy FILE with a section [{kind.replace('-', '_')}] that lists measurements or signers"
    off = "; no hardware protects such a Keep." if kind in _UNPROTECTED else ", or --any-workload to accept any."
    check = Check(
        "policy.workload",
        "failed",
        "a policy with a measurement or a signer",
        "no policy was given",
        hint + off,
        "RFC 9334, section 8.5",
    )
    made = verdict.checks
    place = next((index for index, found in enumerate(made) if found.id == "policy.kind"), len(made))
    return msgspec.structs.replace(verdict, checks=(*made[:place], check, *made[place:]))


def _record(verdict: Verdict) -> dict[str, Any]:
    record = verdict.to_builtins()
    record["checks"] = [
        {"id": shown["id"], "ok": check.ok, **shown}
        for check, shown in zip(verdict.checks, record["checks"], strict=True)
    ]
    return record


def _shown(verdict: Verdict, file: Path, moment: datetime, explain: bool) -> str:
    protection = "" if verdict.claims.hardware or not verdict.ok else "; no hardware protects this Keep"
    word = "accepted" if verdict.ok else "REFUSED"
    about = f"{verdict.kind} evidence in {file}, status {verdict.status}, at {moment.isoformat()}"
    lines = [f"{word}: {about}{protection}"]
    lines += [f"named off: {check.id}, {check.expected}" for check in verdict.checks if check.outcome == "skipped"]
    if verdict.failed:
        lines += ["", _failures(verdict)]
    if explain:
        lines += ["", *(line for check in verdict.checks for line in _explained(check))]
    return "\n".join(_printable(line) for line in "\n".join(lines).split("\n"))


def _failures(verdict: Verdict) -> str:
    from enarx_deploy.cli.table import table

    head = ("failed check", "expected", "found", "what to do")
    rows = [(check.id, _cut(check.expected), _cut(check.actual), check.hint) for check in verdict.failed]
    return table(head, [tuple(_printable(cell) for cell in row) for row in rows])


def _explained(check: Check) -> Iterator[str]:
    yield f"{'FAILED' if not check.ok else check.outcome:8} {check.id}"
    parts = (("expected", check.expected), ("found", check.actual), ("to do", check.hint), ("see", check.reference))
    yield from (f"         {name:9} {_printable(text)}" for name, text in parts if text)


def _cut(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _printable(text: str) -> str:
    """Without what a terminal would act on: some of the text is the attester's."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
