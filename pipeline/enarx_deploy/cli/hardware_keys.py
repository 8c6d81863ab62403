"""`enarx-deploy key sev` and `key sgx`: the keys that hardware knows, by Enarx's commands of these names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _out_option(function: Decorated) -> Decorated:
    return click.option(
        "--out", metavar="FILE", type=click.Path(path_type=Path), help="Write to FILE instead, which must be new."
    )(function)


def _key_file(name: str) -> Callable[[Decorated], Decorated]:
    return click.option(name, required=True, metavar="FILE", type=click.Path(path_type=Path))


@click.group()
@common_options()
def sev(_context: Context) -> None:
    """Keys on P-384 that sign ID blocks of SEV-SNP guests.

    \b
    The author's key, kept away:   enarx-deploy key sev create --out author.key
    The key of an image:           enarx-deploy key sev create --out id.key
    The author's word for it:      enarx-deploy key sev sign --author-key author.key --id-key id.key --out id.signature
    What a policy names:           enarx-deploy key sev digest author.key
    """


@click.group()
@common_options()
def sgx(_context: Context) -> None:
    """RSA keys of 3072 bits that sign enclaves.

    \b
    A new key:           enarx-deploy key sgx create --out enclave.key
    What a policy names: enarx-deploy key sgx digest enclave.key
    """


@sev.command("create")
@_out_option
@common_options()
def create_sev(context: Context, out: Path | None) -> None:
    """Make a private key, in PEM (PKCS#8), without a passphrase."""
    from enarx_measurement import create_sev as create

    _give_key(context, create(), out)


@sgx.command("create")
@_out_option
@common_options()
def create_sgx(context: Context, out: Path | None) -> None:
    """Make a private key, in PEM (PKCS#1), without a passphrase."""
    from enarx_measurement import create_sgx as create

    _give_key(context, create(), out)


@sev.command("digest")
@click.argument("key", metavar="KEY", type=click.Path(path_type=Path))
@_out_option
@common_options()
def digest_sev(context: Context, key: Path, out: Path | None) -> None:
    """The digest by which reports and policies name KEY: `id_keys` and `author_keys` of a Steward's [snp]."""
    from enarx_measurement import load_sev, sev_digest

    with _faults():
        digest = sev_digest(load_sev(key))
    _give_digest(context, digest, out)


@sgx.command("digest")
@click.argument("key", metavar="KEY", type=click.Path(path_type=Path))
@_out_option
@common_options()
def digest_sgx(context: Context, key: Path, out: Path | None) -> None:
    """The digest by which quotes and policies name KEY: MRSIGNER, `mrsigners` of a Steward's [sgx]."""
    from enarx_measurement import load_sgx, sgx_digest

    with _faults():
        digest = sgx_digest(load_sgx(key))
    _give_digest(context, digest, out)


@sev.command("sign")
@_key_file("--author-key")
@_key_file("--id-key")
@click.option("--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Where to write it.")
@common_options()
def sign_sev(context: Context, author_key: Path, id_key: Path, out: Path) -> None:
    """Write the author's word for an ID key, so that the author's key is not needed where images are signed."""
    from enarx_deploy.paths import write_atomically
    from enarx_measurement import load_sev, sev_digest, sign_id_key

    with _faults():
        author, signed = load_sev(author_key), load_sev(id_key)
        word = sign_id_key(author, signed.public_key())
    write_atomically(out, word, mode=0o644)
    record = {"file": str(out), "author_key": sev_digest(author), "id_key": sev_digest(signed)}
    context.emit(f"{out}: {len(word):,} bytes", record)


def _give_key(context: Context, pem: bytes, out: Path | None) -> None:
    if out is None:
        if context.json:
            raise UsageError("a private key is not put into JSON", hint="give --out FILE")
        click.echo(pem.decode(), nl=False)
        context.answered = True
        return
    _write(out, pem)
    context.emit(str(out), {"file": str(out)})


def _give_digest(context: Context, digest: str, out: Path | None) -> None:
    if out is not None:
        _write(out, digest.encode())
    elif context.json:
        context.emit("", {"digest": digest})
    else:
        click.echo(digest, nl=False)  # as Enarx does, for those who take it as it is
    context.answered = True


def _write(out: Path, data: bytes) -> None:
    from enarx_deploy.trusted_signers import signing_faults
    from enarx_signing.key_files import write_new

    with signing_faults():
        write_new(out, data)


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    from enarx_measurement import MeasurementFault

    try:
        yield
    except MeasurementFault as error:
        raise UsageError(str(error), hint=error.hint) from error
