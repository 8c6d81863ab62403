"""From the bytes of `Enarx.toml` to a checked `Manifest`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import tomli
import tomli_w

from enarx_deploy.errors import ManifestError
from enarx_deploy.manifest import rules
from enarx_deploy.manifest.faults import Fault
from enarx_deploy.manifest.types import Manifest
from enarx_toml import positions

FILE_NAME = "Enarx.toml"
MAX_BYTES = 1_000_000
"""The largest manifest, as in Enarx, which reads no more of one that it fetches."""

_WITHOUT_A_FILE = b"""files = [{ kind = "stdin" }, { kind = "stdout" }, { kind = "stderr" }]\n"""
_REFERENCE = "`enarx-deploy schema` prints what every key may be"
_HINTS_OF_SYSTEM: dict[type[OSError], str] = {
    FileNotFoundError: "`enarx-deploy new` makes a project with one; -C DIR works in another directory",
    PermissionError: "let your user read it",
}
_SYNTAX_HINTS = {"Invalid value": 'text is written in quotes: name = "web"'}  # by tomli's message
_TOML_1_0 = "put an inline table on one line, with no comma at its end; write \\u001b instead of \\e or \\x1b"


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that was read and found good.

    `text` is what goes into the package: the file's own bytes, or the effective manifest as TOML where there was no
    file or where overrides were given. `warnings` are lines about what is allowed but seldom meant.
    """

    manifest: Manifest
    path: Path | None
    text: bytes
    warnings: list[str]


def load(path: Path | None, overrides: Sequence[str] = ()) -> Loaded:
    """Read a manifest; None stands for Enarx's default, the three standard streams.

    Raises ManifestError, whose `problems` are all that was found.
    """
    if path is None:
        return parse(_WITHOUT_A_FILE, "", overrides)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = _HINTS_OF_SYSTEM.get(type(error), "is it the right file?")
        raise ManifestError(f"cannot be read: {error.strerror}", file=str(path), hint=hint) from error
    return msgspec.structs.replace(parse(text, str(path), overrides), path=path)


def parse(text: bytes, file: str, overrides: Sequence[str] = ()) -> Loaded:
    """Check a manifest's bytes; `file` is its name in errors. `overrides` are the arguments of `--set`.

    Raises ManifestError, whose `problems` are all that was found.
    """
    _require_size(text, file)
    decoded = _decode(text, file)
    table = _parse_toml(decoded, file)
    origins, errors = _override(table, overrides)
    manifest, faults = _check(table)
    errors += _located(faults, decoded, file, origins)
    if errors:
        _raise(errors)
    if overrides:
        text = tomli_w.dumps(table).encode()
        _require_size(text, file)
    warnings = [str(error) for error in _located(rules.warnings(manifest, table), decoded, file, origins)]
    return Loaded(manifest=manifest, path=None, text=text, warnings=warnings)


def _require_size(text: bytes, file: str) -> None:
    if len(text) > MAX_BYTES:
        hint = "a Keep reads no more; data of that size is better packaged as a file, with [[package.assets]]"
        raise ManifestError(f"is longer than {MAX_BYTES:,} bytes", file=file, hint=hint)


def _decode(text: bytes, file: str) -> str:
    try:
        # Enarx's parser passes over a byte order mark, and tomli does not.
        return text.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message, hint = f"byte 0x{text[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        raise ManifestError(message, file=file, line=line, column=column, hint=hint) from error


def _parse_toml(text: str, file: str) -> dict[str, Any]:
    try:
        table = tomli.loads(text)
        tomllib.loads(text)
    except tomli.TOMLDecodeError as error:
        message, hint = f"not TOML: {error.msg}", _SYNTAX_HINTS.get(error.msg, "https://toml.io describes the format")
        raise ManifestError(message, file=file, line=error.lineno, column=error.colno, hint=hint) from error
    except tomllib.TOMLDecodeError as error:
        # tomli knows TOML 1.1; the Keep, which reads with Python's own parser, and Enarx know 1.0.
        place = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(number) for number in place.groups()) if place else (0, 0)
        message = "TOML 1.1, and a Keep reads TOML 1.0"
        raise ManifestError(message, file=file, line=line, column=column, hint=_TOML_1_0) from error
    except RecursionError as error:
        raise ManifestError("is nested too deeply", file=file, hint=_REFERENCE) from error
    except ValueError as error:  # Python refuses to convert numbers of thousands of digits
        raise ManifestError("holds a number that is too long", file=file, hint=_REFERENCE) from error
    return table


def _override(table: dict[str, Any], arguments: Sequence[str]) -> tuple[dict[positions.Path, str], list[ManifestError]]:
    if not arguments:
        return {}, []
    from enarx_deploy.manifest import overrides

    return overrides.apply(table, arguments)


def _check(table: dict[str, Any]) -> tuple[Manifest, list[Fault]]:
    """The manifest made of the parts that have the right shape, and all that is wrong with the table."""
    try:
        manifest = msgspec.convert(table, Manifest)
    except msgspec.ValidationError:
        return _check_in_parts(table)
    return manifest, list(rules.faults(manifest, table))


def _check_in_parts(table: dict[str, Any]) -> tuple[Manifest, list[Fault]]:
    from enarx_deploy.manifest import shape

    faults = list(shape.faults(table))
    misshapen = {fault.path[0] for fault in faults}
    if misshapen & {"files", "network"}:
        misshapen.add("tls")  # which is about sockets of both
    fit = {key: value for key, value in table.items() if key not in misshapen}
    manifest = msgspec.convert(fit, Manifest)
    return manifest, [*faults, *rules.faults(manifest, fit)]


def _located(faults: Iterable[Fault], text: str, file: str, origins: dict[positions.Path, str]) -> list[ManifestError]:
    """The faults in the order of the file, each with its place there or the `--set` that it comes from."""
    found = list(faults)
    if not found:
        return []
    index = positions.Positions(text)
    errors = [_locate(fault, index, file, origins) for fault in found]
    return sorted(errors, key=lambda error: (error.file != file, error.line, error.column))


def _locate(fault: Fault, index: positions.Positions, file: str, origins: dict[positions.Path, str]) -> ManifestError:
    ways = [fault.path[:length] for length in range(len(fault.path), 0, -1)]
    origin = next((origins[path] for path in ways if path in origins), None)
    if origin is not None:
        return ManifestError(fault.message, file=origin, hint=fault.hint)
    path = next((path for path in ways if path in index), None)
    if path is None:
        return ManifestError(fault.message, file=file, hint=fault.hint)
    line, column = index.key(path) if fault.on_key else index.value(path)
    return ManifestError(fault.message, file=file, line=line, column=column, hint=fault.hint)


def _raise(errors: list[ManifestError]) -> None:
    first = errors[0]
    first.problems = errors
    raise first
