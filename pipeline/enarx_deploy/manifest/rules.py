"""What must hold between the keys of a manifest, which no type of a single key can say.

A rule yields a Fault for what is refused; `warnings` has the rules for what is allowed but seldom meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from enarx_deploy.manifest.faults import Fault, dotted, nearest, shown
from enarx_deploy.manifest.types import Connect, File, Listen, Manifest, Socket, destination_name
from enarx_toml.positions import Path

_LAST_PORT = 65_535
_NOT_A_STEWARD = ("selfsigned", "acme")
_MOST_STREAMS = 16_384


def faults(manifest: Manifest, table: dict[str, Any]) -> Iterator[Fault]:
    """Every rule that the manifest breaks; `table` is the TOML that it was made from."""
    yield from _steward(manifest)
    yield from _socket_names(manifest, table)
    yield from _listen_twice(manifest)
    yield from _tls(manifest, table)
    yield from _network(manifest)
    yield from _assets(manifest)
    yield from _resources(manifest)
    yield from _secrets(manifest)
    yield from _acme(manifest)


def warnings(manifest: Manifest, table: dict[str, Any]) -> Iterator[Fault]:
    """What is allowed, as in Enarx, but is seldom meant; the message says what it comes to."""
    if "files" not in table:
        yield Fault((), "no [[files]]: the workload gets no open files, not even stdin, stdout and stderr", "")
    if manifest.steward and "@" in urlsplit(manifest.steward).netloc:
        yield Fault(("steward",), "`steward` holds credentials, and whoever gets the package can read them", "")
    if manifest.steward and manifest.attest.issuer in _NOT_A_STEWARD:
        yield Fault(("steward",), f'`steward` is not asked: `attest.issuer` is "{manifest.attest.issuer}"', "")
    for key in manifest.env:
        yield from _env_warnings(key)
    for name, socket in _sockets(manifest.files).items():
        if name in manifest.tls and socket.prot == "tcp":
            yield Fault(("tls", name), f"`{dotted(('tls', name))}` does nothing: `prot` of that socket is tcp", "")
    for index, destination in enumerate(_destinations(manifest)):
        if destination.startswith("tcp://"):
            place = ("network", "connect", index)
            message = f"`{dotted(place)}` is plain TCP: the host and the network see and change all of it"
            yield Fault(place, message, "")
            if destination_name(destination) in manifest.tls:
                path = ("tls", destination_name(destination))
                yield Fault(path, f"`{dotted(path)}` does nothing: that destination is plain TCP", "")
    for name, tls in manifest.tls.items():
        if tls.client_auth != "none" and not tls.peers:
            path = ("tls", name)
            message = f"`{dotted(path)}` has no `peers`: every client with a certificate under its roots is let in"
            yield Fault((*path, "client_auth"), message, "")


def _env_warnings(key: str) -> Iterator[Fault]:
    path = ("env", key)
    if key in ("FD_COUNT", "FD_NAMES"):
        yield Fault(path, f"`{dotted(path)}` is not seen by getenv: the Keep sets {key} itself, and first", "")
    elif not key or "=" in key:
        message = f"the name {shown(key)} in `env` is not one that getenv can find: it is empty or has '=' in it"
        yield Fault(path, message, "")


def _steward(manifest: Manifest) -> Iterator[Fault]:
    if manifest.steward is not None and not _is_usable(manifest.steward):
        yield Fault(
            ("steward",),
            f"`steward` must be an absolute URL, not {shown(manifest.steward)}",
            'write it as "https://HOST" or "https://HOST:PORT"',
        )


def _is_usable(url: str) -> bool:
    """Whether host and port of a URL that has the right form can be meant."""
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:
            return False
        return parts.scheme == "https" or parts.hostname == "localhost" or ip_address(parts.hostname).is_loopback
    except ValueError:
        return False


def _socket_names(manifest: Manifest, table: dict[str, Any]) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, file in enumerate(manifest.files):
        if not isinstance(file, Socket):
            continue
        path = ("files", index, "name" if "name" in table["files"][index] else "host")
        if ":" in file.name:
            message = f"`files[{index}]` is named by its host {shown(file.name)}, and ':' joins the names in FD_NAMES"
            yield Fault(path, message, 'add `name = "..."` to it')
        elif file.name in first:
            message = f"`files[{index}]` has the name {shown(file.name)}, as `files[{first[file.name]}]` has"
            yield Fault(path, message, "give it another `name`: endpoints and [tls.NAME] are found by it")
        first.setdefault(file.name, index)


def _listen_twice(manifest: Manifest) -> Iterator[Fault]:
    first: dict[tuple[str, int], int] = {}
    for index, file in enumerate(manifest.files):
        if isinstance(file, Listen) and file.port:
            other = first.setdefault((file.addr, file.port), index)
            if other != index:
                message = f"`files[{index}]` listens on the address and port {file.port} of `files[{other}]`"
                yield Fault(("files", index, "port"), message, "give one of them another `port` or `addr`")


def _tls(manifest: Manifest, table: dict[str, Any]) -> Iterator[Fault]:
    sockets = _sockets(manifest.files)
    destinations = {destination_name(destination) for destination in _destinations(manifest)}
    for name in manifest.tls:
        path = ("tls", name)
        if name in destinations:
            yield from _misplaced(path, None, table["tls"][name])
        elif name not in sockets:
            near = nearest(name, sockets)
            known = ", ".join(shown(known) for known in sockets) or "there are none"
            hint = f"did you mean {shown(near)}?" if near else f"sockets in `files`: {known}"
            yield Fault(path, f"`{dotted(path)}` is no socket of `files`", hint, on_key=True)
        else:
            yield from _misplaced(path, sockets[name], table["tls"][name])


def _misplaced(path: Path, socket: Socket | None, table: dict[str, Any]) -> Iterator[Fault]:
    """Keys of [tls.NAME] that say nothing about a socket of this kind; None is one made while the workload runs."""
    meaningless: dict[str, tuple[str, str]] = {}
    if socket is None or isinstance(socket, Connect):
        meaningless["client_auth"] = ("this one connects", "remove it: it is the server who asks for certificates")
    else:
        meaningless["server_name"] = ("this one listens", "remove it: the Steward's policy decides on names")
        if table.get("client_auth", "none") == "none":
            unasked = ("clients are not asked for certificates", 'remove it, or add client_auth = "require"')
            meaningless |= {"roots": unasked, "peers": unasked}
    for key, (why, hint) in meaningless.items():
        if key in table:
            yield Fault((*path, key), f"`{dotted((*path, key))}` has no meaning: {why}", hint, on_key=True)


def _network(manifest: Manifest) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, destination in enumerate(_destinations(manifest)):
        path = ("network", "connect", index)
        name = destination_name(destination)
        if int(name.rpartition(":")[2]) > _LAST_PORT:
            yield Fault(path, f"`{dotted(path)}` has a port above {_LAST_PORT}", 'write it as "HOST:PORT"')
        other = first.setdefault(name.lower(), index)
        if other != index:
            message = f"`{dotted(path)}` is {shown(name)}, as `network.connect[{other}]` is"
            yield Fault(path, message, "name it once: by TLS, or in clear")
    listens = any(isinstance(file, Listen) for file in manifest.files)
    if manifest.network and listens:
        total = len(manifest.files) + manifest.resources.connections + manifest.network.connections
        if total >= _MOST_STREAMS:
            message = f"`resources.connections` and `network.connections` are more than {_MOST_STREAMS} together"
            yield Fault(("network",), message, "make one of them smaller")


def _destinations(manifest: Manifest) -> tuple[str, ...]:
    return manifest.network.connect if manifest.network else ()


def _assets(manifest: Manifest) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, asset in enumerate(manifest.package.assets):
        other = first.setdefault(asset.guest, index)
        if other != index:
            message = f"`package.assets[{index}]` is at {shown(asset.guest)}, as `package.assets[{other}]` is"
            yield Fault(("package", "assets", index, "guest"), message, "give it another `guest`")


def _resources(manifest: Manifest) -> Iterator[Fault]:
    if not 1 << 16 <= manifest.resources.memory_bytes <= 1 << 32:
        yield Fault(
            ("resources", "memory"),
            "`resources.memory` must be from 64 KiB (a page) to 4 GiB (what 32 bits address)",
            'write it as in memory = "256 MiB"',
        )
    if manifest.resources.filesystem_bytes > 64 << 30:
        yield Fault(
            ("resources", "filesystem"),
            "`resources.filesystem` must be at most 64 GiB: it is held in memory",
            'write it as in filesystem = "64 MiB"',
        )

    needed = len(manifest.files) + len(manifest.package.assets)
    if manifest.resources.descriptors < needed:
        yield Fault(
            ("resources", "descriptors"),
            f"`resources.descriptors` is too small: `files` and `package.assets` take {needed}",
            "leave room for the connections and files that the workload opens",
        )


def _acme(manifest: Manifest) -> Iterator[Fault]:
    if manifest.attest.issuer != "acme":
        return
    if not manifest.acme.names:
        message = '`attest.issuer` is "acme", and no names are listed for its certificate'
        yield Fault(("attest", "issuer"), message, 'add `names = ["app.example.org"]` to [acme]')
    if manifest.secrets:
        message = '`secrets` are released by a Steward, and `attest.issuer` is "acme", which appraises nothing'
        yield Fault(("secrets",), message, "remove `secrets`, or have a Steward issue the certificate")


def _secrets(manifest: Manifest) -> Iterator[Fault]:
    assets = {asset.guest: f"package.assets[{index}]" for index, asset in enumerate(manifest.package.assets)}
    taken: dict[str, dict[str, str]] = {"name": {}, "file": assets, "env": dict.fromkeys(manifest.env, "env")}
    for index, secret in enumerate(manifest.secrets):
        place = f"secrets[{index}]"
        if secret.file is None and secret.env is None:
            yield Fault(("secrets", index), f"`{place}` is nowhere", "add `file` or `env`: where the workload finds it")
        if secret.file == "/":
            yield Fault(("secrets", index, "file"), f"`{place}.file` is a directory", 'such as file = "/secrets/key"')
        for key, others in taken.items():
            value = getattr(secret, key)
            other = others.setdefault(value, place) if value is not None else place
            if other != place:
                message = f"`{place}.{key}` is {shown(value)}, as in `{other}`"
                yield Fault(("secrets", index, key), message, f"give it another `{key}`")
    if manifest.secrets and manifest.attest.protocol == "enarx":
        message = "`secrets` are not released by Enarx's protocol, whose evidence commits to no package and no nonce"
        yield Fault(("secrets",), message, 'use `[attest] protocol = "v1"`')


def _sockets(files: tuple[File, ...]) -> dict[str, Socket]:
    return {file.name: file for file in files if isinstance(file, Socket)}
