"""What is said of a package, kept beside its tree: statements and signatures.

    HEX/                      the tree of the package
    HEX.attachments/SHA256    one thing that is said of it, as JSON, named by the digest of that

They are not part of the package: whoever can write there can say what they like, and only a signature makes it more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from enarx_deploy import plain_files, staging
from enarx_deploy.errors import PackageError
from enarx_deploy.models import Package
from enarx_deploy.protocols import ATTACHMENT_LIMIT, ATTACHMENTS_LIMIT, Attachment

_NAME = re.compile(r"[0-9a-f]{64}")
JSON_LIMIT = 2 * ATTACHMENT_LIMIT  # base64 takes 4/3 of the content


def directory(store: Path, digest: str) -> Path:
    """Where in a store of packages is kept what is said of one."""
    return store / f"{digest.removeprefix('sha256:')}.attachments"


def beside(package: Package) -> list[Attachment]:
    """What is kept beside a package's tree. Raises PackageError, OSError."""
    return load(Path(package.root).parent, package.digest)


def load(store: Path, digest: str) -> list[Attachment]:
    """What is said of a package, at most ATTACHMENTS_LIMIT. Raises PackageError where it is damaged, OSError."""
    kept = directory(store, digest)
    if kept.is_symlink() or not kept.is_dir():
        return []
    found = sorted(path for path in kept.iterdir() if _NAME.fullmatch(path.name))
    return [_read(path) for path in found[:ATTACHMENTS_LIMIT]]


def add(store: Path, digest: str, attachment: Attachment) -> None:
    """Keep one thing more, once: what is there already stays as it is. Raises PackageError, OSError."""
    name, data = encoded(attachment)
    kept = directory(store, digest)
    kept.mkdir(parents=True, exist_ok=True)
    if not (kept / name).exists():
        with staging.directory(store) as new:
            (new / name).write_bytes(data)
            (new / name).replace(kept / name)


def replace(store: Path, digest: str, attachments: Iterable[Attachment]) -> None:
    """Keep these and nothing else; after a crash it may be that nothing is said. Raises PackageError, OSError."""
    kept = directory(store, digest)
    with staging.directory(store) as new:
        (new / "made").mkdir()
        for name, data in map(encoded, attachments):
            (new / "made" / name).write_bytes(data)
        if kept.exists():
            kept.rename(new / "replaced")
        (new / "made").rename(kept)


def encoded(attachment: Attachment) -> tuple[str, bytes]:
    """The name and the content of the file that keeps an attachment. Raises PackageError."""
    if len(attachment.content) > ATTACHMENT_LIMIT:
        raise PackageError(f"the {attachment.kind} is over {ATTACHMENT_LIMIT:,} bytes", hint="attach less")
    data = msgspec.json.encode(attachment)
    return hashlib.sha256(data).hexdigest(), data


def decoded(name: str, data: bytes, shown: str) -> Attachment:
    """The attachment in such a file. Raises PackageError."""
    try:
        if len(data) <= JSON_LIMIT and hashlib.sha256(data).hexdigest() == name:
            return msgspec.json.decode(data, type=Attachment)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    raise PackageError(f"{shown} is damaged", hint="remove it, and make or publish the package again")


def _read(path: Path) -> Attachment:
    return decoded(path.name, plain_files.content(path, JSON_LIMIT), str(path))
