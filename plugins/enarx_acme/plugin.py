"""The issuer `acme`, and `enarx-deploy acme`, which makes the accounts that it uses."""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from enarx_deploy.errors import EnarxDeployError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import Issuer

if TYPE_CHECKING:
    from enarx_acme.accounts import Account, ChallengeType
    from enarx_acme.registering import Binding

_MAX_FILE = 1 << 20


@click.group()
def acme() -> None:
    """Accounts with ACME servers, which certify names that browsers trust (RFC 8555).

    Such a certificate says who controls a name. It says nothing of a Keep: no evidence is looked at.

    \b
    An account:       enarx-deploy acme register --directory URL --root "ISRG Root X1" \\
                        --http-01 0.0.0.0:80 --agree-to-terms
    In the manifest:  [attest]
                      issuer = "acme"
                      [acme]
                      names = ["app.example.org"]
    """


@acme.command()
@click.option("--directory", required=True, metavar="URL", help="The server's directory (https); none is built in.")
@click.option(
    "--root",
    required=True,
    metavar="FILE|NAME",
    help="The root that certificates must lead to: a PEM file, or its name in the Mozilla set.",
)
@click.option("--http-01", "listen", metavar="HOST:PORT", help="Answer http-01 here, only while an order goes on.")
@click.option(
    "--dns-01", "hook", metavar="COMMAND", help="Have this command change DNS: COMMAND present|cleanup NAME TEXT."
)
@click.option("--agree-to-terms", is_flag=True, help="You have read the server's terms, and agree.")
@click.option("--contact", metavar="EMAIL", default="", help="Where the server may write to you. Default: nowhere.")
@click.option(
    "--server-root", metavar="FILE", type=click.Path(path_type=Path), help="The root of the server's own TLS (PEM)."
)
@click.option("--eab-kid", metavar="ID", help="Of an external account: its key's id.")
@click.option("--eab-key-file", metavar="FILE", type=click.Path(path_type=Path), help="Its key (base64url), in a file.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def register(
    directory: str,
    root: str,
    listen: str | None,
    hook: str | None,
    agree_to_terms: bool,
    contact: str,
    server_root: Path | None,
    eab_kid: str | None,
    eab_key_file: Path | None,
    as_json: bool,
) -> None:
    """Make an account, or change what is said of one that is there: its key stays.

    \b
    --http-01   The server asks http://NAME/.well-known/acme-challenge/… on port
                80, which must lead to HOST:PORT. Nothing else is served there,
                and nothing at all while no order goes on.
    --dns-01    The command gets `present`, the record's name and its text, and
                returns when that can be seen; later `cleanup`. It is run
                without a shell, as those of lego's `exec` are.
    """
    from enarx_acme import accounts

    challenge, words = _how(listen, hook)
    _require_https(directory)
    account = _registered(
        directory,
        agree_to_terms,
        contact,
        _binding(eab_kid, eab_key_file),
        root_pem=_root(root),
        server_root_pem="" if server_root is None else _certificate(server_root),
        challenge=challenge,
        listen=listen or "",
        hook=words,
    )
    path = accounts.save(account)
    click.echo(json.dumps(_record(account)) if as_json else f"{account.url}\nkept in {path}, for you alone")


@acme.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def show(as_json: bool) -> None:
    """List the accounts, without their keys."""
    from enarx_acme import accounts

    known = accounts.every()
    if as_json:
        click.echo(json.dumps([_record(account) for account in known]))
    elif not known:
        click.echo("no account")
    for account in () if as_json else known:
        click.echo("\n".join(f"{name:10} {value}" for name, value in _record(account).items()))


def _registered(directory: str, agreed: bool, contact: str, binding: Binding | None, **said: object) -> Account:
    from enarx_acme import accounts

    try:
        from enarx_acme import registering
    except ImportError as error:
        raise EnarxDeployError(
            f"ACME needs its client library ({error})", hint="pip install 'enarx-deploy[acme]'"
        ) from error
    server_root_pem = str(said["server_root_pem"])
    earlier = next((one for one in accounts.every() if one.directory == directory), None)
    key_pem = earlier.key_pem if earlier else registering.new_key()
    if not agreed:
        terms = registering.terms_of(directory, key_pem, server_root_pem)
        raise UsageError(
            f"{directory} has terms that you must agree to: {terms or 'it does not say where'}",
            hint="read them, then add --agree-to-terms",
        )
    url = registering.register(directory, key_pem, server_root_pem, contact, binding)
    return accounts.Account(directory=directory, url=url, key_pem=key_pem, **said)  # type: ignore[arg-type]  # by name


def _how(listen: str | None, hook: str | None) -> tuple[ChallengeType, tuple[str, ...]]:
    from enarx_acme import control

    if (listen is None) == (hook is None):
        raise UsageError("one of --http-01 and --dns-01 must be given", hint="how you show that a name is yours")
    if listen is not None:
        control.parse_listen(listen)
        return "http-01", ()
    try:
        words = tuple(shlex.split(hook or ""))
    except ValueError as error:
        raise UsageError(f"--dns-01: {error}", hint="quote it as for a shell") from error
    if not words or not Path(words[0]).is_absolute():
        raise UsageError("--dns-01 must begin with an absolute path", hint="renewals run it in another directory")
    return "dns-01", words


def _require_https(directory: str) -> None:
    parts = urlsplit(directory)
    if parts.scheme != "https" or not parts.hostname:
        raise UsageError(f"--directory {directory!r} is no https:// URL", hint="the authority's documents name it")


def _binding(kid: str | None, key_file: Path | None) -> Binding | None:
    if (kid is None) != (key_file is None):
        raise UsageError("--eab-kid and --eab-key-file belong together", hint="the authority gave you both")
    if kid is None or key_file is None:
        return None
    from enarx_acme.registering import Binding

    return Binding(kid, _read(key_file).strip())


def _root(named: str) -> str:
    """The certificate in a file, or of this name in the Mozilla set."""
    if Path(named).exists():
        return _certificate(Path(named))
    import certifi
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the set have serial numbers that RFC 5280 forbids
        known = x509.load_pem_x509_certificates(Path(certifi.where()).read_bytes())
    for root in known:
        if any(one.value == named for one in root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)):
            return root.public_bytes(Encoding.PEM).decode()
    raise UsageError(
        f"--root {named!r} is no file, and no root of the Mozilla set has that name",
        hint='such as "ISRG Root X1", or a PEM file',
    )


def _certificate(path: Path) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        (certificate,) = x509.load_pem_x509_certificates(_read(path).encode())
    except ValueError as error:
        raise UsageError(f"{path}: not one certificate in PEM", hint="a root is one certificate") from error
    return certificate.public_bytes(Encoding.PEM).decode()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', 'not a text file')}", hint="may you read it?") from error


def _record(account: Account) -> dict[str, str]:
    """What there is to show: nothing that is secret."""
    how = account.listen if account.challenge == "http-01" else shlex.join(account.hook)
    return {
        "directory": account.directory,
        "url": account.url,
        "challenge": account.challenge,
        "by": how,
        "root": str(account.root_path),
    }


@hookimpl
def register_issuers() -> Iterable[Issuer]:
    """Called when an issuer is first needed."""
    from enarx_acme.issuer import Acme

    return [Acme()]


@hookimpl
def register_commands() -> Iterable[click.Command]:
    """Called when commands are listed, or one is not a built-in's."""
    return [acme]
