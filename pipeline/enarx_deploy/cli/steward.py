"""`enarx-deploy steward`: the Steward alone, in the foreground; and the end of the one in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from enarx_deploy.cli import steward_accept, steward_log
from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.service_options import faults_as, listener_options
from enarx_deploy.errors import StewardError, UsageError

if TYPE_CHECKING:
    from enarx_steward.options import Options
    from enarx_steward.record import Running
    from enarx_steward.root import Root

P = ParamSpec("P")
R = TypeVar("R")


@click.group(
    invoke_without_command=True,
    epilog="""\b
Files in the state directory:
  ca.key        the private key of the authority (mode 0600)
  root.pem      its root certificate: give it to clients, who pin it
  steward.toml  the policy: what is accepted, and which names and lifetimes
                certificates get. Without a policy no Steward starts.
  issuance.db   the issuance log, unless it is in another database

\b
The Steward speaks plain HTTP on this machine's loopback interface. For other
machines it speaks TLS 1.3, with --tls-cert and --tls-key or with a certificate
under its own root, for the host in the policy's
  [ca]
  audience = "https://steward.example.org"
""",
)
@listener_options(
    "127.0.0.1, and the last port or any free one", "Plain HTTP for other machines: anybody on the way can answer."
)
@click.option(
    "--state",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where key, root and policy are. Default: those of your own Steward, which `up` uses.",
)
@click.option("--policy", metavar="FILE", type=click.Path(path_type=Path), help="Default: steward.toml in DIR.")
@click.option("--database", metavar="URL", help="A PostgreSQL for log and challenges. Default: issuance.db in DIR.")
@click.option("--init", "initialise", is_flag=True, help="Make key, root and a policy that accepts nil Keeps, and end.")
@click.option("--stop", "end", is_flag=True, help="End the Steward that runs from DIR, such as the one `up` started.")
@click.option("--reload", "anew", is_flag=True, help="Have the Steward that runs from DIR read its policy again.")
@common_options()
def command(
    context: Context,
    /,
    state: Path | None,
    policy: Path | None,
    database: str | None,
    initialise: bool,
    end: bool,
    anew: bool,
    **listener: Any,
) -> None:
    """Run the Steward, which appraises the evidence of Keeps and issues their certificates.

    It runs until it is interrupted. `enarx-deploy up` needs none of this: where the manifest names no Steward, it
    starts one for you in the background and leaves it running; `enarx-deploy steward --stop` ends that one.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if initialise + end + anew > 1:
        raise UsageError(
            "--init, --reload and --stop exclude each other", hint="`enarx-deploy steward --help` tells what they do"
        )
    directory = (state or _own_state()).absolute()
    with faults_as(StewardError):
        if end:
            _stop(context, directory)
        elif anew:
            _reload(context, directory)
        elif initialise:
            _initialise(context, directory)
        else:
            options = _options(directory, policy, database, listener)
            _serve(context, options, own=state is None and policy is None)


command.add_command(steward_log.command, "log")
command.add_command(steward_accept.command)


def _serve(context: Context, options: Options, *, own: bool) -> None:
    from enarx_steward import server, state

    if own:
        state.prepare(options.state)
        if state.write_policy(options.state, written_by="enarx-deploy"):
            context.warn(f"wrote {options.state / state.POLICY}, which accepts Keeps without hardware protection (nil)")
    if options.transport == "insecure-http":
        context.warn(f"listening on {options.host} in clear: whoever is on the way can answer in its place")
    server.serve(options, lambda running: context.emit(_shown(running), running))


def _initialise(context: Context, directory: Path) -> None:
    from enarx_steward import state
    from enarx_steward.issuance import utc_now

    state.prepare(directory)
    written = state.write_policy(directory, written_by="enarx-deploy")
    state.load_root(directory, utc_now())
    root, policy = directory / state.ROOT, directory / state.POLICY
    told = f"policy       {policy} ({'accepts nil Keeps: read it' if written else 'was there'})"
    context.emit(
        f"root         {root}\n{told}",
        {"root_pem_path": str(root), "policy_path": str(policy), "policy_written": written},
    )


def _stop(context: Context, directory: Path) -> None:
    from enarx_steward import background

    stopped = background.stop(directory)
    told = f"ended the Steward at {stopped.url} (process {stopped.pid})" if stopped else "no Steward was running"
    context.emit(told, {"stopped": stopped is not None, "url": stopped.url if stopped else ""})


def _reload(context: Context, directory: Path) -> None:
    from enarx_steward import background

    running = background.reload(directory)
    if running is None:
        raise StewardError(f"no Steward runs from {directory}", hint="it reads its policy when it starts")
    context.emit(f"policy       {running.policy_path} is in force (sha256 {running.policy_sha256})", running)


def _shown(running: Running) -> str:
    metrics = f"metrics      {running.metrics_url}\n" if running.metrics_url else ""
    return (
        f"Steward      {running.url}\nroot         {running.root_pem_path}\npolicy       {running.policy_path}\n"
        f"{metrics}Ctrl-C ends it."
    )


def _options(directory: Path, policy: Path | None, database: str | None, listener: Mapping[str, Any]) -> Options:
    from enarx_steward.options import Options

    with faults_as(UsageError):
        chosen = Options.given(
            state=directory, policy=policy.absolute() if policy else None, database=database or "", **listener
        )
        _ = chosen.transport  # raises if they exclude each other
    return chosen


