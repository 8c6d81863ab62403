"""`enarx-deploy verify`: a client's view of a running service, check by check, and three answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.hardware_trust import HardwareOptions, hardware_options
from enarx_deploy.cli.reports import Result, report_options, require_writable, write
from enarx_deploy.errors import EnarxDeployError, UsageError, VerificationRefused

if TYPE_CHECKING:
    from datetime import datetime

    from enarx_deploy.verification import Check, Report

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
@hardware_options
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
    evidence: HardwareOptions,
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

    from enarx_deploy.cli.trust_in import Given, trust_in
    from enarx_deploy.verification import verify

    host, port = _parse_endpoint(endpoint)
    _require_writable(html)
    require_writable(junit, sarif)
    given = Given(root, accept, package, any_workload)
    trusted = trust_in(given, evidence, lambda: _expected_here(context, host, port), by_hardware=trust == "hardware")
    at = datetime.now(UTC)
    report = verify(host, port, trusted, at, name=_checked_name(server_name or host))
    context.emit(lambda: _shown(report, explain), report)
    try:
        if html is not None:
            _write_page(html, report, at)
        write(report.endpoint, [_result(check) for check in report.checks], junit=junit, sarif=sarif)
    except UsageError as error:  # what was found does not change when it cannot be written
        if report.ok:
            raise
        context.warn(str(error))
    if not report.ok:
        raise _refusal(report)


def _result(check: Check) -> Result:
    return Result(check.id, check.outcome, check.detail, check.hint, reference=check.reference)


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
    """Whether a Keep that listens there is what a client reaches by `host`. `localhost` may stand for any address of
    this machine: a Keep on all of them is recorded so."""
    return (
        listening in _EVERY_ADDRESS or listening == host or (_is_here(listening) and "localhost" in (listening, host))
    )


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


def _require_writable(path: Path | None) -> None:
    """Before anything is looked at, so that a mistake in the name costs nothing."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UsageError(f"--html {path}: not a file in an existing directory", hint="name the file to be written")


def _write_page(path: Path, report: Report, at: datetime) -> None:
    """Write the page. Raises UsageError."""
    from enarx_deploy import paths
    from enarx_deploy.verification import page

    try:
        paths.write_atomically(path, page.render(report, at), mode=0o644)
    except OSError as error:
        raise UsageError(f"--html {path}: {error.strerror}", hint="may you write there?") from error


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
