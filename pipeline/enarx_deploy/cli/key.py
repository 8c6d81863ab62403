"""`enarx-deploy key`: the keys that sign packages, and the list of those that are trusted."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.hardware_keys import sev, sgx
from enarx_deploy.cli.signing_key import asked_passphrase, given_passphrase, open_key, passphrase_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_signing import PublicKey, Signer, Signers

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def trust_option(function: Decorated) -> Decorated:
    """The list of trusted keys."""
    return click.option(
        "--trust",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The list of trusted keys. Default: signers.toml in the state directory.",
    )(function)


def _new_key_options(function: Decorated) -> Decorated:
    kinds = click.Choice(["ed25519", "p256"])
    algorithm = click.option("--algorithm", type=kinds, default="ed25519", help="Default: ed25519.")
    bare = click.option("--no-passphrase", is_flag=True, help="Leave the key unencrypted: its file's mode is all.")
    return algorithm(bare(passphrase_options(function)))


def _moment(_context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise UsageError(
            f"--{(parameter.name or '').replace('_', '-')}: {value!r} is no time",
            hint="such as 2026-12-31 or 2026-12-31T12:00:00Z",
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@click.group()
@common_options()
def command(_context: Context) -> None:
    """Make keys that sign packages, and say whose signatures are trusted.

    \b
    A new key:        enarx-deploy key generate release.key
    Trust it:         enarx-deploy key trust release.key.pub --name "release team"
    Change it:        enarx-deploy key rotate release.key next.key
    It was stolen:    enarx-deploy key revoke release.key.pub

    A key is Ed25519 or on P-256, in a file with a passphrase or in a PKCS#11 token. `sev` and `sgx` have the keys that
    sign what hardware measures.
    """


command.add_command(sev)
command.add_command(sgx)


@command.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@_new_key_options
@common_options()
def generate(context: Context, /, file: Path, algorithm: str, **secret: Any) -> None:
    """Make a private key in FILE, and its public half in FILE.pub.

    The passphrase is asked for, or comes from a file or a descriptor. A key in a token is made with the tools of the
    device, on P-256, and named by a URI: pkcs11:token=…;object=…?module-path=…&pin-source=file:…
    """
    key = _generate(context, file, algorithm, **secret)
    context.emit(f"{key.id} {file}", _key_record(key) | {"file": str(file), "public": f"{file}.pub"})


def _generate(
    context: Context,
    file: Path,
    algorithm: Any,
    *,
    no_passphrase: bool,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
) -> PublicKey:
    from enarx_deploy.paths import write_atomically
    from enarx_deploy.trusted_signers import signing_faults
    from enarx_signing import generate as make

    passphrase = given_passphrase(passphrase_file, passphrase_fd)
    if no_passphrase and passphrase is not None:
        raise UsageError("--no-passphrase and a passphrase are both given", hint="give one of them")
    public = Path(f"{file}.pub")
    if public.exists():
        raise UsageError(f"{public}: there is a file, and a key is never written over", hint="name another one")
    if passphrase is None and not no_passphrase:
        passphrase = asked_passphrase(f"New passphrase of {file}", twice=True)
    if no_passphrase:
        context.warn(f"{file} has no passphrase: who reads it can sign")
    with signing_faults():
        key = make(file, algorithm, passphrase)
    write_atomically(public, key.pem.encode(), mode=0o644)
    return key


@command.command()
@click.argument("key", metavar="[KEY]", required=False)
@trust_option
@passphrase_options
@common_options()
def show(
    context: Context, key: str | None, trust: Path | None, passphrase_file: Path | None, passphrase_fd: int | None
) -> None:
    """Show the public half of KEY: a file with either half, or a PKCS#11 URI. Without KEY: who is trusted."""
    from enarx_deploy.trusted_signers import load

    if key is None:
        signers = load(trust)
        context.emit(lambda: _listing(signers), {"signers": [_signer_record(signer) for signer in signers]})
        return
    passphrase = given_passphrase(passphrase_file, passphrase_fd)
    found = _public(Path(key)) or open_key(key, passphrase).public
    context.emit(lambda: f"{found.id} {found.algorithm}\n{found.pem.strip()}", _key_record(found))


@command.command("trust")
@click.argument("public", metavar="PUBLIC", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="NAME", help="Whose key it is, for people.")
@click.option("--not-before", metavar="TIME", callback=_moment, help="From when on it counts. Default: since ever.")
@click.option("--not-after", metavar="TIME", callback=_moment, help="Until when it counts. Default: without end.")
@click.option(
    "--native-code",
    is_flag=True,
    help="Let Keeps run compiled code that it signed (`package --aot`).",
)
@trust_option
@common_options()
def trust_key(
    context: Context,
    public: Path,
    name: str,
    not_before: datetime | None,
    not_after: datetime | None,
    native_code: bool,
    trust: Path | None,
) -> None:
    """Trust the key in PUBLIC to sign packages. Compare its id with what its owner says, by another way.

    A key that is trusted already, under that name, keeps what is not given here: `--native-code` is added, a time takes
    the place of the one before.
    """
    from enarx_signing import Signer

    key = _require_public(public)
    given = {"not_before": not_before, "not_after": not_after, "native_code": native_code or None}
    said: dict[str, Any] = {field: value for field, value in given.items() if value is not None}

    def with_it(known: Signers) -> list[Signer]:
        listed = next((signer for signer in known if signer.key == key), None)
        if listed is None:
            return [*known, Signer(name=name, key=key, **said)]
        return _replaced(known, _changed(listed, name, said))

    _change(context, trust, with_it)


