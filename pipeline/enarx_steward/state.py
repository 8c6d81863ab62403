"""The directory in which a Steward keeps what must outlive it: its key, its root, its policy, and who is running.

ca.key         the private key of the root, mode 0600
ca.toml        where that key is instead, if it is in a PKCS#11 token
root.pem       the root certificate, for clients to pin
chain.pem      the path to another root above it, where there is one
intermediates  for each policy a file with key and certificate, mode 0600
tls.pem        key and certificate of the listener, mode 0600, where it has one under the own root
steward.toml   the policy
issuance.db    the issuance log, mode 0600, unless the policy names another database
server.json    where the running Steward listens; locked as long as it runs
collateral/    what endorses evidence, as `enarx-deploy collateral` keeps it
steward.log    what the one in the background says
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_files.whole import flush_directory, write_atomically
from enarx_service import private_directory

from .ca import Authority, policy_of
from .errors import ConfigurationError
from .hsm import RootKey, read_configuration
from .policy import StewardPolicy, for_this_machine
from .root import Root, new_key_pem, read_key, self_signed

KEY: Final = "ca.key"
CONFIGURATION: Final = "ca.toml"
ROOT: Final = "root.pem"
CHAIN: Final = "chain.pem"
CHANGE: Final = "change"
"""Where files wait that take the place of others together."""
INTERMEDIATES: Final = "intermediates"
POLICY: Final = "steward.toml"
ISSUANCE_LOG: Final = "issuance.db"
RECORD: Final = "server.json"
LOG: Final = "steward.log"
COLLATERAL: Final = "collateral"
_SETUP_LOCK: Final = "setup.lock"
_MAX_FILE: Final = 65_536


def prepare(directory: Path) -> None:
    """Make the directory with mode 0700, or check it. Raises `ConfigurationError` if others can enter it."""
    private_directory.prepare(directory, "--state")


def write_policy(directory: Path, *, written_by: str) -> bool:
    """Write the policy of a user's own machine, unless there is one. Returns whether it was written."""
    with _only_one(directory):
        if (directory / POLICY).exists():
            return False
        write(directory / POLICY, for_this_machine(written_by=written_by).encode(), 0o600)
        return True


def load_authority(directory: Path, policy: StewardPolicy, now: datetime) -> Authority:
    """The intermediate of a policy; made if there is none that lasts. Raises `ConfigurationError`.

    Those that have ended are removed.
    """
    with _only_one(directory):
        root = _load_root(directory, now)
        known = _load_intermediates(directory / INTERMEDIATES, root, now)
        fit = [one for one in known if one.policy_sha256 == policy.sha256 and one.lasts(now)]
        if fit:
            chosen = max(fit, key=lambda one: one.certificate.not_valid_after_utc)
        else:
            chosen = Authority.create(root, policy, now)
            write(directory / INTERMEDIATES / _file_name(chosen.certificate), chosen.to_pem(), 0o600)
        return chosen.after(known)


def load_root(directory: Path, now: datetime) -> Root:
    """The directory's root; made if there is none. Raises `ConfigurationError`."""
    with _only_one(directory):
        return _load_root(directory, now)


def _load_root(directory: Path, now: datetime) -> Root:
    _complete_change(directory)
    root, chain = directory / ROOT, directory / CHAIN
    in_token = (directory / CONFIGURATION).exists()
    signer = _key_in_token(directory) if in_token else _key_in_file(directory)
    if not root.exists():
        write(root, self_signed(signer, now).public_bytes(Encoding.PEM), 0o644)
    with _named(root):
        found = Root.from_pem(signer, root.read_bytes(), chain.read_bytes() if chain.exists() else b"", now)
        if not in_token:
            found.require_own_key()
    return found


def _key_in_file(directory: Path) -> ec.EllipticCurvePrivateKey:
    key, root = directory / KEY, directory / ROOT
    if not key.exists():
        if root.exists():
            raise ConfigurationError(
                f"{root} is there, but its key {KEY} is gone",
                hint="bring the key back; or move the root away too, and have every client pin the new one",
            )
        write(key, new_key_pem(), 0o600)
    secret = read_secret(key)
    with _named(key):
        return read_key(secret)


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    """Say of which file an error speaks, and what to do where it says nothing of that."""
    try:
        yield
    except ConfigurationError as exc:
        hint = (
            exc.hint or "bring back what stood there; or move key and root away, and have every client pin the new one"
        )
        raise ConfigurationError(f"{file}: {exc}", hint=hint) from exc


def _key_in_token(directory: Path) -> RootKey:
    if (directory / KEY).exists():
        raise ConfigurationError(
            f"{directory} has both {CONFIGURATION} and {KEY}",
            hint="one key signs: move the other away",
        )
    key = read_configuration(directory / CONFIGURATION)
    if not (directory / ROOT).exists():
        key.make()
    return key


def _load_intermediates(directory: Path, root: Root, now: datetime) -> list[Authority]:
    directory.mkdir(mode=0o700, exist_ok=True)
    known = []
    for path in sorted(directory.glob("*.pem")):
        try:
            intermediate = Authority.from_pem(read_secret(path), root)
        except ConfigurationError as exc:
            raise ConfigurationError(f"{path}: {exc}", hint="move it away, and a new one is made in its place") from exc
        if intermediate.certificate.not_valid_after_utc <= now:
            path.unlink()
        else:
            known.append(intermediate)
    return known


def _file_name(intermediate: x509.Certificate) -> str:
    return f"{policy_of(intermediate)[:16]}-{intermediate.serial_number:x}.pem"


def put_in_place(directory: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    """Replace several files (content and mode, by name) as one: after a crash, all are the old ones or all the new."""
    with _only_one(directory):
        _complete_change(directory)
        prepared = directory / f"{CHANGE}.new"
        shutil.rmtree(prepared, ignore_errors=True)
        prepared.mkdir(mode=0o700)
        for name, (data, mode) in files.items():
            write(prepared / name, data, mode)
        prepared.rename(directory / CHANGE)
        flush_directory(directory)
        _complete_change(directory)


def _complete_change(directory: Path) -> None:
    change = directory / CHANGE
    if change.is_dir():
        for path in change.iterdir():
            path.replace(directory / path.name)
        change.rmdir()
        flush_directory(directory)


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    try:
        opened = (directory / _SETUP_LOCK).open("ab")
    except OSError as exc:
        raise ConfigurationError(
            f"{directory}: {exc.strerror}", hint="`enarx-deploy steward --init --state DIR` makes a Steward's directory"
        ) from exc
    with opened as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_secret(path: Path, most: int = _MAX_FILE) -> bytes:
    """Read a file that nobody else may read. Raises `ConfigurationError` if others could, or if it is a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        raise ConfigurationError(
            f"{path}: {exc.strerror}", hint="is it there, a plain file, and may you read it?"
        ) from exc
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise ConfigurationError(f"{path}: the key is not yours", hint="run the Steward as the user who owns it")
        if status.st_mode & 0o077:
            raise ConfigurationError(
                f"{path}: others could read the key (mode {stat.S_IMODE(status.st_mode):04o})",
                hint="who may have read it can issue certificates: move key and root away and pin the new root; "
                f"if nobody did, chmod 600 {path}",
            )
        return file.read(most)


def write(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is there whole or not at all, also after a loss of power."""
    write_atomically(path, data, mode=mode)
    flush_directory(path.parent)
