"""Environments: `[deploy.NAME]`, the overlay `Enarx.NAME.toml`, and the tables that targets have of their own.

An environment says where and how Keeps are started, and nothing of what they are: `deploy` is taken out of the
manifest that is packaged, so that one package, under one digest, is what every environment runs.

An overlay lies beside the manifest, has the same form, and may hold `[deploy.NAME]` and what is below it. It is laid
over the manifest's own table key by key: a table is merged, and any other value takes the place of the one below.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from enarx_deploy.errors import ManifestError, UsageError
from enarx_deploy.manifest.faults import Fault, dotted
from enarx_deploy.manifest.places import Places
from enarx_deploy.manifest.types import Deploy

S = TypeVar("S", bound=msgspec.Struct)

DEFAULT = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")  # what may stand in a file's name
_OVERLAYS = re.compile(rf"Enarx\.({_NAME.pattern})\.toml")
_FIELDS = frozenset(field.encode_name for field in msgspec.structs.fields(Deploy))


class OwnTable(msgspec.Struct, frozen=True):
    """`[deploy.NAME.TARGET]` as it was read: what it may say only its target knows, who takes it with `read_as`."""

    path: tuple[str | int, ...]
    content: dict[str, Any]
    places: Places

    def read_as(self, struct: type[S]) -> S:
        """The table as `struct`, each fault with its file, line and column. Raises ManifestError."""
        from enarx_deploy.manifest import shape  # which a run of a manifest without overlays does not need

        self.places.require(shape.faults(self.content, inspect.type_info(struct), self.path))
        return msgspec.convert(self.content, struct)

    def refuse(self, message: str, hint: str) -> ManifestError:
        """The error that this table is not to be there."""
        return self.places.error(Fault(self.path, message, hint, on_key=True))


def overlay_file(directory: Path | None, name: str) -> Path | None:
    """The overlay of an environment, if it has one."""
    if directory is None or not _NAME.fullmatch(name):
        return None
    path = directory / f"Enarx.{name}.toml"
    return path if path.is_file() else None


def overlays(directory: Path) -> list[str]:
    """The environments that have an overlay in a directory."""
    found = (_OVERLAYS.fullmatch(path.name) for path in directory.glob("Enarx.*.toml"))
    return sorted(match[1] for match in found if match)


def chosen(asked: str | None, tables: Collection[str], directory: Path | None) -> str:
    """The environment that `asked` names, else `default` or the only table; "" where there is none.

    An overlay alone makes an environment that has to be named. None stands for a command that takes no name: where
    several tables could be meant, it does without one. Raises UsageError.
    """
    if asked and (asked in tables or overlay_file(directory, asked)):
        return asked
    if DEFAULT in tables or overlay_file(directory, DEFAULT):
        return DEFAULT
    if len(tables) <= 1:
        return next(iter(tables), "")
    if asked is None:
        return ""
    names = ", ".join(sorted(tables))
    if asked:
        raise UsageError(
            f"{asked!r} is none of the manifest's environments: {names}",
            hint="a target can be named instead of one where one of them is called `default`",
        )
    raise UsageError(
        f"the manifest has {len(tables)} [deploy] tables: {names}",
        hint="say which with --target NAME, or name one of them `default`",
    )


def overlay_faults(overlay: dict[str, Any], name: str) -> Iterator[Fault]:
    """What an overlay must not say: anything but `[deploy.NAME]`."""
    for key, value in overlay.items():
        if key != "deploy":
            yield Fault(
                (key,),
                f"`{dotted((key,))}` is not for an overlay: it is packaged, and a package is the same everywhere",
                f"write it into Enarx.toml; here stands [deploy.{name}]",
                on_key=True,
            )
        elif isinstance(value, dict):
            for other in value.keys() - {name}:
                path = ("deploy", other)
                hint = f"write it into Enarx.toml or Enarx.{other}.toml"
                yield Fault(path, f"`{dotted(path)}` is another environment than {name!r}", hint, on_key=True)


def lay_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Change `below` to what both come to."""
    for key, value in above.items():
        under = below.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            lay_over(under, value)
        else:
            below[key] = value


def take_own_tables(table: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, dict[str, Any]]]]:
    """The manifest without the tables that targets have of their own, and those, by environment and target."""
    deploy = table.get("deploy")
    if not isinstance(deploy, dict):
        return table, {}
    own = {name: _own(content) for name, content in deploy.items() if isinstance(content, dict)}
    kept = {
        name: {key: value for key, value in content.items() if key not in own[name]} if name in own else content
        for name, content in deploy.items()
    }
    return table | {"deploy": kept}, own


def _own(environment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: value for key, value in environment.items() if key not in _FIELDS and isinstance(value, dict)}
