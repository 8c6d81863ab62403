"""The package's Enarx.toml, as far as a Keep acts on it.

The host has read the same file, and opened what it lists; but what the workload gets is decided here, from bytes that
the package's digest vouches for. So this reads strictly, and gives defaults as Enarx 0.7.1 does.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from enarx_keep.errors import BadManifest

ARGV0 = "main.wasm"
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
STDIO = ("stdin", "stdout", "stderr")
"""Kinds of files that are standard streams."""
_KINDS = ("null", *STDIO, "listen", "connect")


_OPENED = ("kind", "name", "prot", "addr", "port", "host")
"""Keys of an entry of `files` that a host opens by."""
_MOST_CONNECTIONS = 1024
_MOST_NAMES = 100
_DNS_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_CLIENT_AUTH = ("none", "request", "require")
_TLS_KEYS = {"roots", "client_auth", "peers", "server_name", "alpn", "handshake_timeout"}


class Tls(NamedTuple):
    """What `[tls.NAME]` says of a socket."""

    roots: tuple[str, ...] = ()
    client_auth: str = "none"
    peers: tuple[str, ...] = ()
    server_name: str = ""
    alpn: tuple[str, ...] = ()
    handshake_timeout: int = 10


class File(NamedTuple):
    """An entry of `files`; its index is its descriptor. `tls` is None where it speaks in clear."""

    kind: str
    name: str
    tls: Tls | None = None
    host: str = ""

    @property
    def roots(self) -> tuple[str, ...]:
        """Whom it trusts, by TLS."""
        if self.tls is None or (self.kind == "listen" and self.tls.client_auth == "none"):
            return ()
        return self.tls.roots or (("steward",) if self.kind == "listen" else ("system",))


class Destination(NamedTuple):
    """What the workload may connect to; its index is what the host knows it by. `tls` is None where it is in clear."""

    name: str
    host: str
    tls: Tls | None

    @property
    def roots(self) -> tuple[str, ...]:
        """Whom it trusts, by TLS."""
        return (self.tls.roots or ("system",)) if self.tls else ()


class Network(NamedTuple):
    """What the workload may connect to while it runs, and how many such connections it may have."""

    destinations: tuple[Destination, ...]
    connections: int


class Asset(NamedTuple):
    """A file or folder of the package that the workload can open at `guest`."""

    guest: str
    writable: bool


class Secret(NamedTuple):
    """What the Steward is to release, and where the workload finds it; "" where it does not."""

    name: str
    file: str
    env: str


class Manifest(NamedTuple):
    """What the workload gets."""

    args: tuple[str, ...] = ()
    env: Mapping[str, str] = MappingProxyType({})
    files: tuple[File, ...] = ()
    assets: tuple[Asset, ...] = ()
    secrets: tuple[Secret, ...] = ()
    names: tuple[str, ...] = ()
    network: Network | None = None
    memory_bytes: int = 4 << 30
    filesystem_bytes: int = 64 << 20
    descriptors: int = 65536
    time: int | None = None
    cpu_time: int | None = None

    @property
    def needs_certificate(self) -> bool:
        """Whether a socket speaks TLS: one that listens serves the certificate, one that connects can show it.

        With secrets too: the Keep believes whom its certificate is from.
        """
        granted = self.network.destinations if self.network else ()
        return (
            bool(self.secrets)
            or any(file.tls for file in self.files)
            or any(destination.tls for destination in granted)
        )

    @property
    def has_deadline(self) -> bool:
        """Whether the workload must be stopped some time."""
        return self.time is not None or self.cpu_time is not None

    def argv(self) -> list[str]:
        """The arguments, the program's name first."""
        return [ARGV0, *self.args]

    def environ(self) -> list[str]:
        """The environment in order: how many descriptors there are, their names, then the manifest's own."""
        names = ":".join(file.name for file in self.files)
        own = [f"{name}={value}" for name, value in self.env.items()]
        return [f"FD_COUNT={len(self.files)}", f"FD_NAMES={names}", *own]


def read(text: bytes) -> Manifest:
    """The manifest in `text`. Raises BadManifest."""
    tables = _tables(text)
    try:
        return _manifest(tables)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise BadManifest(f"Enarx.toml: a value is not of the type it must have ({error})") from error


def openings(text: bytes) -> dict[str, Any]:
    """What a host must know of a manifest that it has not seen: what it opens, and what it says of limits."""
    tables = _tables(text)
    files = [{key: entry[key] for key in _OPENED if key in entry} for entry in tables.get("files", ())]
    return {"files": files, **{name: tables[name] for name in ("network", "resources") if name in tables}}


def _tables(text: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix(codecs.BOM_UTF8).decode())  # as Enarx, which passes over the mark
    except (ValueError, RecursionError) as error:
        raise BadManifest(f"Enarx.toml: {error}") from error


