"""Enarx.lock: what a project came to when someone looked last, so that nothing else is deployed unnoticed.

    version = 1
    module = "sha256:…"
    package = "sha256:…"

    [toolchain]
    name = "c"
    version = "zig 0.17.1 (PyPI)"

    [tools]                    # of the toolchain's own bytes, for each kind of machine that it was locked on
    linux-x86_64 = "sha256:…"

    [reference_values.nil]
    hardware = "false"
    policy = "sha256:…"        # of the appraisal policy, as canonical JSON

It lies beside Enarx.toml, and belongs into version control. A toolchain is named by what it says of its version, and by
its bytes (`tool_bytes`), which differ from one kind of machine to the next; what it makes must not, and is the module's
digest. Locks from before that have no `[tools]`, and are held to the rest.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from enarx_deploy import paths
from enarx_deploy.errors import LockError
from enarx_deploy.models import Module, Package, Record, ReferenceValues

NAME = "Enarx.lock"
_LIMIT = 1 << 20
_HEAD = "# Written by `enarx-deploy lock`; --locked refuses whatever differs from it.\n"


class Lock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `tools` are by `kind_of_machine`, `reference_values` by backend with the policy's digest among them."""

    version: Literal[1] = 1
    module: str
    package: str
    toolchain: dict[str, str]
    tools: dict[str, str] = {}
    reference_values: dict[str, dict[str, str]] = {}


def of(module: Module, package: Package, values: ReferenceValues, known: Lock | None = None) -> Lock:
    """The lock of what was made.

    What is `known` of other backends is kept while the package is the same, and of the tools of other kinds of machine
    while the toolchain is.
    """
    toolchain = {"name": module.toolchain, "version": module.version}
    tools = dict(known.tools) if known is not None and known.toolchain == toolchain else {}
    if module.toolchain_sha256:
        tools[kind_of_machine()] = module.toolchain_sha256
    others = known.reference_values if known is not None and known.package == package.digest else {}
    return Lock(
        module=module.sha256,
        package=package.digest,
        toolchain=toolchain,
        tools=dict(sorted(tools.items())),
        reference_values=dict(sorted({**others, values.backend: _values(values)}.items())),
    )


def kind_of_machine() -> str:
    """What the bytes of programs differ by: system and processor."""
    return f"{sys.platform}-{platform.machine()}"


def load(root: Path) -> Lock | None:
    """The lock of the project in `root`, or None where it has none. Raises LockError."""
    path = root / NAME
    try:
        with path.open("rb") as file:
            return read(file.read(_LIMIT + 1), str(path))
    except FileNotFoundError:
        return None


def read(data: bytes, shown: str) -> Lock:
    """The lock in a file, which messages call `shown`. Raises LockError."""
    if len(data) > _LIMIT:
        raise LockError(f"{shown} has more than {_LIMIT:,} bytes", hint="`enarx-deploy lock` writes it anew")
    try:
        return msgspec.toml.decode(data, type=Lock)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise LockError(f"{shown}: {error}", hint="`enarx-deploy lock` writes it anew") from error


def save(root: Path, lock: Lock) -> Path:
    """Write the lock of the project in `root`; returns where."""
    import tomli_w

    path = root / NAME
    paths.write_atomically(path, (_HEAD + tomli_w.dumps(msgspec.to_builtins(lock))).encode(), mode=0o644)
    return path


def check(root: Path, record: Record) -> None:
    """Refuse what a stage made if the project's lock has anything else. Raises LockError that names each value."""
    lock = load(root)
    if lock is None:
        raise LockError(f"{root} has no {NAME}", hint="`enarx-deploy lock` writes it")
    differing = [
        f"{name} is {found}, and {NAME} has {wanted or 'none'}"
        for name, found, wanted in _compared(lock, record)
        if found != wanted
    ]
    if differing:
        raise LockError("; ".join(differing), hint="if that is meant, `enarx-deploy lock` takes it over")


def _compared(lock: Lock, record: Record) -> Iterator[tuple[str, str, str]]:
    """Each value that a record has and a lock holds: its name, what was found, what is wanted."""
    if isinstance(record, Module):
        found = {"name": record.toolchain, "version": record.version}
        yield from _tables("toolchain", found, lock.toolchain)
        if record.toolchain_sha256 and lock.tools:
            yield f"tools.{kind_of_machine()}", record.toolchain_sha256, _tools_here(lock)
        yield "module", record.sha256, lock.module
    elif isinstance(record, Package):
        yield "package", record.digest, lock.package
    elif isinstance(record, ReferenceValues):
        locked = lock.reference_values.get(record.backend, {})
        yield from _tables(f"reference_values.{record.backend}", _values(record), locked)


def _tools_here(lock: Lock) -> str:
    here = kind_of_machine()
    if here not in lock.tools:
        raise LockError(
            f"{NAME} was made on {', '.join(lock.tools)}, and says nothing of the tools of {here}",
            hint="`enarx-deploy lock` on this machine adds them, and keeps the others",
        )
    return lock.tools[here]


def _tables(name: str, found: dict[str, str], wanted: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for key in sorted(found.keys() | wanted.keys()):
        yield f"{name}.{key}", found.get(key, "none"), wanted.get(key, "")


def _values(values: ReferenceValues) -> dict[str, str]:
    return {**values.measurements, "hardware": str(values.hardware).lower(), "policy": _digest(values.policy)}


def _digest(policy: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(msgspec.json.encode(policy, order='deterministic')).hexdigest()}"
