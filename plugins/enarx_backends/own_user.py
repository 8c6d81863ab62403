"""A user of its own for each QEMU that root starts, so that none can signal, trace or read another.

systemd gives numbers of this range to services for as long as they run, and no others may use them otherwise ("Users,
Groups, UIDs and GIDs on systemd Systems"). One that is taken is known by a name of a socket, which the kernel gives up
with the process that holds it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from enarx_deploy.errors import KeepError

NUMBERS = range(61184, 65520)
_LENT = (Path("/etc/subuid"), Path("/etc/subgid"))
_OF_SERVICES = Path("/run/systemd/dynamic-uid")
"""Where systemd has a file for each number that it has given to a service."""
_LIMIT = 1 << 20


class OwnUser(NamedTuple):
    """A number that is nobody else's until `claim` is closed; None and 0 where this process is not root's."""

    number: int = 0
    claim: socket.socket | None = None

    def give_back(self) -> None:
        """The QEMU that had it has ended."""
        if self.claim is not None:
            self.claim.close()


def claim() -> OwnUser:
    """Take a number, where root asks. Raises KeepError where none is free."""
    if os.geteuid() != 0:
        return OwnUser()
    lent = list(_lent())
    first = os.getpid() % len(NUMBERS)
    for number in (*NUMBERS[first:], *NUMBERS[:first]):
        if _is_somebodys(number) or any(number in numbers for numbers in lent):
            continue
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0enarx-deploy/user/{number}")
        except OSError:  # another QEMU's
            name.close()
            continue
        return OwnUser(number, name)
    raise KeepError(
        f"no user from {NUMBERS.start} to {NUMBERS.stop - 1} is free for QEMU",
        hint="start it as a user and not as root",
    )


def _is_somebodys(number: int) -> bool:
    if Path(_OF_SERVICES, f"{number}").exists():
        return True
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwuid(number))
    return False


def _lent() -> Iterator[range]:
    """Numbers that users were lent for their containers (subuid(5))."""
    for path in _LENT:
        with contextlib.suppress(OSError), path.open(errors="replace") as file:
            for line in file.read(_LIMIT).splitlines():
                _, _, numbers = line.partition(":")
                first, _, count = numbers.partition(":")
                if first.isdecimal() and count.isdecimal():
                    yield range(int(first), int(first) + int(count))
