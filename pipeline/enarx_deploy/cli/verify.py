"""`enarx-deploy verify`: a client's view of a running service, check by check, and three answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from enarx_deploy.cli.accepted_backends import accepted_backends
from enarx_deploy.cli.collateral_store import store_option
from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.reports import Result, report_options, require_writable, write
from enarx_deploy.errors import EnarxDeployError, UsageError, VerificationRefused

if TYPE_CHECKING:
    from datetime import datetime

    from enarx_deploy.verification import Check, Report, Trust

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_EVERY_ADDRESS = ("::", "0.0.0.0", "")  # noqa: S104 — what a Keep may listen on, not what we do


@click.command(
    epilog="""\b
Exit statuses:
  0  every check passed
  1  nothing answers there
  2  wrong usage: a root or a digest that is none
  3  refused: something answers, and a check failed. Not TLS, silence, or
     TLS without an attested certificate are refusals too.

\b
Without --root, the root and the policy of your own Steward decide, and the
Keep that serves that port on this machine says which package is expected.
Where you have no Steward, nothing is trusted, and so everything is refused.

\b
With --trust hardware the evidence in the certificate is appraised here, under
the vendors' own roots, which are built in. Nothing is fetched: endorsements
come from --endorsements or from the collateral store. What may run is said by
--policy, --reference-values (the record that `attest` makes) or --measurement.
Keeps without hardware are refused.


Without it, --reference-values of nil or kvm hold the Keep's own word, which no
hardware vouches for, to the record: it finds another build, and no attack.
""",
)
@click.argument("endpoint", metavar="HOST:PORT")
@click.option("--root", metavar="PEM", type=click.Path(path_type=Path), help="Trust this root certificate alone.")
@click.option("--package", metavar="DIGEST", help="Expect this package: sha256: and 64 hexadecimal digits.")
@click.option("--any-workload", is_flag=True, help="Accept whichever package the Keep runs.")
@click.option("--accept", metavar="BACKEND", multiple=True, help="Accept this backend (nil, kvm, snp…); repeatable.")
@click.option(
    "--trust",
    type=click.Choice(["steward", "hardware"]),
    default="steward",
    show_default=True,
    help="Whose word the answer rests on.",
)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Hardware: what is accepted (TOML), with a section for each kind.",
)
@click.option(
    "--reference-values",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What is accepted, as the record of `attest` has it. With --trust steward: of a backend without hardware.",
)
@click.option("--measurement", metavar="HEX", help="Hardware: the launch measurement that is accepted.")
@click.option(
    "--endorsements",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Hardware: certificates and lists of the vendor. Default: the collateral store.",
)
@store_option
@click.option(
    "--revocation",
    type=click.Choice(["require", "prefer", "off"]),
    help="Hardware: whether current revocation lists are needed. Default: what the policy says, else require.",
)
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write the report as one page of HTML, with the chain of trust.",
)
@report_options
@click.option("--explain", is_flag=True, help="Show who asks for each check, and what to do.")
@click.option("--server-name", metavar="NAME", help="Expect a certificate for this name. Default: HOST.")
@common_options("target")
def command(
    context: Context,
    endpoint: str,
    root: Path | None,
    package: str | None,
    any_workload: bool,
    accept: tuple[str, ...],
    trust: Literal["steward", "hardware"],
    policy_file: Path | None,
    reference_values: Path | None,
    measurement: str | None,
    endorsements: Path | None,
    store: Path | None,
    revocation: Literal["require", "prefer", "off"] | None,
    html: Path | None,
    sarif: Path | None,
    junit: Path | None,
    explain: bool,
    server_name: str | None,
) -> None:
    """Check a running service: secure from whom, for how long, where.

    It connects as a client does, over TLS 1.3, and refuses what it cannot tell. The root is trusted to have appraised
    the Keep's evidence, unless --trust hardware does that here; everything else is checked here, and each check is
    shown.
    """
    from datetime import UTC, datetime

    from enarx_deploy.cli.hardware_trust import HardwareOptions, expected_without_hardware, hardware_trust
    from enarx_deploy.verification import verify

    host, port = _parse_endpoint(endpoint)
    _require_writable(html)
    require_writable(junit, sarif)
    options = HardwareOptions(policy_file, reference_values, measurement, endorsements, store, revocation, any_workload)
    hardware = hardware_trust(options, asked=trust == "hardware")
    software = None if hardware is not None else expected_without_hardware(options)
    package_from = "--package"
    if package is None and (referenced := hardware or software) is not None:
        package, package_from = referenced.package, str(reference_values)
    trusted = _trust(root, accept, package, any_workload, lambda: _expected_here(context, host, port), package_from)
    if hardware is not None:
        trusted = msgspec.structs.replace(trusted, hardware=hardware.trust)
    elif software is not None:
        trusted = msgspec.structs.replace(trusted, expected=software.expected)
    at = datetime.now(UTC)
    report = verify(host, port, trusted, at, name=_checked_name(server_name or host))
    context.emit(lambda: _shown(report, explain), report)
    if html is not None:
        _write_page(html, report, at)
    write(report.endpoint, [_result(check) for check in report.checks], junit=junit, sarif=sarif)
    if not report.ok:
        raise _refusal(report)


def _result(check: Check) -> Result:
    return Result(check.id, check.outcome, check.detail, check.hint, reference=check.reference)


def _trust(
    root: Path | None,
    accept: tuple[str, ...],
    package: str | None,
    any_workload: bool,
    expected_here: Callable[[], str | None],
    said_by: str,
) -> Trust:
    from enarx_deploy import paths
    from enarx_deploy.verification import Trust

    if package is not None and any_workload:
        raise UsageError("--package and --any-workload exclude each other", hint="leave one of them out")
    own = paths.state_dir("steward")
    accepted, accepted_by = accepted_backends(own if root is None else None, accept)
    root_path = root or own / "root.pem"
    trusts_nobody = root is None and not root_path.exists()
    package_from = said_by if package else "the Keep's record on this machine"
    return Trust(
        root_pem="" if trusts_nobody else _read_root(root_path),
        root_path=root_path,
        accepted=accepted,
        accepted_by=accepted_by,
        package=None if any_workload else _checked_digest(package) or expected_here(),
        package_from=package_from,
        any_workload=any_workload,
    )


def _read_root(path: Path) -> str:
    from cryptography import x509

    try:
        pem = path.read_text()
        (_,) = x509.load_pem_x509_certificates(pem.encode())
    except FileNotFoundError:
        raise UsageError(
            f"{path}: there is no root certificate to trust", hint="give the Steward's with --root PEM"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="--root takes a certificate in PEM") from error
    except ValueError as error:
        raise UsageError(
            f"{path}: not one certificate in PEM", hint="the root of a Steward is what `--root` takes"
        ) from error
    return pem


def _expected_here(context: Context, host: str, port: int) -> str | None:
    """The package of the Keep that serves this port on this machine; None if there is none, or it is not clear."""
    from enarx_deploy.cli.find_keep import all_keeps

    if not _is_here(host):
        return None
    packages = {
        keep.status.package
        for keep in all_keeps(context)
        if keep.alive and any(e.port == port and _serves(e.host, host) for e in keep.status.endpoints)
    }
    return packages.pop() if len(packages) == 1 else None


def _is_here(host: str) -> bool:
    return host in _LOOPBACK or host.startswith("127.")


def _serves(listening: str, host: str) -> bool:
    return listening in _EVERY_ADDRESS or listening == host or (_is_here(listening) and host == "localhost")


def _parse_endpoint(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UsageError(f"{text!r} is not HOST:PORT", hint="such as localhost:8443 or [::1]:8443")
    return _checked_name(host), int(port)


def _checked_name(name: str) -> str:
    try:
        encoded = name.encode("idna").decode()
    except UnicodeError:
        encoded = ""
    if not encoded or encoded.startswith(".") or not encoded.isprintable() or set(encoded) & set(" /@"):
        raise UsageError(f"{name!r} is not a host name", hint="such as localhost, keep.example.org or 127.0.0.1")
    return encoded


def _checked_digest(package: str | None) -> str | None:
    digits = (package or "").removeprefix("sha256:")
    if package is not None and (digits == package or len(digits) != 64 or set(digits) - set("0123456789abcdef")):
        raise UsageError(
            f"{package!r} is not sha256: and 64 hexadecimal digits", hint="`enarx-deploy package` prints the digest"
        )
    return package


def _require_writable(path: Path | None) -> None:
    """Before anything is looked at, so that a mistake in the name costs nothing."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UsageError(f"--html {path}: not a file in an existing directory", hint="name the file to be written")


