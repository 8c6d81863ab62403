"""The options of every command that uses a private key, and how its passphrase is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_signing import SigningKey

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_HINT = "give --passphrase-file FILE or --passphrase-fd N where there is no terminal"


def passphrase_options(function: Decorated) -> Decorated:
    """Where a passphrase comes from, if not from a prompt. Never from an argument or the environment."""
    function = click.option(
        "--passphrase-fd",
        metavar="N",
        type=click.IntRange(0, 1 << 16),
        help="Read it from this open file descriptor.",
    )(function)
    return click.option(
        "--passphrase-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Read the key's passphrase from this file, which only you can read.",
    )(function)


def given_passphrase(file: Path | None, descriptor: int | None) -> bytes | None:
    """The passphrase that an option gives; None where neither is there. Raises UsageError."""
    from enarx_deploy.trusted_signers import signing_faults
    from enarx_signing.key_files import passphrase_of_descriptor, passphrase_of_file

    if file is not None and descriptor is not None:
        raise UsageError("--passphrase-file and --passphrase-fd both give the passphrase", hint="give one of them")
    with signing_faults():
        if file is not None:
            return passphrase_of_file(file)
        return None if descriptor is None else passphrase_of_descriptor(descriptor)


def asked_passphrase(prompt: str, *, twice: bool = False) -> bytes:
    """The passphrase that someone types. Raises UsageError where nobody is there."""
    if not sys.stdin.isatty():
        raise UsageError(f"{prompt}: there is no terminal to ask for it", hint=_HINT)
    typed: str = click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True)
    return typed.encode()


def open_key(name: str, passphrase: bytes | None = None) -> SigningKey:
    """The private key in a file, or in the token that a PKCS#11 URI names. Raises UsageError."""
    from enarx_deploy.trusted_signers import signing_faults
    from enarx_signing import SigningKey, load, pkcs11_uri
    from enarx_signing.token import TokenKey

    with signing_faults():
        if name.startswith(pkcs11_uri.SCHEME):
            return SigningKey(TokenKey(pkcs11_uri.parse(name)))
        return load(Path(name), lambda: passphrase or asked_passphrase(f"Passphrase of {name}"))
