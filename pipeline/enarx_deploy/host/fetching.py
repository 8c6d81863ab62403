"""A Keep that fetches its package itself: it reaches its registry alone, and then says what its manifest lists.

Its package is not seen here, so that it has room for what a manifest may list before anything is known of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from enarx_deploy.errors import KeepError, ManifestError
from enarx_deploy.host import sockets
from enarx_deploy.manifest import parse
from enarx_keep.channel import Message

if TYPE_CHECKING:
    import socket

    from enarx_deploy.manifest import Manifest
    from enarx_deploy.models import PackageSource
    from enarx_sallyport import Host

UNSEEN = {"files": 65, "connections": 1024, "outbound": 64}
"""Room of a Keep whose manifest is not known before it runs: entries, accepted connections, connections of its own."""
REGISTRY_ENTRY = UNSEEN["files"] - 1
"""The entry over which such a Keep speaks with its registry."""
_HERE = "deploy it with --fetch-here: then this machine fetches the package"
DIALS_LIMIT = 64
"""Most connections to its registry that a Keep may ask for."""
REGISTRY_LINGER = 5.0
"""Seconds that the last connection to a registry has to end before the next one."""


class Registry:
    """The registry of one Keep, as its host connects the Keep to it."""

    def __init__(self, source: PackageSource, host: Host) -> None:
        self._source = source
        self._host = host
        self._dials = 0

    def dial(self, _: Message) -> Message:
        """Connect the Keep. Raises KeepError."""
        self._dials += 1
        if self._dials > DIALS_LIMIT:
            raise KeepError(f"the Keep asked for more than {DIALS_LIMIT} connections to its registry", hint=_HERE)
        place = f"{self._source.host} port {self._source.port}"
        try:
            with sockets.dial(self._source.host, self._source.port) as connection:
                self._attach(connection)
        except OSError as error:
            raise KeepError(
                f"cannot connect to the registry {place}: {error.strerror or error}",
                hint="is it up, and reached from this machine?",
            ) from error
        return {"type": "dialled"}

    def _attach(self, connection: socket.socket) -> None:
        """The connection before must have been given back, which its own end may hold up."""
        until = time.monotonic() + REGISTRY_LINGER
        while True:
            try:
                return self._host.attach_socket(REGISTRY_ENTRY, connection.fileno())
            except RuntimeError as error:
                if time.monotonic() > until:
                    raise KeepError("the Keep's connection to its registry cannot be replaced", hint=_HERE) from error
                time.sleep(0.05)


def listed(message: Message) -> Manifest:
    """What the manifest of a package that was not seen lists, as the Keep says; checked as a manifest is.

    Raises KeepError where it cannot be opened, or needs more room than there is.
    """
    import tomli_w

    try:
        table: Message = {name: message[name] for name in ("files", "network", "resources") if name in message}
        manifest = parse(tomli_w.dumps(table).encode(), "the package's Enarx.toml").manifest
    except (ManifestError, TypeError, ValueError) as error:
        raise KeepError(
            f"the Keep lists what cannot be opened: {error}", hint="`enarx-deploy check` looks through a manifest"
        ) from error
    outbound = manifest.network.connections if manifest.network else 0
    if len(manifest.files) > REGISTRY_ENTRY or outbound > UNSEEN["outbound"]:
        raise KeepError(
            f"the manifest lists {len(manifest.files)} files and {outbound} connections, and a Keep that fetches "
            f"its package has {REGISTRY_ENTRY} and {UNSEEN['outbound']}",
            hint="deploy it with --fetch-here",
        )
    return manifest
