"""Files of evidence and what stands beside it: endorsements in a directory, policies. Read once, within bounds."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from io import FileIO
from pathlib import Path
from typing import Any

from enarx_deploy.errors import PackageError, UsageError

MAX_EVIDENCE = 1 << 20  # bytes; the library knows the size of each kind, this only bounds what is read
MAX_ENDORSEMENT = 8 << 20  # bytes of one file
MAX_NAMES = 10_000
"""Most files in a directory with endorsements, those of other names among them."""
MAX_ENDORSEMENTS = 32 << 20  # bytes of all files
MAX_POLICY = 1 << 20  # bytes
PATIENCE = 60
"""Seconds for which a pipe is waited for that nothing comes through."""
WHOLE = 600
"""Seconds for which a pipe is read, however it drips."""

POLICY_HINT = "docs/how-to/appraise-evidence.md shows a policy"

_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
_FINER = re.compile(r"(\.[0-9]{6})[0-9]+")  # than what Python keeps of a second
_SECONDS = re.compile(r"@?([0-9]{9,11})")
_STEWARDS_OWN = ("ca", "collateral", "grant", "log", "packages", "secret")
_GRANTS = ("names", "lifetime")
_PLAIN = "give a directory with the endorsements of one piece of evidence, as plain files"


def require_known(kind: str) -> None:
    """Raise UsageError unless this is a kind of evidence."""
    from enarx_attestation import KINDS

    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of evidence", hint=f"known kinds: {', '.join(sorted(KINDS))}")


def moment_of(text: str) -> datetime:
    """A time of RFC 3339, or seconds since 1970; of a date alone, its first moment in UTC. Raises UsageError."""
    try:
        if (seconds := _SECONDS.fullmatch(text)) is not None:
            return datetime.fromtimestamp(int(seconds[1]), UTC)
        if _MOMENT.fullmatch(text) is None:
            raise ValueError(text)
        moment = datetime.fromisoformat(_FINER.sub(r"\1", text.upper()))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--at: {text!r} is not a time of RFC 3339",
            hint="such as 2026-11-24T12:00:00Z or 2026-11-24; seconds since 1970 will do, too",
        ) from error


def read(path: Path, most: int) -> bytes:
    """At most one byte more than `most`; of a pipe, until it is closed. Raises UsageError."""
    try:
        # So that a pipe which nobody writes to is opened, and waited for no longer than `PATIENCE`.
        with FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return b"".join(_pieces(file, most + 1))
    except TimeoutError as error:
        hint = "write it to a file first, or close the pipe at its end"
        raise UsageError(f"{path}: {error}", hint=hint) from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="is the path right, and may you read it?") from error


def _pieces(file: FileIO, left: int) -> Iterator[bytes]:
    until = time.monotonic() + WHOLE
    while left:
        if not select.select([file], [], [], PATIENCE)[0]:
            raise TimeoutError(f"nothing has come for {PATIENCE} s")
        if time.monotonic() >= until:
            raise TimeoutError(f"it has not ended after {WHOLE} s")
        piece = file.read(left)
        if not piece:
            return
        left -= len(piece)
        yield piece


def read_evidence(path: Path) -> bytes:
    """Evidence, which may be written out as hexadecimal, base64 or PEM. Raises UsageError."""
    from enarx_attestation import evidence_text

    data = read(path, MAX_EVIDENCE)
    # What is too large is left as it is, and refused for it: the part that was read may be evidence by itself.
    return data if len(data) > MAX_EVIDENCE else evidence_text.plain(data)


def read_tables(path: Path) -> dict[str, Any]:
    """The sections of a policy file, which may be a Steward's. Raises UsageError."""
    import tomllib

    data = read(path, MAX_POLICY)
    if len(data) > MAX_POLICY:
        raise UsageError(f"{path}: a policy has at most {MAX_POLICY:,} bytes", hint="is this the right file?")
    try:
        return rules_of(tomllib.loads(data.decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}", hint=POLICY_HINT) from error


def rules_of(tables: dict[str, Any]) -> dict[str, Any]:
    """A Steward's policy without what is the Steward's alone: the authority, its files, and what a Keep is granted.

    Raises UsageError for packages that are allowed or denied whatever the kind, which would be left out unsaid.
    """
    if tables.get("packages"):
        raise UsageError(
            "[packages] is applied by a Steward alone",
            hint="take it out, and list packages that are accepted as `packages` of the kind's own section",
        )
    return {name: _rules(table) for name, table in tables.items() if name not in _STEWARDS_OWN}


def _rules(table: Any) -> Any:
    return {key: value for key, value in table.items() if key not in _GRANTS} if isinstance(table, dict) else table


def read_endorsements(directory: Path, named: str = "--endorsements") -> dict[str, bytes]:
    """The files of known names in a directory, by name. Raises UsageError, which says how the directory was `named`."""
    return dict(_endorsements(directory, named))


def _endorsements(directory: Path, named: str) -> Iterator[tuple[str, bytes]]:
    """Links are followed, for nothing but the verdict is said of what is read; to plain files alone."""
    from enarx_deploy import plain_files

    root = Path(os.path.realpath(directory))
    left = MAX_ENDORSEMENTS
    try:
        with plain_files.opened(root) as descriptor:
            names = plain_files.names(descriptor, str(directory), MAX_NAMES)
        for name in filter(_is_known, names):
            with plain_files.opened_in(None, os.path.realpath(root / name), name) as descriptor:
                plain_files.require_file(descriptor, name)
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(MAX_ENDORSEMENT + 1)
            left -= len(data)
            if left < 0:
                raise PackageError(f"the files have more than {MAX_ENDORSEMENTS:,} bytes", hint=_PLAIN)
            yield name, data
    except PackageError as error:
        raise UsageError(f"{named} {directory}: {error}", hint=_PLAIN) from error
    except OSError as error:
        raise UsageError(f"{named} {directory}: {error.strerror}", hint=_PLAIN) from error


def _is_known(name: str) -> bool:
    from enarx_attestation.files import NAMES

    return any(fnmatchcase(name, pattern) for pattern in NAMES)
