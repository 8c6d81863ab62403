"""`enarx-deploy drawbridge`: a registry of packages, in the foreground."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.service_options import faults_as, listener_options
from enarx_deploy.errors import RegistryError, UsageError

if TYPE_CHECKING:
    from enarx_drawbridge.options import Options, Running


@click.command(
    epilog="""\b
Files in the store:
  drawbridge.toml  the policy: whose tokens and certificates are believed,
                   and how much each user may have
  drawbridge.db    users, repositories and tags
  blobs            contents, each under its digest

\b
The registry speaks plain HTTP on this machine's loopback interface. For other
machines, and for Keeps, it speaks TLS 1.3 with --tls-cert and --tls-key.
"""
)
@listener_options("127.0.0.1:8080; port 0 is any free one", "Plain HTTP for other machines too: tokens go in clear.")
@click.option(
    "--store",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where everything is. Default: below your own state.",
)
@click.option("--policy", metavar="FILE", type=click.Path(path_type=Path), help="Default: drawbridge.toml in DIR.")
@click.option("--init", "initialise", is_flag=True, help="Make the store and a policy to begin with, and end.")
@common_options()
def command(context: Context, /, store: Path | None, policy: Path | None, initialise: bool, **listener: Any) -> None:
    """Run a registry of packages, in the protocol of Enarx's Drawbridge.

    It runs until it is interrupted. Packages are stored by their digests; a tag is seen once all of its package is
    there, and never changes from then on.
    """
    directory = (store or _own_store()).absolute()
    if initialise:
        _initialise(context, directory)
        return
    _serve(context, _options(directory, policy, listener))


def _serve(context: Context, options: Options) -> None:
    from enarx_drawbridge import server

    if options.transport == "insecure-http":
        context.warn(f"listening on {options.host} in clear: whoever is on the way can take users' tokens")
    with faults_as(RegistryError):
        server.serve(options, lambda running: context.emit(_shown(running), running))


def _initialise(context: Context, directory: Path) -> None:
    from enarx_drawbridge import policy, store

    with faults_as(RegistryError):
        store.prepare(directory)
        written = policy.write_template(directory / policy.FILE)
    path = directory / policy.FILE
    context.emit(
        f"policy       {path} ({'name a provider of identities in it' if written else 'was there'})",
        {"policy_path": str(path), "policy_written": written},
    )


def _shown(running: Running) -> str:
    metrics = f"metrics      {running.metrics_url}\n" if running.metrics_url else ""
    missing = "" if Path(running.policy_path).exists() else " (is not there, so that nobody can write; --init makes it)"
    return (
        f"Drawbridge   {running.url}\nstore        {running.store}\npolicy       {running.policy_path}{missing}\n"
        f"{metrics}Ctrl-C ends it."
    )


def _options(directory: Path, policy: Path | None, listener: Mapping[str, Any]) -> Options:
    from enarx_drawbridge.options import Options

    with faults_as(UsageError):
        chosen = Options.given(store=directory, policy=policy.absolute() if policy else None, **listener)
        _ = chosen.transport  # raises if they exclude each other
    return chosen


def _own_store() -> Path:
    from enarx_deploy import paths

    return paths.state_dir("drawbridge")
