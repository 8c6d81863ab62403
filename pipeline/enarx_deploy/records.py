"""Records on disk: each saved once under its own digest, and one index per stage that says which is current.

    .enarx/records/<64 hex digits>.json    a record, canonical JSON
    .enarx/<stage>.json                    slot -> {inputs, record}
    .enarx/deployed.json                   the same for `enarx_deploy.plan`, which needs no inputs

A slot separates what one stage makes side by side: reference values per backend, deployments per `[deploy.NAME]`.

The digest of a stage's inputs is keyed with a secret of the user (`records.key` in the state directory). A project that
came from elsewhere with a ready-made `.enarx` therefore never has its build skipped: only this user can have written
an entry that fits.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from enarx_deploy import paths
from enarx_deploy.models import Record, StageName

Index = StageName | Literal["deployed"]
R = TypeVar("R", bound=Record)
_KEY_BYTES = 32


class Entry(msgspec.Struct, frozen=True):
    """What is current in a slot: the keyed digest of the inputs, and the digest of the record made from them."""

    inputs: str
    record: str


def digest_of(data: bytes) -> str:
    """`sha256:` and the SHA-256 of `data` in lower-case hex."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_of_file(path: Path) -> str:
    """As `digest_of`, for a file's content. Raises OSError."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def digest_of_inputs(inputs: Any) -> str:
    """The keyed digest of a stage's inputs: anything that has a canonical JSON form."""
    return f"hmac-sha256:{hmac.digest(_key(), _canonical(inputs), 'sha256').hex()}"


def save(work_dir: Path, record: Record) -> str:
    """Save a record; returns its digest."""
    data = _canonical(record)
    digest = digest_of(data)
    path = _record_path(work_dir, digest)
    path.parent.mkdir(exist_ok=True)
    paths.write_atomically(path, data)
    return digest


def read(work_dir: Path, digest: str, record_type: type[R]) -> R | None:
    """The record with this digest, or None where it is missing, damaged, or of another form."""
    try:
        data = _record_path(work_dir, digest).read_bytes()
        return msgspec.json.decode(data, type=record_type) if digest_of(data) == digest else None
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def entry(work_dir: Path, stage: Index, slot: str) -> Entry | None:
    """What is current in a stage's slot, or None."""
    return _index(work_dir, stage).get(slot)


def current(work_dir: Path, stage: StageName, slot: str, inputs: str, record_type: type[R]) -> R | None:
    """The record that is current in a slot, if it was made from inputs with this digest and is undamaged."""
    found = entry(work_dir, stage, slot)
    return read(work_dir, found.record, record_type) if found is not None and found.inputs == inputs else None


def set_entry(work_dir: Path, stage: Index, slot: str, value: Entry) -> None:
    """Make `value` current in a stage's slot."""
    index = _index(work_dir, stage) | {slot: value}
    paths.write_atomically(_index_path(work_dir, stage), msgspec.json.format(_canonical(index), indent=2) + b"\n")


def _index(work_dir: Path, stage: Index) -> dict[str, Entry]:
    try:
        return msgspec.json.decode(_index_path(work_dir, stage).read_bytes(), type=dict[str, Entry])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def _index_path(work_dir: Path, stage: Index) -> Path:
    return work_dir / f"{stage}.json"


def _record_path(work_dir: Path, digest: str) -> Path:
    return work_dir / "records" / f"{Path(digest.removeprefix('sha256:')).name}.json"


def _canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _key() -> bytes:
    path = paths.state_dir() / "records.key"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != _KEY_BYTES:
        key = secrets.token_bytes(_KEY_BYTES)
        paths.write_atomically(path, key)
    return key
