"""Fetch the package from a registry, over TLS that ends in this Keep and with this Keep's certificate.

The host says where the registry is, connects to it, and moves ciphertext. What comes is believed as far as the digest
goes that evidence committed to; whom it comes from decides nothing but whether it comes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from enarx_keep.channel import Message, decoded, field
from enarx_keep.errors import BadMessage, RegistryFault
from enarx_keep.http_client import Client, Stream
from enarx_sallyport import Guest

FETCH_LIMIT = 900.0
"""Seconds that all of it may take."""
SILENCE_LIMIT = 30.0
"""Seconds that a registry may say nothing."""
DIALS_LIMIT = 64
"""Most connections that one package takes."""
ROOTS_LIMIT = 64

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}")
_PATH = re.compile(r"(/[0-9A-Za-z._:+-]{1,256}){1,16}")
_LAST_PORT = 65_535
_HTTPS = 443


class Source(NamedTuple):
    """Where a package is, and whom to believe to be that registry. Its nodes are below `path`."""

    host: str
    port: int
    path: str
    roots: tuple[bytes, ...]
    entry: int
    """The entry of the block that the host connects to it."""

    @classmethod
    def read(cls, message: Message) -> Source:
        """From a boot message's `source`. Raises BadMessage."""
        source = {**field(message, "source", dict), "type": "boot"}
        host, port, path = field(source, "host", str), field(source, "port", int), field(source, "path", str)
        roots, entry = field(source, "roots", list), field(source, "entry", int)
        if not (_NAME.fullmatch(host) and 0 < port <= _LAST_PORT and _PATH.fullmatch(path) and entry >= 0):
            raise BadMessage("the place of the package cannot be read")
        if len(roots) > ROOTS_LIMIT:
            raise BadMessage("too many roots for the package's registry")
        return cls(host, port, path, tuple(decoded(root, "a root of the registry") for root in roots), entry)

    @property
    def authority(self) -> str:
        """As the Host field has it (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTPS else f"{host}:{self.port}"


class Fetcher:
    """Fetches nodes; `ask` has the host connect to the registry. The order of calls is that of the package's tree."""

    def __init__(self, guest: Guest, source: Source, ask: Callable[[], Message]) -> None:
        self._guest = guest
        self._source = source
        self._ask = ask
        self._dials = 0
        self._deadline = time.monotonic() + FETCH_LIMIT
        self._client = Client(source.authority, self._dial)

    def node(self, path: str, most: int) -> bytes:
        """The node at a path of the tree, of at most this many bytes. Raises RegistryFault, BadMessage."""
        try:
            return self._client.get(f"{self._source.path}/{path}".removesuffix("/"), most)
        except RegistryFault as fault:
            place = f"{self._source.host} port {self._source.port}"
            raise RegistryFault(f"the package cannot be fetched from {place}: {fault}") from fault

    def end(self) -> None:
        """Nothing more will be fetched."""
        self._guest.hang_up()

    def _dial(self) -> Stream:
        self._dials += 1
        if self._dials > DIALS_LIMIT:
            raise RegistryFault("it ends its connections too often")
        self._guest.hang_up()
        answer = self._ask()
        if answer["type"] == "refused":
            raise RegistryFault(str(answer.get("message")))
        if answer["type"] != "dialled":
            raise BadMessage(f"expected a message 'dialled', not {answer['type']!r}")
        source = self._source
        try:
            self._guest.dial(
                source.entry,
                source.host,
                system_roots=not source.roots,
                roots=list(source.roots),
                timeout=self._patience(),
            )
        except RuntimeError as fault:
            raise RegistryFault(str(fault)) from fault
        return self

    def read(self, most: int) -> bytes:
        """See `Stream`."""
        read: bytes = self._did(self._guest.dialled_read, most)
        return read

    def write(self, data: bytes) -> None:
        """See `Stream`."""
        self._did(self._guest.dialled_write, data)

    def _did(self, call: Callable[[Any, float], Any], argument: Any) -> Any:
        try:
            return call(argument, self._patience())
        except RuntimeError as fault:
            raise RegistryFault(str(fault)) from fault

    def _patience(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise RegistryFault(f"it has taken more than {FETCH_LIMIT:.0f} seconds")
        return min(left, SILENCE_LIMIT)