def _manifest(tables: dict[str, Any]) -> Manifest:
    resources = tables.get("resources", {})
    package = tables.get("package", {})
    return Manifest(
        args=tuple(_text(word) for word in tables.get("args", ())),
        env={_text(name): _text(value) for name, value in tables.get("env", {}).items()},
        files=tuple(_file(entry, tables.get("tls", {})) for entry in tables.get("files", ())),
        assets=tuple(_asset(entry) for entry in package.get("assets", ())),
        secrets=tuple(_secret(entry) for entry in _array(tables.get("secrets", ()))),
        names=_names(tables),
        network=_network(tables["network"], tables.get("tls", {})) if "network" in tables else None,
        memory_bytes=_size(resources.get("memory", "4 GiB")),
        filesystem_bytes=_size(resources.get("filesystem", "64 MiB")),
        descriptors=int(resources.get("descriptors", 65536)),
        time=_seconds(resources.get("time")),
        cpu_time=_seconds(resources.get("cpu_time")),
    )


def _file(entry: dict[str, Any], tls: dict[str, Any]) -> File:
    kind = entry["kind"]
    if kind not in _KINDS:
        raise BadManifest(f"Enarx.toml: no kind {kind!r} of file")
    if kind not in ("listen", "connect"):
        return File(kind=kind, name=_text(entry.get("name", kind)))
    if entry["prot"] not in ("tls", "tcp"):
        raise BadManifest(f"Enarx.toml: no protocol {entry['prot']!r}")
    host = _text(entry["host"]) if kind == "connect" else ""
    name = _text(entry["name"] if kind == "listen" else entry.get("name", host))
    return File(kind=kind, name=name, host=host, tls=_tls(tls.get(name, {})) if entry["prot"] == "tls" else None)


def _tls(table: dict[str, Any]) -> Tls:
    if not table.keys() <= _TLS_KEYS:
        raise BadManifest(f"Enarx.toml: [tls] has a key that this Keep does not know: {', '.join(table)}")
    client_auth = table.get("client_auth", "none")
    if client_auth not in _CLIENT_AUTH:
        raise BadManifest(f"Enarx.toml: no client_auth {client_auth!r}")
    return Tls(
        roots=_words(table, "roots"),
        client_auth=client_auth,
        peers=_words(table, "peers"),
        server_name=_text(table.get("server_name", "")),
        alpn=_words(table, "alpn"),
        handshake_timeout=int(table.get("handshake_timeout", 10)),
    )


def _names(tables: dict[str, Any]) -> tuple[str, ...]:
    """Names that the certificate is asked for, by an issuer that certifies names."""
    if tables.get("attest", {}).get("issuer") != "acme":
        return ()
    names = _words(tables.get("acme", {}), "names")
    if len(names) > _MOST_NAMES or not all(_DNS_NAME.fullmatch(name) for name in names):
        raise BadManifest("Enarx.toml: acme.names lists what is no DNS name, or too many")
    return names


def _network(table: dict[str, Any], tls: dict[str, Any]) -> Network:
    if not table.keys() <= {"connect", "connections"}:
        raise BadManifest(f"Enarx.toml: [network] has a key that this Keep does not know: {', '.join(table)}")
    connections = table.get("connections", 64)
    if type(connections) is not int or not 1 <= connections <= _MOST_CONNECTIONS:
        raise BadManifest("Enarx.toml: network.connections is out of bounds")
    destinations = tuple(_destination(_text(word), tls) for word in _array(table.get("connect", ())))
    return Network(destinations, connections)


def _destination(word: str, tls: dict[str, Any]) -> Destination:
    scheme, separator, name = word.rpartition("://")
    if separator and scheme != "tcp":
        raise BadManifest(f"Enarx.toml: no protocol {scheme!r}")
    host, _, port = name.rpartition(":")
    if not host or not port.isdecimal():
        raise BadManifest(f"Enarx.toml: {word!r} is not HOST:PORT")
    return Destination(name, host.strip("[]"), None if separator else _tls(tls.get(name, {})))


def _words(table: dict[str, Any], key: str) -> tuple[str, ...]:
    """An array of strings; one that is there and empty would grant all where it was meant to grant nothing."""
    words = tuple(_text(word) for word in _array(table.get(key, ())))
    if key in table and not words:
        raise BadManifest(f"Enarx.toml: {key} is empty")
    return words


def _array(value: Any) -> Any:
    if isinstance(value, str):
        raise TypeError(f"{value!r} is not an array")
    return value


def _asset(entry: dict[str, Any]) -> Asset:
    return Asset(guest=_text(entry["guest"]), writable=entry.get("writable", False) is True)


def _secret(entry: dict[str, Any]) -> Secret:
    if not entry.keys() <= {"name", "file", "env"} or not entry.keys() & {"file", "env"}:
        raise BadManifest(f"Enarx.toml: [[secrets]] has keys that this Keep does not know: {', '.join(entry)}")
    variable = _text(entry.get("env", ""))
    if "=" in variable or "\0" in variable:
        raise BadManifest(f"Enarx.toml: {variable!r} is not the name of a variable")
    return Secret(name=_text(entry["name"]), file=_text(entry.get("file", "")), env=variable)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _seconds(value: Any) -> int | None:
    return None if value is None else int(value)


def _size(value: Any) -> int:
    if isinstance(value, int):
        return value
    number = _text(value).rstrip("BKMGi ")
    return int(number) * _UNITS[value.removeprefix(number).strip()]