def _own_state() -> Path:
    from enarx_deploy import paths

    return paths.state_dir("steward")


def _state_option(function: Callable[P, R]) -> Callable[P, R]:
    return click.option(
        "--state",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Where key and root are. Default: those of your own Steward.",
    )(function)


_AFTER_ROLL = """
Next:
  enarx-deploy steward --reload     the Steward issues under the new root
  enarx-deploy renew                running Keeps show that they lead to both
Deploy Keeps that were started before anew (`enarx-deploy up --force`) before `ca finish`: a Keep keeps to the root of
its first certificate."""
_AFTER_FINISH = """
Next:
  enarx-deploy steward --reload     the Steward serves its own root alone
Keeps that were started under the root that was taken away are renewed no more: deploy them anew
(`enarx-deploy up --force`)."""


@command.group()
@common_options()
def ca(_context: Context) -> None:
    """Look at the Steward's authority, put it below another root, or replace it.

    What is changed is in force after `enarx-deploy steward --reload`.
    """


@ca.command()
@_state_option
@common_options()
def show(context: Context, state: Path | None) -> None:
    """Show the roots that clients may pin, with their digests."""
    from enarx_steward import state as files
    from enarx_steward.issuance import utc_now

    with faults_as(StewardError):
        _show(context, files.load_root(_with_root(state), utc_now()))


@ca.command()
@_state_option
@common_options()
def request(context: Context, state: Path | None) -> None:
    """Print a certificate request (PKCS#10) for the Steward's key, for a corporate authority to sign.

    What it issues must be an authority's certificate with a path length of 1 or more.
    """
    from enarx_steward import ceremony
    from enarx_steward.issuance import utc_now

    with faults_as(StewardError):
        pem = ceremony.request(_with_root(state), utc_now()).decode()
    context.emit(pem.rstrip(), {"request_pem": pem})


@ca.command()
@click.argument("chain", metavar="CHAIN.pem", type=click.Path(path_type=Path))
@click.option("--policy", metavar="FILE", type=click.Path(path_type=Path), help="Default: steward.toml in DIR.")
@_state_option
@common_options()
def install(context: Context, chain: Path, policy: Path | None, state: Path | None) -> None:
    """Put the Steward below the root at the end of CHAIN.pem, which begins with the Steward's own certificate.

    The chain is tried with every name of the policy first. Clients may pin that root from then on; the Steward's own
    goes on being good for those that pin it, if the certificate has the name that the request had.
    """
    from enarx_steward import ceremony
    from enarx_steward import policy as policies
    from enarx_steward import state as files
    from enarx_steward.issuance import utc_now

    directory = _with_root(state)
    with faults_as(StewardError):
        accepted = policies.load(policy or directory / files.POLICY)
        _show(context, ceremony.install(directory, _chain(chain), accepted, utc_now()))


@ca.command()
@_state_option
@click.option("--key", "label", default="", metavar="LABEL", help="What to call the new key, if it is in a token.")
@common_options()
def roll(context: Context, state: Path | None, label: str) -> None:
    """Replace the Steward's key and root; the old root certifies the new one.

    Clients that pin the old root are served until it ends or `finish`: give them the new one meanwhile. Where the key
    is in a token, the new one is made beside it under a label that no key has yet, as ca.toml then says.
    """
    from enarx_steward import ceremony
    from enarx_steward.issuance import utc_now

    with faults_as(StewardError):
        _show(context, ceremony.roll(_with_root(state), utc_now(), label), _AFTER_ROLL)


@ca.command()
@_state_option
@common_options()
def finish(context: Context, state: Path | None) -> None:
    """Take away the root above the Steward's: only clients that pin the Steward's own are served from then on."""
    from enarx_steward import ceremony
    from enarx_steward.issuance import utc_now

    with faults_as(StewardError):
        _show(context, ceremony.finish(_with_root(state), utc_now()), _AFTER_FINISH)


def _chain(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="name the file with the certificates that the authority above has issued"
        ) from error


def _show(context: Context, root: Root, then: str = "") -> None:
    from cryptography.hazmat.primitives.hashes import SHA256

    roots = [
        {
            "subject": certificate.subject.rfc4514_string(),
            "sha256": certificate.fingerprint(SHA256()).hex(),
            "not_after": f"{certificate.not_valid_after_utc:%FT%TZ}",
        }
        for certificate in (root.certificate, *root.above[-1:])
    ]
    lines = [f"root         {one['subject']}\n  sha256:{one['sha256']}, until {one['not_after']}" for one in roots]
    context.emit("\n".join([*lines, *([then] if then else [])]), {"roots": roots, "roots_pem": root.pems})


def _with_root(given: Path | None) -> Path:
    """The state directory, in which there is a root: nothing here is done to one that is made on the way."""
    from enarx_steward import state

    directory = (given or _own_state()).absolute()
    if not (directory / state.ROOT).is_file():
        raise StewardError(
            f"{directory} holds no Steward's root",
            hint="is it the right --state? `enarx-deploy steward --init --state DIR` makes one",
        )
    return directory