def _write_page(path: Path, report: Report, at: datetime) -> None:
    """Write the page. What was found does not change when it cannot be written."""
    from enarx_deploy import paths
    from enarx_deploy.verification import page

    try:
        paths.write_atomically(path, page.render(report, at), mode=0o644)
    except OSError as error:
        if report.ok:
            raise UsageError(f"--html {path}: {error.strerror}", hint="may you write there?") from error
        click.echo(f"--html {path}: {error.strerror}", err=True)


def _shown(report: Report, explain: bool) -> str:
    lines = [line for check in report.checks for line in (_explained(check) if explain else _brief(check))]
    answers = (
        ("from whom", report.from_whom),
        ("for how long", report.for_how_long),
        ("where", report.where),
    )
    return "\n".join([report.endpoint, *lines, "", *_wrapped(answers)])


_OUTCOMES = {"passed": "ok", "failed": "FAILED", "skipped": "-"}


def _brief(check: Check) -> Iterator[str]:
    yield f"  {_OUTCOMES[check.outcome]:6}  {check.id:21} {check.detail}"
    if check.hint:
        yield f"  {'':6}  {'':21} to do: {check.hint}"


def _explained(check: Check) -> Iterator[str]:
    yield f"  {_OUTCOMES[check.outcome]:6}  {check.id}"
    parts = (("found", check.detail), ("to do", check.hint), ("see", check.reference))
    yield from (f"  {'':6}  {name:6} {text}" for name, text in parts if text)


def _wrapped(answers: Iterable[tuple[str, str]]) -> Iterable[str]:
    import textwrap

    for question, answer in answers:
        yield textwrap.fill(answer, 100, initial_indent=f"{question:13}", subsequent_indent=" " * 13)


def _refusal(report: Report) -> EnarxDeployError:
    if not report.reachable:
        return EnarxDeployError(
            f"{report.endpoint} does not answer: {report.failed[0].detail}",
            hint=report.failed[0].hint,
        )
    reasons = "; ".join(f"{check.id}: {check.detail}" for check in report.failed)
    return VerificationRefused(f"{report.endpoint} is refused: {reasons}", hint=report.failed[0].hint)
