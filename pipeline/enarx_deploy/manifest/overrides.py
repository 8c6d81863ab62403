"""`--set KEY=VALUE`: lay values given on the command line over the parsed manifest.

KEY is a dotted TOML key in which an array's item is `[N]` and a socket of `files` may be named instead: `env.A`,
`files[3].port`, `files.web.port`, `tls."a.b".roots`. VALUE is TOML; where it is not, or where the key wants a string
and it is something else, it is taken as a string as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import tomli
from msgspec import inspect

from enarx_deploy.errors import ManifestError
from enarx_deploy.manifest import shape
from enarx_deploy.manifest.faults import dotted, nearest, shortened, shown
from enarx_toml.positions import KEY, Path, unquote

_INDEX = re.compile(r"\[([0-9]{1,6})\]")
_EXAMPLES = "write it as in --set files[3].port=8443, --set files.web.port=8443 or --set env.A=x"


class _Setting(NamedTuple):
    words: str  # what names it in errors; without the value, which may be a secret
    steps: list[str | int]
    raw: str


def apply(table: dict[str, Any], arguments: Iterable[str]) -> tuple[dict[Path, str], list[ManifestError]]:
    """Lay the arguments over `table`, in order.

    Returns where each changed place comes from, in the words that name it in errors, and the arguments that have no
    place to go.
    """
    origins: dict[Path, str] = {}
    errors: list[ManifestError] = []
    for argument in arguments:
        try:
            setting = _split(argument)
            changed = _set(table, setting)
        except ManifestError as error:
            errors.append(error)
        else:
            origins = {path: words for path, words in origins.items() if path[: len(changed)] != changed}
            origins[changed] = setting.words
    return origins, errors


def _split(argument: str) -> _Setting:
    """Take `KEY=VALUE` apart. Raises ManifestError."""
    words = _words(argument.partition("=")[0])
    steps: list[str | int] = []
    at = 0
    try:
        argument.encode()
        while part := KEY.match(argument, at):
            steps.append(unquote(part[0]))
            at = part.end()
            while index := _INDEX.match(argument, at):
                steps.append(int(index[1]))
                at = index.end()
            if argument.startswith("=", at):
                return _Setting(_words(argument[:at]), steps, argument[at + 1 :])
            if not argument.startswith(".", at):
                break
            at += 1
    except ValueError as error:
        raise ManifestError("is not UTF-8, or its KEY is not TOML", file=words, hint=_EXAMPLES) from error
    raise ManifestError("is not KEY=VALUE", file=words, hint=_EXAMPLES)


def _words(key: str) -> str:
    return f"--set {shortened(key) if key.isprintable() else shown(key)}"


def _set(table: dict[str, Any], setting: _Setting) -> Path:
    """Put the value in its place; returns the highest place that is new or changed. Raises ManifestError."""
    container: Any = table
    node: inspect.Type | None = shape.MANIFEST
    path: Path = ()
    made: list[tuple[Path, dict[str, Any], Any]] = []  # tables on the way that were missing: path, where, what
    *way, last = setting.steps
    for step in way:
        path = (*path, _step(container, step, path, setting))
        node = shape.child(node, path[-1], container)
        if isinstance(container, dict) and path[-1] not in container:
            made.append((path, container, [] if _is_array(node) else {}))
            container = made[-1][2]
        else:
            container = container[path[-1]]
    path = (*path, _step(container, last, path, setting))
    container[path[-1]] = _value(setting.raw, shape.child(node, path[-1], container))
    for at, parent, below in made:  # only now, so that an argument with no place to go leaves nothing behind
        parent[str(at[-1])] = below
    return made[0][0] if made else path


def _step(container: Any, step: str | int, path: Path, setting: _Setting) -> str | int:
    """The key or the index that `step` stands for in `container`. Raises ManifestError where it is none."""
    if isinstance(container, dict) and isinstance(step, str):
        return step
    if isinstance(container, list) and isinstance(step, int) and step < len(container):
        return step
    if isinstance(container, list) and isinstance(step, str) and path == ("files",):
        return _socket(container, step, setting)
    if isinstance(container, list):
        message = f"`{dotted(path)}` has {len(container)} items, and each is reached as `{dotted(path)}[N]`, from 0"
    else:
        message = f"`{dotted(path)}` is {'a table' if isinstance(container, dict) else shown(container)}"
        message += ", not an array" if isinstance(step, int) else ", not a table"
    raise ManifestError(message, file=setting.words, hint=_EXAMPLES)


def _socket(files: list[Any], name: str, setting: _Setting) -> int:
    names = [file.get("name", file.get("host")) if isinstance(file, dict) else None for file in files]
    sockets = {
        known: index
        for index, known in enumerate(names)
        if isinstance(known, str) and files[index].get("kind") in ("listen", "connect")
    }
    if name in sockets:
        return sockets[name]
    near = nearest(name, sockets)
    known = ", ".join(shown(known) for known in sockets) or "there are none"
    hint = f"did you mean {shown(near)}?" if near else f"sockets in `files`: {known}"
    raise ManifestError(f"`files` has no socket named {shown(name)}", file=setting.words, hint=hint)


def _is_array(node: inspect.Type | None) -> bool:
    return node is not None and isinstance(shape.bare(node), inspect.VarTupleType)


def _value(raw: str, node: inspect.Type | None) -> Any:
    try:
        parsed = tomli.loads(f"value = {raw}")
    except (ValueError, RecursionError):
        return raw
    value = parsed.pop("value")
    wants_string = node is not None and isinstance(shape.bare(node), inspect.StrType | inspect.LiteralType)
    return raw if parsed or (wants_string and not isinstance(value, str)) else value
