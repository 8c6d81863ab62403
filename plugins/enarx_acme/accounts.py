"""The user's accounts with ACME servers: one file each in the state directory, for the user alone.

A file has the account's private key, and what the user said when it was made: which root the certificates must lead
to, and how control of a name is shown. None of it can come from a manifest, which may be a stranger's.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from enarx_deploy import paths
from enarx_deploy.errors import UsageError

DIRECTORY = "acme"

ChallengeType = Literal["http-01", "dns-01"]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account. `url` names it to the server, `key_pem` is its private key (P-256).

    `root_pem` is the root that certificates must lead to, `server_root_pem` that of the server's own TLS ("" for those
    of the Mozilla set). `listen` (HOST:PORT) is where http-01 is answered, `hook` the words of the command for dns-01.
    """

    directory: str
    url: str
    key_pem: str
    root_pem: str
    server_root_pem: str = ""
    challenge: ChallengeType
    listen: str = ""
    hook: tuple[str, ...] = ()

    @property
    def root_path(self) -> Path:
        """A copy of the root, for clients."""
        return path_of(self.directory).with_suffix(".root.pem")


def path_of(directory: str) -> Path:
    """The file of the account with the server whose directory is at this URL."""
    host = re.sub(r"[^a-z0-9.-]", "_", (urlsplit(directory).hostname or "server").lower())[:80]
    digest = hashlib.sha256(directory.encode()).hexdigest()[:12]
    return paths.state_dir(DIRECTORY) / f"{host}-{digest}.json"


def save(account: Account) -> Path:
    """Write an account, over an earlier one with the same server."""
    path = path_of(account.directory)
    paths.write_atomically(account.root_path, account.root_pem.encode(), mode=0o644)
    paths.write_atomically(path, msgspec.json.encode(account))
    return path


def every() -> list[Account]:
    """All accounts. Raises UsageError for a file that cannot be read."""
    return [_read(path) for path in sorted(paths.state_dir(DIRECTORY).glob("*.json"))]


def choose(directory: str | None) -> Account:
    """The account with this server, or where none is named the only one. Raises UsageError."""
    known = every()
    if directory is not None:
        known = [account for account in known if account.directory == directory]
    if len(known) == 1:
        return known[0]
    if known:
        raise UsageError(
            f"there are accounts with {len(known)} ACME servers: {', '.join(one.directory for one in known)}",
            hint='name one in the manifest: `[acme] directory = "URL"`',
        )
    where = f" at {directory}" if directory else ""
    raise UsageError(
        f"there is no account with an ACME server{where}",
        hint="make one: `enarx-deploy acme register --help`; no server is asked that you did not name there",
    )


def _read(path: Path) -> Account:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Account)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"{path}: the account cannot be read ({error})", hint="remove it, and register again"
        ) from error
