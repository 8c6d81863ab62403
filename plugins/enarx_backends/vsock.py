"""The sallyport of a virtual machine over vsock, where a host has it and a user asks for it. Not yet run.

The host waits at a port of the machine's own number (CID), which only the kernel gives out: what connects there from
another number is not the machine, and is turned away. The log stays on its virtio-serial port. QEMU documentation,
`vhost-vsock-pci`; vsock(7).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
from collections.abc import Callable
from pathlib import Path

from enarx_deploy.errors import KeepError

ASKED = "ENARX_DEPLOY_CHANNEL"
"""Environment variable: `vsock`, or `virtio-serial` as without it."""
DEVICE = Path("/dev/vhost-vsock")
_FIRST = 1 << 16
"""The lowest number that is given out: above what others choose by hand, and above ports that need rights."""
_LAST = (1 << 31) - 1
_ATTEMPTS = 16
_LOOK_EVERY = 0.1


class Line:
    """A socket where one machine is waited for. `device` is for QEMU."""

    def __init__(self, listener: socket.socket, number: int, device: int) -> None:
        self._listener = listener
        self.number = number
        self.device = device

    @property
    def words(self) -> tuple[str, ...]:
        """For QEMU's command line."""
        return ("-device", f"vhost-vsock-pci,guest-cid={self.number},vhostfd={self.device}")

    def accept(self, has_ended: Callable[[], bool]) -> socket.socket:
        """The machine's connection. Raises KeepError where the machine has ended before it came."""
        while not has_ended():
            if not select.select([self._listener], [], [], _LOOK_EVERY)[0]:
                continue
            connection, (number, _) = self._listener.accept()
            if number == self.number:
                return connection
            connection.close()
        raise KeepError("the machine has ended before it connected by vsock")

    def close(self) -> None:
        """Wait for nobody any more. QEMU has the device."""
        self._listener.close()
        os.close(self.device)


def line() -> Line | None:
    """A line for one machine, if the environment asks for vsock. Raises KeepError where there can be none."""
    asked = os.environ.get(ASKED, "")
    if asked not in ("", "virtio-serial", "vsock"):
        raise KeepError(f"{ASKED} is {asked!r}", hint="it is vsock or virtio-serial, or not set")
    if asked != "vsock":
        return None
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise KeepError(
            f"{DEVICE}: {error.strerror}",
            hint=f"modprobe vhost_vsock, and let your user open it; without {ASKED} virtio-serial is used",
        ) from error
    try:
        return Line(*_listen(), device)
    except BaseException:
        os.close(device)
        raise


def _listen() -> tuple[socket.socket, int]:
    """A listener at a port of a number that no other of these programs has. Raises KeepError."""
    for _ in range(_ATTEMPTS):
        number = _FIRST + secrets.randbelow(_LAST - _FIRST)
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        with contextlib.suppress(OSError):
            listener.bind((socket.VMADDR_CID_ANY, number))
            listener.listen(1)
            return listener, number
        listener.close()
    raise KeepError("the kernel gives no vsock port", hint=f"modprobe vsock; without {ASKED} virtio-serial is used")
