"""`enarx-deploy user`: logins at a Drawbridge, and the names of users there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.drawbridge_names import registry_of, user_of
from enarx_deploy.errors import RegistryError, UsageError

if TYPE_CHECKING:
    from enarx_deploy.reference import Reference
    from enarx_drawbridge.client.connection import Connection
    from enarx_drawbridge.client.logins import Login
    from enarx_drawbridge.client.oidc import Device

_SECRET = "ENARX_OIDC_CLIENT_SECRET"  # noqa: S105 — the name of a variable


@click.group()
@common_options()
def command(_context: Context) -> None:
    """Log in at a Drawbridge, and register a user's name there.

    \b
    Environment, as in Enarx:
      ENARX_INSECURE_AUTH_TOKEN  a token that goes before any login, to the registry of --host or ENARX_REGISTRY alone
      ENARX_DEPLOY_ID_TOKEN      the token of a CI job, to the same one alone
      ENARX_CREDENTIAL_HELPER    a program that has the tokens
      ENARX_CA_BUNDLE            PEM file with the only roots to believe
      ENARX_OIDC_CLIENT_SECRET   of the client, for --oidc-flow client
    """


@command.command()
@click.argument("host", default="")
@click.option(
    "--oidc-issuer",
    "--oidc-domain",
    "issuer",
    metavar="URL",
    envvar="ENARX_OIDC_DOMAIN",
    help="The provider of identities. Default: the one that the registry names.",
)
@click.option(
    "--oidc-client-id",
    "client_id",
    metavar="ID",
    envvar="ENARX_OIDC_CLIENT_ID",
    help="The client's name there. Default: the one that the registry names.",
)
@click.option(
    "--oidc-audience", "audience", metavar="URL", help="What the token is for. Default: as the registry says."
)
@click.option(
    "--oidc-flow",
    "flow",
    type=click.Choice(["device", "client"]),
    default="device",
    show_default=True,
    help="Confirm in a browser; or with the secret of a client.",
)
@click.option(
    "--credential-helper", "helper", metavar="PROGRAM", envvar="ENARX_CREDENTIAL_HELPER", help="Let it keep the token."
)
@common_options("registry")
def login(
    context: Context,
    host: str,
    issuer: str | None,
    client_id: str | None,
    audience: str | None,
    flow: str,
    helper: str | None,
) -> None:
    """Log in at the registry HOST, by confirming in a browser. One of this machine that has no TLS is named
    drawbridge+http://HOST.

    The token is kept in a file of yours alone, or by --credential-helper: a program that is called with `insert ID`,
    and reads it, and with `show ID`, and prints it.
    """
    import msgspec

    from enarx_deploy import drawbridge_client

    place = registry_of(context, host)
    with drawbridge_client.connected(place.host, in_clear=place.in_clear) as connection:
        _require_tls_or_a_name(connection, place)
        connection.require_way_for_a_login(connection.scheme)
        found = _login(connection, place.host, issuer, client_id, audience, flow)
        found = msgspec.structs.replace(found, helper=helper or "", scheme=connection.scheme)
        drawbridge_client.logins().keep(place.host, found)
    record = {"registry": place.host, "issuer": found.issuer, "expires": found.expires or None}
    context.emit(f"logged in at {place.host}", record)


@command.command()
@click.argument("host", default="")
@common_options("registry")
def logout(context: Context, host: str) -> None:
    """Forget the login at the registry HOST. A credential helper's own store stays as it is."""
    from enarx_deploy import drawbridge_client

    place = registry_of(context, host)
    there = drawbridge_client.logins().forget(place.host)
    told = f"logged out of {place.host}" if there else f"there was no login at {place.host}"
    context.emit(told, {"registry": place.host, "logged_out": there})