@command.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.option(
    "--overlap", metavar="DAYS", type=click.IntRange(0, 3650), default=30, help="How long both count. Default: 30."
)
@_new_key_options
@trust_option
@common_options()
def rotate(
    context: Context, /, old: str, new: Path, overlap: int, algorithm: str, trust: Path | None, **secret: Any
) -> None:
    """Make a new key in NEW, and trust it in the place of OLD, which counts for --overlap days more.

    OLD is the public half of a trusted key, a file beside which that is, or its id. Sign again what is to stay in use,
    and hand the new list to whoever checks: they have it from you, not from the registry.
    """
    from msgspec.structs import replace

    from enarx_signing import Signer

    _require_trusted(trust, old)
    key = _generate(context, new, algorithm, **secret)
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=overlap)

    def rotated(known: Signers) -> list[Signer]:
        leaving = _one(known, old)
        successor = Signer(name=leaving.name, key=key, native_code=leaving.native_code)
        return [*_replaced(known, replace(leaving, not_after=min(end, leaving.not_after or end))), successor]

    _change(context, trust, rotated)


@command.command()
@click.argument("key", metavar="KEY")
@click.option("--at", metavar="TIME", callback=_moment, help="From when on. Default: now.")
@trust_option
@common_options()
def revoke(context: Context, key: str, at: datetime | None, trust: Path | None) -> None:
    """Trust a key no more: its public half, or its id. Nothing that it ever signed counts from then on."""
    from msgspec.structs import replace

    moment = at or datetime.now(UTC).replace(microsecond=0)

    def without(known: Signers) -> list[Signer]:
        signer = _one(known, key)
        return _replaced(known, replace(signer, revoked_at=min(moment, signer.revoked_at or moment)))

    _change(context, trust, without)


def _require_trusted(trust: Path | None, named: str) -> None:
    """Raise UsageError before a key is made in the place of one that is not trusted."""
    from enarx_deploy.trusted_signers import load_or_empty

    _one(load_or_empty(trust), named)


def _change(context: Context, trust: Path | None, make: Callable[[Signers], list[Signer]]) -> None:
    from enarx_deploy.trusted_signers import change

    path, signers = change(make, trust)
    record = {"file": str(path), "signers": [_signer_record(signer) for signer in signers]}
    context.emit(lambda: _listing(signers), record)


def _changed(listed: Signer, name: str, said: dict[str, Any]) -> Signer:
    """A trusted key with what is said of it now. Raises UsageError for one that was revoked, or is another's."""
    from msgspec.structs import replace

    if listed.revoked_at is not None:
        raise UsageError(
            f"the key {listed.key.id} was revoked, and is not trusted again", hint="have its owner make another one"
        )
    if listed.name != name:
        raise UsageError(
            f"the key {listed.key.id} is trusted already, as {listed.name!r}",
            hint=f"--name {shlex.quote(listed.name)} changes what is said of it",
        )
    return replace(listed, **said)


def _replaced(known: Signers, changed: Signer) -> list[Signer]:
    return [changed if signer.key == changed.key else signer for signer in known]


def _one(known: Signers, named: str) -> Signer:
    """The trusted key that is named by its id, or by a file with its public half or beside that."""
    public = _public(Path(named)) or _public(Path(f"{named}.pub"))
    wanted = named if public is None else public.id
    found = next((signer for signer in known if signer.key.id == wanted), None)
    if found is None:
        raise UsageError(f"{named}: no such key is trusted", hint="`enarx-deploy key show` lists those that are")
    return found


def _public(path: Path) -> PublicKey | None:
    from enarx_signing import KeyFault, PublicKey
    from enarx_signing.keys import MAX_PEM

    try:
        with path.open("rb") as file:
            return PublicKey.from_pem(file.read(MAX_PEM))
    except (OSError, ValueError, KeyFault):
        return None


def _require_public(path: Path) -> PublicKey:
    from enarx_deploy.trusted_signers import signing_faults
    from enarx_signing import PublicKey

    with signing_faults(str(path)):
        return PublicKey.from_pem(path.read_bytes())


def _listing(signers: Signers) -> str:
    from enarx_deploy.cli.table import table

    now = datetime.now(UTC)
    rows = [(signer.name, signer.key.algorithm, signer.key.id, _state(signer, now)) for signer in signers]
    return table(("NAME", "ALGORITHM", "ID", "STATE"), rows) if rows else "no key is trusted"


def _state(signer: Signer, now: datetime) -> str:
    until = "" if signer.not_after is None else f" until {signer.not_after.isoformat()}"
    return signer.objection(now) or f"counts{until}"


def _key_record(key: PublicKey) -> dict[str, Any]:
    return {"id": key.id, "algorithm": key.algorithm, "pem": key.pem}


def _signer_record(signer: Signer) -> dict[str, Any]:
    times = {name: getattr(signer, name) for name in ("not_before", "not_after", "revoked_at")}
    counts = not signer.objection(datetime.now(UTC))
    known = {"name": signer.name, **_key_record(signer.key)}
    return {**known, **times, "native_code": signer.native_code, "counts": counts}
