"""From the bytes of `Enarx.toml` to a checked `Manifest`."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import tomli
import tomli_w

from enarx_deploy.errors import ManifestError
from enarx_deploy.manifest import environments, rules
from enarx_deploy.manifest.faults import Fault
from enarx_deploy.manifest.places import Places, Source, raise_all
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

    `text` is what goes into the package: the file's own bytes, or TOML of what is packaged where the file names
    environments or overrides changed it. `as_written` is the file's text, and None where overrides changed what is
    packaged, so that a place in the manifest need not be one in the file. `warned` is about what is allowed but
    seldom meant. `places` is where its values stand. `environment` is the one in use ("" for none), and `own_tables`
    are those that targets have in it, by the target's name.
    """

    manifest: Manifest
    path: Path | None
    text: bytes
    as_written: str | None
    warned: list[ManifestError]
    places: Places
    environment: str = ""
    own_tables: dict[str, environments.OwnTable] = {}

    @property
    def warnings(self) -> list[str]:
        """The same, in lines."""
        return [str(one) for one in self.warned]


def load(path: Path | None, overrides: Sequence[str] = (), environment: str | None = None) -> Loaded:
    """Read a manifest; None stands for Enarx's default, the three standard streams.

    `environment` is which to choose, as in `environments.chosen`.
    Raises UsageError; ManifestError, whose `problems` are all that was found.
    """
    if path is None:
        return parse(_WITHOUT_A_FILE, "", overrides, environment=environment)
    loaded = parse(_read(path), str(path), overrides, environment=environment, directory=path.parent)
    return msgspec.structs.replace(loaded, path=path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = _HINTS_OF_SYSTEM.get(type(error), "is it the right file?")
        raise ManifestError(f"cannot be read: {error.strerror}", file=str(path), hint=hint) from error


def parse(
    text: bytes,
    file: str,
    overrides: Sequence[str] = (),
    *,
    environment: str | None = None,
    directory: Path | None = None,
) -> Loaded:
    """Check a manifest's bytes; `file` is its name in errors. `overrides` are the arguments of `--set`.

    `directory` is where overlays are looked for; `environment` is as for `load`.
    Raises UsageError; ManifestError, whose `problems` are all that was found.
    """
    table, source = _parse(text, file)
    written = "deploy" in table
    before = copy.deepcopy(_packaged(table)) if overrides else None
    name, sources = _with_overlay(table, source, environment, directory)
    origins, errors = _override(table, overrides)
    name = name or environments.chosen(environment, _tables(table), directory)  # which an override may have made
    places = Places(sources, origins)
    table, own_tables = environments.take_own_tables(table)
    manifest, faults = _check(table)
    raise_all(errors + places.errors(faults))
    overridden = before is not None and _packaged(table) != before
    if overridden or written:
        text = tomli_w.dumps(_packaged(table)).encode()
        _require_size(text, file)
    return Loaded(
        manifest=manifest,
        path=None,
        text=text,
        as_written=None if overridden else source.text,
        warned=places.errors(rules.warnings(manifest, table)),
        places=places,
        environment=name,
        own_tables={
            target: environments.OwnTable(("deploy", name, target), content, places)
            for target, content in own_tables.get(name, {}).items()
        },
    )


def _packaged(table: dict[str, Any]) -> dict[str, Any]:
    """What of a manifest goes into the package: not where it is deployed, which may differ for the same package."""
    return {key: value for key, value in table.items() if key != "deploy"}


def _with_overlay(
    table: dict[str, Any], source: Source, asked: str | None, directory: Path | None
) -> tuple[str, tuple[Source, ...]]:
    """Choose the environment and lay its overlay over `table`; its name, and what was read, the overlay first."""
    name = environments.chosen(asked, _tables(table), directory)
    overlay = environments.overlay_file(directory, name)
    if overlay is None:
        return name, (source,)
    above, over = _parse(_read(overlay), str(overlay))
    Places((over,)).require(environments.overlay_faults(above, name))
    environments.lay_over(table, above)
    return name, (over, source)


def _tables(table: dict[str, Any]) -> Collection[str]:
    deploy = table.get("deploy")
    return deploy if isinstance(deploy, dict) else ()


def _parse(text: bytes, file: str) -> tuple[dict[str, Any], Source]:
    _require_size(text, file)
    decoded = _decode(text, file)
    return _parse_toml(decoded, file), Source(file, decoded)


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
