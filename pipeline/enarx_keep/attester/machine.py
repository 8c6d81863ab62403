"""What a source reaches of the machine: files and devices below a root, and the host's service of quotes."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

HOST_CID = 2
"""Address of the host on a virtual machine's sockets (`VMADDR_CID_HOST` of vsock(7))."""
QUOTE_SECONDS = 30.0
"""How long each answer of the host's service of quotes may take."""


def connect_to_host(port: int) -> socket.socket:
    """A stream to the host of this virtual machine. Raises OSError."""
    import socket

    stream = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        stream.settimeout(QUOTE_SECONDS)
        stream.connect((HOST_CID, port))
    except OSError:
        stream.close()
        raise
    return stream


class Machine:
    """Paths are relative to `root`. Everything raises OSError, as the kernel answered."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        ioctl: Callable[[int, int, Any], object] = fcntl.ioctl,
        connect: Callable[[int], socket.socket] = connect_to_host,
        image: str = "",
    ) -> None:
        """`image` is what the host says that it booted: of use where nothing else measures it."""
        self.image = image
        self._root = root
        self._ioctl = ioctl
        self.connect = connect

    def has(self, path: str) -> bool:
        """Whether there is something at `path`."""
        return (self._root / path).exists()

    def read(self, path: str, limit: int) -> bytes:
        """All of a file of at most `limit` bytes. Raises `OSError`: EFBIG if it is longer."""
        descriptor = os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = bytearray()
            while piece := os.read(descriptor, limit + 1 - len(content)):
                content += piece
                if len(content) > limit:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        finally:
            os.close(descriptor)
        return bytes(content)

    def write(self, path: str, data: bytes) -> None:
        """Write to a file that is there, all at once: an attribute takes effect by the write, or when it is closed.

        Raises `OSError`.
        """
        descriptor = os.open(self._root / path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.EIO, "it was not written whole", path)
        finally:
            os.close(descriptor)

    def make_directory(self, path: str) -> None:
        """Make one directory."""
        (self._root / path).mkdir(mode=0o700)

    def remove_directory(self, path: str) -> None:
        """Remove one directory. The kernel's attributes in it are no obstacle."""
        (self._root / path).rmdir()

    def ioctl(self, path: str, request: int, argument: Any) -> None:
        """Have a device do a request, which changes `argument` in place."""
        descriptor = os.open(self._root / path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._ioctl(descriptor, request, argument)
        finally:
            os.close(descriptor)
