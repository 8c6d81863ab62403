"""The tdx backend: the Keep's image as a trust domain of Intel's TDX. Not yet run on hardware."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_backends import confidential
from enarx_backends.protected import Protected
from enarx_deploy import paths
from enarx_deploy.errors import KeepError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import Backend

if TYPE_CHECKING:
    from enarx_deploy.models import Package, ReferenceValues
    from enarx_image.image import Image

QUOTES = "/var/run/tdx-qgs/qgs.socket"
"""The service of this machine that has quotes signed."""


class Tdx(Protected):
    """A domain whose MRTD covers the firmware, whose RTMR1 and RTMR2 cover the image, and whose MRCONFIGID is the
    package's digest."""

    name: str = "tdx"
    firmware_kind = "tdx"
    oldest_qemu = (10, 1)
    evidence = "tdx"

    def reference_values(self, package: Package, image: Image, bios: Path) -> ReferenceValues:
        """See `measured.tdx`. Without an event log of this image there are none, and not some that leave it open."""
        from enarx_backends import measured
        from enarx_measurement import MeasurementFault, event_log

        place = log_place(image)
        try:
            seen = event_log.registers(place.read_bytes(), image.initrd.read_bytes())
        except FileNotFoundError as error:
            raise KeepError(
                f"what the image {image.digest} measures to under TDX is not known",
                hint="boot it on a machine that you trust, and give its log to `enarx-deploy image event-log`",
            ) from error
        except MeasurementFault as fault:
            raise KeepError(f"{place}: {fault}", hint=fault.hint) from fault
        return measured.tdx(package, image, bios, seen)

    def guest(self, package: bytes, image: Image, bios: str, memory: int) -> confidential.Guest:  # noqa: ARG002 - the class's
        """See `confidential.tdx`."""
        return confidential.tdx(package, bios, memory, QUOTES)


def log_place(image: Image) -> Path:
    """Where `image event-log` keeps what a launch of an image measured."""
    return paths.state_dir("event-logs") / f"{image.digest.removeprefix('sha256:')}.ccel"


@hookimpl
def register_backends() -> Iterable[Backend]:
    """The tdx backend."""
    return [Tdx()]
