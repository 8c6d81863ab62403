"""What `verify --trust hardware` accepts, and where it finds endorsements."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import click

from enarx_deploy.cli import evidence_files
from enarx_deploy.cli.collateral_store import open_store, store_option
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_attestation import Collateral, Evidence, Policy
    from enarx_deploy.models import ReferenceValues
    from enarx_deploy.verification import Expected, Hardware

R = TypeVar("R")

MAX_RECORD = 1 << 20  # bytes

_MEASURED = {
    64: {"sgx": "mrenclaves"},
    96: {"snp": "measurements", "az_snp": "measurements", "tdx": "mrtds"},
}
"""Which measurements have so many hexadecimal digits, by section of a policy."""
_HARDWARE_SECTIONS = ("snp", "sgx", "tdx", "az_snp", "nitro", "cca")
_REVOCABLE = ("snp", "sgx", "tdx", "az_snp")


class HardwareOptions(NamedTuple):
    """The options that only matter with --trust hardware, and --any-workload."""

    policy_file: Path | None
    reference_values: Path | None
    measurement: str | None
    endorsements: Path | None
    store: Path | None
    revocation: Literal["require", "prefer", "off"] | None
    any_workload: bool


_OPTIONS = (
    click.option(
        "--policy",
        "policy_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Hardware: what is accepted (TOML), with a section for each kind.",
    ),
    click.option(
        "--reference-values",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="What is accepted, as the record of `attest` has it. With --trust steward: of a backend without hardware.",
    ),
    click.option("--measurement", metavar="HEX", help="Hardware: the launch measurement that is accepted."),
    click.option(
        "--endorsements",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Hardware: certificates and lists of the vendor. Default: the collateral store.",
    ),
    store_option,
    click.option(
        "--revocation",
        type=click.Choice(["require", "prefer", "off"]),
        help="Hardware: whether current revocation lists are needed. Default: what the policy says, else require.",
    ),
)


def hardware_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command these options, which it gets as one: `evidence`. It must have `any_workload` itself."""

    @functools.wraps(function)
    def wrapped(*args: Any, any_workload: bool, **options: Any) -> R:
        own = {name: options.pop(name) for name in HardwareOptions._fields if name in options}
        evidence = HardwareOptions(**own, any_workload=any_workload)
        return function(*args, any_workload=any_workload, evidence=evidence, **options)

    command: Callable[..., R] = wrapped
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class HardwareTrust(NamedTuple):
    """How evidence is appraised, and the package that the reference values name."""

    trust: Hardware
    package: str | None


class SoftwareExpected(NamedTuple):
    """What evidence of a Keep without hardware is compared with, and the package that the reference values name."""

    expected: Expected
    package: str


def hardware_trust(options: HardwareOptions, *, asked: bool) -> HardwareTrust | None:
    """None unless it was asked for. Raises UsageError."""
    from enarx_deploy.verification import Hardware

    if not asked:
        _refuse_leftover(options)
        return None
    tables, policy_from, package = _tables(options)
    endorse, endorsed_by = _endorse(options)
    policy = None if tables is None else _policy(tables, policy_from, options.revocation)
    trust = Hardware(policy=policy, policy_from=policy_from, endorse=endorse, endorsed_by=endorsed_by)
    return HardwareTrust(trust, package)


def expected_without_hardware(options: HardwareOptions) -> SoftwareExpected | None:
    """What --reference-values of a backend without hardware expect; None where they were not given.

    Raises UsageError.
    """
    from enarx_deploy.verification import Expected

    path = options.reference_values
    if path is None:
        return None
    record = _record(path)
    if record.hardware:
        raise UsageError(
            f"{path}: what {record.backend} measures is told by hardware, and compared with --trust hardware alone",
            hint="add --trust hardware, or leave --reference-values out",
        )
    policy = _policy(evidence_files.rules_of(record.policy), str(path), None)
    return SoftwareExpected(Expected(policy=policy, policy_from=str(path)), record.package)


def _refuse_leftover(options: HardwareOptions) -> None:
    given = {
        "--policy": options.policy_file,
        "--measurement": options.measurement,
        "--endorsements": options.endorsements,
        "--revocation": options.revocation,
    }
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{name} is of no use with --trust steward", hint="add --trust hardware, or leave it out")


def _tables(options: HardwareOptions) -> tuple[dict[str, Any] | None, str, str | None]:
    """The policy's sections, who says so, and the package that is expected."""
    sources = (options.policy_file, options.reference_values, options.measurement)
    if sum(source is not None for source in sources) > 1:
        raise UsageError(
            "--policy, --reference-values and --measurement exclude each other",
            hint="give the one that says what may run",
        )
    if options.policy_file is not None:
        return evidence_files.read_tables(options.policy_file), str(options.policy_file), None
    if options.reference_values is not None:
        return _referenced(options.reference_values)
    if options.measurement is not None:
        return _measured(options.measurement), "--measurement", None
    if options.any_workload:
        return {name: {"any_workload": True} for name in _HARDWARE_SECTIONS}, "--any-workload", None
    return None, "", None


def _referenced(path: Path) -> tuple[dict[str, Any], str, str]:
    record = _record(path)
    return evidence_files.rules_of(record.policy), str(path), record.package


def _record(path: Path) -> ReferenceValues:
    import msgspec

    from enarx_deploy.models import ReferenceValues

    data = evidence_files.read(path, MAX_RECORD)
    try:
        return _signed(data, path) if b'"payloadType"' in data else msgspec.json.decode(data, type=ReferenceValues)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: not a record of reference values: {error}", hint="`enarx-deploy attest --json` prints one"
        ) from error


def _signed(envelope: bytes, path: Path) -> ReferenceValues:
    """What `attest --statement` wrote: it counts as far as a key that this user trusts signed it."""
    from datetime import UTC

    from enarx_deploy import reference_statement
    from enarx_deploy.trusted_signers import load

    return reference_statement.read(envelope, load(), datetime.now(UTC), str(path))[0]


def _measured(digits: str) -> dict[str, Any]:
    known = _MEASURED.get(len(digits))
    if known is None or re.fullmatch("[0-9A-Fa-f]+", digits) is None:
        raise UsageError(
            f"--measurement: {digits!r} is not a launch measurement",
            hint="96 hexadecimal digits for SEV-SNP and TDX, 64 for SGX",
        )
    return {section: {name: [digits.lower()]} for section, name in known.items()}


def _policy(tables: dict[str, Any], policy_from: str, revocation: str | None) -> Policy:
    from enarx_attestation import PolicyError, load_policy

    sections = dict(tables)
    for name in _REVOCABLE if revocation else ():
        if isinstance(sections.get(name), dict):
            sections[name] |= {"revocation": revocation}
    try:
        return load_policy(sections)
    except PolicyError as error:
        raise UsageError(f"{policy_from}: {error}", hint=error.hint or evidence_files.POLICY_HINT) from error


def _endorse(options: HardwareOptions) -> tuple[Callable[[Evidence, datetime], Collateral], str]:
    from enarx_attestation import load_endorsements

    if options.endorsements is not None:
        files = evidence_files.read_endorsements(options.endorsements)
        return lambda evidence, _at: load_endorsements(evidence.kind, files, evidence), str(options.endorsements)
    store = open_store(options.store)
    mode = options.revocation or "prefer"  # whether lists are required is for the policy to say
    return lambda evidence, at: store.find(evidence, at, revocation=mode), f"the collateral store {store.directory}"
