"""`enarx-deploy image event-log`: what a launch of the image under TDX measured, for those that come after it."""

from __future__ import annotations

from pathlib import Path

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError


@click.command("event-log")
@click.argument("log", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@common_options()
def command(context: Context, log: Path, folder: Path | None) -> None:
    """Take the event log of a launch of the image as what domains of TDX must measure.

    FILE is /sys/firmware/acpi/tables/data/CCEL of a guest that booted the image on a machine that you trust. RTMR1 and
    RTMR2 come of it: they depend on how QEMU patches the kernel, and are computed by nobody beforehand. `attest
    --backend tdx` uses them from then on. [DIR] is the image; without it, the one that `image build` made for this
    version.
    """
    from enarx_deploy import paths
    from enarx_image import build, pins
    from enarx_image import image as images
    from enarx_image.errors import ImageError
    from enarx_measurement import MeasurementFault, event_log

    try:
        content = _read(log, event_log.MAX_LOG)
        image = images.look(folder) if folder else build.find(paths.cache_dir("image"), pins.load())
        found = event_log.registers(content, image.initrd.read_bytes())
    except (MeasurementFault, ImageError) as error:
        raise UsageError(f"{log}: {error}", hint=error.hint) from error
    place = paths.state_dir("event-logs") / f"{image.digest.removeprefix('sha256:')}.ccel"
    paths.write_atomically(place, content)
    record = {"image": image.digest, "rtmr1": found.rtmr1, "rtmr2": found.rtmr2, "file": str(place)}
    context.emit(f"image  {image.digest}\nRTMR1  {found.rtmr1}\nRTMR2  {found.rtmr2}", record)


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="is the path right, and may you read it?") from error
    if len(content) > most:
        raise UsageError(f"{path}: an event log has at most {most:,} bytes", hint="is this the right file?")
    return content
