"""Open on the host what a manifest lists. Nothing that it does not list is ever opened for a Keep."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from enarx_deploy.errors import EnarxDeployError, KeepError

if TYPE_CHECKING:
    from enarx_deploy.manifest import Connect, Listen

CONNECT_TIMEOUT = 30.0
"""Seconds that a `connect` entry's host has to answer."""
DIAL_TIMEOUT = 20.0
"""Seconds that each address of a granted destination has to answer."""
_BACKLOG = 1024

_HINTS = {
    errno.EADDRINUSE: "stop what listens there (`enarx-deploy keeps` shows your Keeps), or choose another port: "
    "--set files.{name}.port=PORT (0 takes a free one)",
    errno.EACCES: "ports below 1024 need a privilege; choose another: --set files.{name}.port=PORT",
    errno.EADDRNOTAVAIL: "this machine has no such address; `addr` is where the Keep listens",
    errno.ECONNREFUSED: "nothing listens there: start it first, or correct `host` and `port`",
}


def listen(entry: Listen) -> socket.socket:
    """A listening socket for a `listen` entry. Raises KeepError that says what to do."""
    try:
        return _server(entry.addr, entry.port)
    except OSError as error:
        raise _fault(
            f"cannot listen on {entry.addr} port {entry.port} for {entry.name!r}", entry.name, error
        ) from error


def connect(entry: Connect) -> socket.socket:
    """A connected socket for a `connect` entry. Raises KeepError that says what to do."""
    try:
        connection = socket.create_connection((entry.host, entry.port), timeout=CONNECT_TIMEOUT)
    except OSError as error:
        raise _fault(
            f"cannot connect to {entry.host} port {entry.port} for {entry.name!r}", entry.name, error
        ) from error
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def dial(host: str, port: int) -> socket.socket:
    """A connected socket for a granted destination. Raises OSError, with EHOSTUNREACH for a name that is not known."""
    try:
        connection = socket.create_connection((host, port), timeout=DIAL_TIMEOUT)
    except socket.gaierror as error:
        raise OSError(errno.EHOSTUNREACH, str(error)) from error
    except TimeoutError as error:
        raise OSError(errno.ETIMEDOUT, str(error)) from error
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def check_free(entry: Listen) -> None:
    """Raise KeepError if the entry's port cannot be listened on now."""
    listen(entry).close()


def _server(address: str, port: int) -> socket.socket:
    if address == "::" and not socket.has_dualstack_ipv6():
        address = "0.0.0.0"  # noqa: S104 - what the manifest asks for, on a machine without IPv6
    family, _, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    both = family == socket.AF_INET6 and address == "::"
    return socket.create_server((str(place[0]), int(place[1])), family=family, backlog=_BACKLOG, dualstack_ipv6=both)


def _fault(what: str, name: str, error: OSError) -> EnarxDeployError:
    hint = _HINTS.get(error.errno or 0, "check `[[files]]` in Enarx.toml")
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return KeepError(f"{what}: {reason}", hint=hint.format(name=name))
