"""Connections that a running Keep asks for: made here, to what the manifest grants, whatever the Keep says.

The Keep names a grant by its number and nothing else. It has refused everything that is not granted itself; a Keep that
asks for a grant that there is not, or for more at once than the manifest lets it, is hostile, and is ended.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

from enarx_deploy.host import sockets
from enarx_deploy.manifest import destination_name
from enarx_keep.channel import Message, field
from enarx_keep.errors import BadMessage

if TYPE_CHECKING:
    from enarx_deploy.manifest import Manifest
    from enarx_sallyport import Host


class Outbound:
    """See the module."""

    def __init__(self, manifest: Manifest, host: Host) -> None:
        network = manifest.network
        self._destinations = [_place(destination) for destination in network.connect] if network else []
        self._limit = network.connections if network else 0
        self._host = host
        self._dialling = 0
        self._lock = threading.Lock()

    def take(self, message: Message) -> None:
        """Begin to connect. Raises BadMessage where the manifest does not grant it."""
        grant = field(message, "grant", int)
        if not 0 <= grant < len(self._destinations):
            raise BadMessage("it asked for a connection that its manifest does not grant")
        with self._lock:
            if self._dialling + self._host.waiting >= self._limit:
                raise BadMessage("it asked for more connections at once than its manifest grants")
            self._dialling += 1
        threading.Thread(target=self._dial, args=(grant,), name="dial", daemon=True).start()

    def _dial(self, grant: int) -> None:
        try:
            with sockets.dial(*self._destinations[grant]) as connection:
                self._host.answer_connection(grant, connection.fileno())
        except OSError as error:
            self._host.refuse_connection(grant, error.errno or errno.EIO)
        finally:
            with self._lock:
                self._dialling -= 1


def _place(destination: str) -> tuple[str, int]:
    host, _, port = destination_name(destination).rpartition(":")
    return host.strip("[]"), int(port)