@command.command()
@click.argument("user")
@common_options("registry")
def register(context: Context, user: str) -> None:
    """Register USER, which is [HOST/]NAME: letters and digits. It belongs to whoever is logged in."""
    from enarx_deploy import drawbridge_client

    place = user_of(context, user)
    with drawbridge_client.connected(place.host, in_clear=place.in_clear) as connection:
        subject = _subject(connection, place.host)
        body = json.dumps({"subject": subject}, separators=(",", ":")).encode()
        new = connection.put_bytes(place.path, body, "application/json")
    told = f"registered {place.host}/{place.path}" if new else f"{place.host}/{place.path} is yours already"
    context.emit(told, {"registry": place.host, "user": place.path, "subject": subject, "new": new})


@command.command()
@click.argument("user")
@common_options("registry")
def show(context: Context, user: str) -> None:
    """Show the subject of USER, which is [HOST/]NAME. Only that subject is told."""
    from enarx_deploy import drawbridge_client
    from enarx_deploy.cli.drawbridge_names import record

    place = user_of(context, user)
    with drawbridge_client.connected(place.host, in_clear=place.in_clear) as connection:
        found: dict[str, Any] = record(connection.get(place.path)[0], place.host)
    context.emit(f"subject      {found.get('subject')}", found)


def _require_tls_or_a_name(connection: Connection, place: Reference) -> None:
    """A login goes in clear only where its user says so, also on this machine, of which others may have the port."""
    if connection.scheme != "https" and not place.in_clear:
        raise UsageError(
            f"{place.host} does not speak TLS, and a login would go in clear",
            hint=f"`enarx-deploy user login drawbridge+http://{place.host}` asks for that by name",
        )


def _login(
    connection: Connection,
    host: str,
    issuer: str | None,
    client_id: str | None,
    audience: str | None,
    flow: str,
) -> Login:
    import os

    from enarx_drawbridge.client import oidc

    if flow == "client" and not issuer:
        raise UsageError(
            "--oidc-flow client needs --oidc-issuer: a secret goes to whom you name, not to whom a registry names",
            hint="--oidc-issuer URL, or ENARX_OIDC_DOMAIN",
        )
    if not (issuer and client_id and audience):
        said = connection.metadata()
        issuer = issuer or next(iter(said.authorization_servers), "")
        client_id = client_id or said.client_id
        audience = audience or _own(said.resource, host)
    if not client_id:
        raise UsageError(f"{host} names no client to log in with", hint="give --oidc-client-id")
    provider = oidc.provider(connection.client, issuer)
    if flow == "device":
        return provider.by_device(client_id, audience, _tell)
    secret = os.environ.get(_SECRET, "")
    if not secret:
        raise UsageError("--oidc-flow client needs the client's secret", hint=f"put it into {_SECRET}")
    return provider.by_secret(client_id, secret, audience)


def _own(audience: str, host: str) -> str:
    """What a registry says that tokens for it are for, if it is a name of its own: else it could get another's."""
    if urlsplit(audience).hostname != urlsplit(f"//{host}").hostname:
        raise RegistryError(
            f"{host} asks for a token for {audience!a}, which is not it",
            hint="if that is right, name it with --oidc-audience",
        )
    return audience


def _tell(device: Device) -> None:
    """Where to confirm, on stderr, also with `--json`: nobody could go on without it."""
    where = device.verification_uri_complete or device.verification_uri
    if not f"{where}{device.user_code}".isprintable():
        raise RegistryError(
            "the provider's answer is not one that can be shown",
            hint="ask whoever runs the registry which provider it trusts",
        )
    click.echo(f"open {where}\nand confirm the code {device.user_code}", err=True)


def _subject(connection: Connection, host: str) -> str:
    from enarx_deploy import drawbridge_client
    from enarx_drawbridge.client import oidc

    token = connection.token()
    if not token:
        raise RegistryError(f"you are not logged in at {host}", hint=f"`enarx-deploy user login {host}`")
    known = drawbridge_client.logins().find(host)
    claimed = oidc.claimed_subject(token)
    if claimed:
        return claimed
    issuer = known.issuer if known else next(iter(connection.metadata().authorization_servers), "")
    return oidc.provider(connection.client, issuer).subject(token)
