"""What a deployment is to be, in the words of this program; `manifests` says the same in Kubernetes' words."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from enarx_deploy.errors import UsageError
from enarx_deploy.manifest import Connect, Listen

if TYPE_CHECKING:
    from enarx_deploy.manifest import Manifest
    from enarx_kubernetes.settings import Settings

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?")
_HOST_MEMORY = 256 << 20  # bytes: both interpreters, the compiler, the rings
_FIRST_UNPRIVILEGED = 1024
_PORT_NAME = 15  # characters of a port's name (RFC 6335, 5.1)
_NUMBERED = re.compile(r"(.*-)?p[0-9]+")


@dataclass(frozen=True)
class Port:
    """A socket that the workload listens on, by a name that Kubernetes takes (RFC 6335: 15 characters), and its own."""

    name: str
    socket: str
    number: int
    prot: Literal["tls", "tcp"]

    @property
    def privileged(self) -> bool:
        """Whether a process without privileges could not listen on it."""
        return self.number < _FIRST_UNPRIVILEGED


@dataclass(frozen=True)
class Destination:
    """What the workload may connect to: an address (CIDR), or "" where only a name is known, and a port."""

    cidr: str
    port: int


@dataclass(frozen=True)
class Desired:
    """One deployment: everything that its manifests are made of."""

    name: str
    namespace: str
    image: str
    package: str
    backend: str
    ports: tuple[Port, ...]
    destinations: tuple[Destination, ...]
    replicas: int
    memory_limit: int  # bytes
    steward: str  # URL, "" where the Keeps sign for themselves
    steward_root: str  # PEM
    settings: Settings

    @property
    def metrics_port(self) -> int | None:
        """Where pods serve metrics. Raises UsageError where the workload listens there."""
        port = self.settings.metrics_port
        if port in {one.number for one in self.ports}:
            raise UsageError(
                f"metrics_port = {port} is a port that the workload listens on", hint="give it another one"
            )
        return port

    @property
    def configuration(self) -> str:
        """The name of its ConfigMap, which has the content's digest in it: an earlier version keeps its own."""
        content = "\0".join((self.package, self.backend, self.steward, self.steward_root))
        return f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"


def desired(
    manifest: Manifest,
    settings: Settings,
    *,
    name: str,
    namespace: str,
    image: str,
    package: str,
    backend: str,
    replicas: int = 1,
    steward_root: str = "",
) -> Desired:
    """From a manifest to what it asks of a cluster. Raises UsageError."""
    return Desired(
        name=object_name(name),
        namespace=namespace,
        image=image,
        package=package,
        backend=backend,
        ports=_ports(manifest),
        destinations=_destinations(manifest),
        replicas=replicas,
        memory_limit=manifest.resources.memory_bytes + manifest.resources.filesystem_bytes + _HOST_MEMORY,
        steward=manifest.steward or "",
        steward_root=steward_root,
        settings=settings,
    )


def object_name(name: str) -> str:
    """A Keep's name as Kubernetes can have it (RFC 1035); a name that must change gets a digest, to stay unique."""
    if _LABEL.fullmatch(name):
        return name
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    begun = plain if plain[:1].isalpha() else f"keep-{plain}".strip("-")
    return f"{begun}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _ports(manifest: Manifest) -> tuple[Port, ...]:
    ports = []
    for number, entry in enumerate(entry for entry in manifest.files if isinstance(entry, Listen)):
        if not entry.port:
            raise UsageError(
                f"the socket {entry.name!r} takes any free port, which a Service cannot name",
                hint=f"give it a port: --set files.{entry.name}.port=8443",
            )
        if is_loopback(entry.addr):
            raise UsageError(
                f"the socket {entry.name!r} listens on {entry.addr}, where nobody outside of its pod reaches it",
                hint=f'give it another address: --set files.{entry.name}.addr="::"',
            )
        ports.append(Port(_port_name(entry.name, number), entry.name, entry.port, entry.prot))
    return tuple(ports)


def is_loopback(address: str) -> bool:
    """Whether only processes of the same pod reach it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _port_name(name: str, number: int) -> str:
    """The socket's own name where it is short and plain; else what there is room for of it, and its number."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:11].strip("-")
    if plain == name and re.search("[a-z]", plain) and not _NUMBERED.fullmatch(plain):
        return plain
    ending = f"-p{number}"
    return f"{plain[: _PORT_NAME - len(ending)].strip('-')}{ending}".lstrip("-")


def _destinations(manifest: Manifest) -> tuple[Destination, ...]:
    places = [(entry.host, entry.port) for entry in manifest.files if isinstance(entry, Connect)]
    for granted in manifest.network.connect if manifest.network else ():
        host, _, port = granted.removeprefix("tcp://").rpartition(":")
        places.append((host.strip("[]"), int(port)))
    if manifest.steward:
        url = urlsplit(manifest.steward)
        places.append((url.hostname or "", url.port or 443))
    return tuple(dict.fromkeys(Destination(_cidr(host), port) for host, port in places))


def _cidr(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    return f"{address}/{address.max_prefixlen}"
