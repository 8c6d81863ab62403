"""Whether what lies beside an image's parts speaks of those parts: the record's list of files, and the SBOM.

Neither is measured. Where packages and distributions were taken from is shown only by making the image again.
"""

from __future__ import annotations

import json
from typing import Any

from enarx_image import initramfs, measurement, sbom
from enarx_image.errors import WrongImage
from enarx_image.image import RECORD, SBOM, Image, content

_TOLD = 5
_HINT = "build the image anew, or fetch it anew"


def require(image: Image) -> None:
    """Check the description of an image whose parts were checked.

    1. The record lists the files of the initramfs, each with its size and digest, and no others.
    2. The SBOM has the components that the record makes.

    Raises WrongImage with what differs.
    """
    recorded = {file.path: (file.size, file.sha256) for file in image.record.files}
    there = {path: (len(one), measurement.sha256(one)) for path, one in initramfs.regular_files(image).items()}
    differing = sorted(path for path in recorded.keys() | there.keys() if recorded.get(path) != there.get(path))
    if differing:
        told = f"{', '.join(differing[:_TOLD])}{' and more' if len(differing) > _TOLD else ''}"
        raise WrongImage(
            f"{image.folder}: {RECORD} does not list what is in the initramfs: {told}",
            parts=(RECORD, *differing),
            hint=_HINT,
        )
    _require_sbom(image)


def _require_sbom(image: Image) -> None:
    place = image.folder / SBOM
    try:
        said = json.loads(content(place))
    except OSError as error:
        raise WrongImage(f"{place}: {error.strerror}", parts=(SBOM,), hint=_HINT) from error
    except (ValueError, RecursionError) as error:
        raise WrongImage(f"{place}: {error}", parts=(SBOM,), hint=_HINT) from error
    if not isinstance(said, dict) or _components(said) != _components(json.loads(sbom.document(image.record))):
        raise WrongImage(f"{place} is not the SBOM of this image", parts=(SBOM,), hint=_HINT)


def _components(document: dict[str, Any]) -> tuple[Any, Any]:
    """What an SBOM says, whichever version of the library wrote it."""
    metadata = document.get("metadata")
    return document.get("components"), metadata.get("component") if isinstance(metadata, dict) else None
