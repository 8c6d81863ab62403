"""The list of keys that this user trusts to sign packages: `signers.toml` in the state directory.

The file's form is that of `enarx_signing.trust`. Nobody is in it until someone is put there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from enarx_deploy import paths
from enarx_deploy.errors import EnarxDeployError, PackageError, UsageError, VerificationRefused
from enarx_files.turns import turn
from enarx_signing import MalformedEnvelope, RefusedSignature, Signer, Signers, SigningError, parse
from enarx_signing.trust import MAX_FILE, to_tables

NAME = "signers.toml"


def default_file() -> Path:
    """Where the list is, if nobody names another."""
    return paths.state_dir() / NAME


def load(file: Path | None = None) -> Signers:
    """The list in a file, this user's own by default; empty where that is missing. Raises UsageError."""
    path = file or default_file()
    try:
        with path.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise UsageError(f"{path}: others can write to it", hint=f"chmod go-w {path}")
            data = opened.read(MAX_FILE + 1)
    except FileNotFoundError as error:
        if file is None:
            return Signers()
        raise UsageError(f"{path}: there is no such file", hint="`enarx-deploy key trust` makes one") from error
    with signing_faults(str(path)):
        return parse(data)


def change(make: Callable[[Signers], Iterable[Signer]], file: Path | None = None) -> tuple[Path, Signers]:
    """Write the list anew as `make` says, of what it is at that time; returns where and what. Raises UsageError."""
    import tomli_w

    path = file or default_file()
    try:
        with turn(path), signing_faults():
            signers = Signers(make(load_or_empty(file)))
            tables = to_tables(signers)
            paths.write_atomically(path, tomli_w.dumps(tables, multiline_strings=True).encode(), mode=0o644)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="is there such a directory, and may you write there?"
        ) from error
    return path, signers


def load_or_empty(file: Path | None = None) -> Signers:
    """The list in a file, empty where there is none yet. Raises UsageError."""
    return Signers() if file is not None and not file.exists() else load(file)


@contextmanager
def signing_faults(place: str = "") -> Iterator[None]:
    """Say what is wrong with keys, lists and signatures as this program's errors. `place` goes before the message."""
    try:
        yield
    except SigningError as error:
        message = f"{place}: {error}" if place else str(error)
        raise _kind(error)(message, hint=error.hint) from error


def _kind(error: SigningError) -> type[EnarxDeployError]:
    if isinstance(error, RefusedSignature):
        return VerificationRefused
    return PackageError if isinstance(error, MalformedEnvelope) else UsageError
