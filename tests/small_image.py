"""An image of three small parts, which boots nothing."""

from __future__ import annotations

from pathlib import Path

from enarx_image import measurement
from enarx_image.image import Part, Record
from enarx_image.pins import Pins


def write(
    folder: Path, *, kernel: bytes = b"kernel", initrd: bytes = b"initramfs", cmdline: bytes = b"quiet"
) -> Record:
    """Write the parts; answers the record of them, which is not written."""
    parts = {"kernel": kernel, "initrd": initrd, "cmdline": cmdline}
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    digests = {name: measurement.sha256(content) for name, content in parts.items()}
    return Record(
        digest=measurement.image_digest(**digests),
        **{name: Part(digests[name], len(content)) for name, content in parts.items()},
        kernel_version="6.12",
        inputs=digests["kernel"],
        pins=Pins(suite="trixie", packages=(), installed=()),
        distributions={},
        files=(),
    )
