"""`enarx-deploy kubernetes`: what belongs to clusters and to no project."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from enarx_deploy.errors import UsageError
from enarx_deploy.hookspecs import hookimpl


@click.group()
def kubernetes() -> None:
    """Render a Steward for a cluster; explain what a cluster says.

    A project is deployed to a cluster with `enarx-deploy up --target NAME`, where [deploy.NAME] has the target
    kubernetes.
    """


@kubernetes.command()
@click.argument("text", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def explain(text: tuple[str, ...], as_json: bool) -> None:
    """Say what an event or an error of a cluster means, and what to do. Without TEXT it is read from standard input.

    \b
    Example:
      kubectl describe pod shop-7d4b9 | enarx-deploy kubernetes explain
    """
    from enarx_kubernetes import faults

    said = " ".join(text) if text else sys.stdin.read(1 << 20)
    found = faults.explain(said)
    if found is None:
        raise UsageError("nothing is known of that", hint="give the text of the event or the error, whole")
    if as_json:
        click.echo(json.dumps({"fault": found.fault.name, "cause": found.cause, "fix": found.fix}))
        return
    click.echo(f"{found.cause}\n  {found.fix}")


@kubernetes.command()
@click.option(
    "--render",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the manifests there: plain YAML, and a base for Kustomize.",
)
@click.option("--url", required=True, metavar="https://HOST[:PORT]", help="How Keeps and clients reach the Steward.")
@click.option(
    "--repository", default="", metavar="oci://HOST/REPOSITORY", help="Build the Steward's image, and push it there."
)
@click.option(
    "--image", default="", metavar="HOST/REPOSITORY@sha256:HEX", help="Use this image, which is there already."
)
@click.option(
    "--base", default="", metavar="oci://…@sha256:HEX", help="Build the image on this one, which has a CPython."
)
@click.option("--namespace", default="enarx-steward", show_default=True, help="The namespace, which is rendered too.")
@click.option(
    "--replicas", default=2, show_default=True, type=click.IntRange(1, 100), help="Stewards over one database."
)
@click.option(
    "--pkcs11", default="", metavar="URI", help="The root's key is in this token, which each pod reaches by PKCS#11."
)
@click.option(
    "--policy",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Its policy (steward.toml), which names it as [ca] audience.",
)
@click.option("--database-image", default="", metavar="IMAGE@sha256:HEX", help="Render a PostgreSQL of this image too.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def steward(
    directory: Path,
    url: str,
    repository: str,
    image: str,
    base: str,
    namespace: str,
    replicas: int,
    pkcs11: str,
    policy: Path,
    database_image: str,
    as_json: bool,
) -> None:
    """Write the manifests of a Steward for a cluster: replicas over one PostgreSQL, with one root.

    No secret is written. The root's key and the database's URL come from Secrets that you make, as the README that is
    written beside the manifests says; with --pkcs11 the key never leaves its token.
    """
    from enarx_kubernetes import steward_files, stewards

    text = policy.read_text()
    stewards.require_policy(text, url)
    wanted = stewards.Wanted(
        url=url,
        namespace=namespace,
        replicas=replicas,
        image=image or steward_files.pushed(repository, base, _tell, pkcs11=bool(pkcs11)),
        pkcs11=pkcs11,
        policy=text,
        database_image=database_image,
    )
    written = [str(path) for path in steward_files.write(wanted, directory)]
    click.echo(json.dumps(written) if as_json else "\n".join(written))


def _tell(line: str) -> None:
    click.echo(line, err=True)


@hookimpl
def register_commands() -> Iterable[click.Command]:
    """The command `kubernetes`."""
    return [kubernetes]
