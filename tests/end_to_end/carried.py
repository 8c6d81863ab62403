"""A plugin of the tests: the nil backend behind the channel of virtual machines, with nothing between but a socket."""

from __future__ import annotations

import socket

import msgspec

from enarx_backends.nil import Nil
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Package, Probe, ReferenceValues
from enarx_deploy.protocols import KeepProcess, Launch
from enarx_sallyport import Carrier


class CarriedProcess:
    """The Keep's process, and both ends of its channel."""

    def __init__(self, process: KeepProcess, outer: Carrier, inner: Carrier) -> None:
        self._process = process
        self._outer, self._inner = outer, inner
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """The end of the process, once what it published last has come through."""
        status = self._process.wait(timeout)
        self._inner.finish(10)
        self._outer.wait()
        return status

    def kill(self) -> None:
        self._process.kill()


class Carried:
    """As nil, by another name."""

    name = "carried"
    aliases: tuple[str, ...] = ()
    hardware = False
    evidence = "nil"
    strength = -1

    def probe(self) -> Probe:
        return msgspec.structs.replace(Nil().probe(), backend=self.name)

    def measure(self, package: Package) -> ReferenceValues:
        return msgspec.structs.replace(Nil().measure(package), backend=self.name)

    def start(self, launch: Launch) -> KeepProcess:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            outer = Carrier.beside_host(launch.block_fd, launch.doorbell_fd, ours.fileno())
            inner = Carrier.beside_guest(theirs.fileno())
        inside = msgspec.structs.replace(launch, block_fd=inner.block_fd, doorbell_fd=inner.doorbell_fd)
        return CarriedProcess(Nil().start(inside), outer, inner)


@hookimpl
def register_backends() -> list[Carried]:
    return [Carried()]
