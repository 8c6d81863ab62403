"""What Keeps on hardware must measure to: the image, the firmware before it and the package, as reference values.

| backend | at launch | what a policy lists |
|---|---|---|
| snp | firmware, hashes of the image's parts, first state of the CPU | launch digests; HOST_DATA is the package |
| tdx | firmware | MRTDs; RTMR1 and RTMR2 of a launch that was seen; MRCONFIGID is the package |
| sgx | Gramine's PAL, and the manifest: files, arguments, the package | MRENCLAVEs |

None has been compared with a machine that has the hardware.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from enarx_backends import firmware
from enarx_deploy.errors import KeepError
from enarx_deploy.models import Package, ReferenceValues
from enarx_measurement import Image as Launched
from enarx_measurement import MeasurementFault, Registers, Shape, launch_digests, mrtds, shapes

if TYPE_CHECKING:
    from enarx_image.image import Image

SNP_CPU = "EPYC-v4"
"""A model of QEMU's that every processor with SEV-SNP can be: one launch digest for all of them."""
VCPUS = 1
SNP_FEATURES = (0x1, 0x21)
"""SEV_FEATURES as hosts' kernels set them: SNP alone, and with debug swapping, which some switch on."""
SNP_SHAPES = tuple(shapes([VCPUS], [SNP_CPU], SNP_FEATURES))


def snp(package: Package, image: Image, bios: Path) -> ReferenceValues:
    """What an SNP guest with this image and package must measure to. Raises KeepError."""
    launched = Launched(bios, image.kernel, image.initrd, image.cmdline)
    try:
        digests = launch_digests(launched, SNP_SHAPES)
    except MeasurementFault as fault:
        raise KeepError(str(fault), hint=fault.hint) from fault
    section = {"measurements": sorted(set(digests.values()))}
    shown = {_shown(shape): digest for shape, digest in digests.items()}
    return _values("snp", package, image, bios, section, shown)


def tdx(package: Package, image: Image, bios: Path, seen: Registers) -> ReferenceValues:
    """What a trust domain with this image and package must measure to. Raises KeepError."""
    try:
        accepted = mrtds(bios.read_bytes())
    except MeasurementFault as fault:
        raise KeepError(f"{bios}: {fault}", hint=fault.hint) from fault
    section: dict[str, Any] = {"mrtds": list(accepted), "rtmr1": [seen.rtmr1], "rtmr2": [seen.rtmr2]}
    shown = dict(zip(("MRTD", "MRTD of older kernels"), accepted, strict=True))
    return _values("tdx", package, image, bios, section, shown | {"RTMR1": seen.rtmr1, "RTMR2": seen.rtmr2})


def sgx(package: Package, image: str, mrenclave: bytes, mrsigner: str) -> ReferenceValues:
    """What an enclave that runs this package must measure to; `image` is the digest of whose files it is made of.

    Who may sign it is not said to the policy: that is the Steward's own, and MRENCLAVE says what runs.
    """
    from enarx_measurement.gramine_enclave import PRODUCT_ID, SVN

    measured = mrenclave.hex()
    return ReferenceValues(
        backend="sgx",
        hardware=True,
        package=package.digest,
        measurements={
            "image": image,
            "MRENCLAVE": measured,
            f"MRSIGNER, ISVPRODID {PRODUCT_ID}, ISVSVN {SVN}": mrsigner,
        },
        policy={"sgx": {"mrenclaves": [measured], "packages": [package.digest]}},
    )


def _values(
    backend: str, package: Package, image: Image, bios: Path, section: dict[str, Any], shown: dict[str, str]
) -> ReferenceValues:
    parts = {name: getattr(image.record, name).sha256 for name in ("kernel", "initrd", "cmdline")}
    return ReferenceValues(
        backend=backend,
        hardware=True,
        package=package.digest,
        measurements={"image": image.digest, **parts, "firmware": firmware.digest(bios), **shown},
        policy={backend: section | {"measured_package": True, "packages": [package.digest]}},
    )


def _shown(shape: Shape) -> str:
    return f"launch digest, {shape}"
