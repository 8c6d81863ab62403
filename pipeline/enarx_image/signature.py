"""A signature of an image: a statement (in-toto) about its digest, in an envelope (DSSE) beside its parts.

Its predicate has the digests of the parts, of the record and of the SBOM, so that who signed stands for those too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from enarx_files.whole import write_atomically
from enarx_image import image
from enarx_image.errors import WrongImage
from enarx_image.image import SIGNATURE as FILE
from enarx_image.image import Image
from enarx_signing import Signer, Signers, SigningError, SigningKey, dsse, statement

PREDICATE_TYPE: Final = "urn:enarx-deploy:image:v1"
_MAX_SIZE: Final = 1 << 16
_SUBJECT: Final = "image"
_HINT = "ask whoever made the image for its signature, and `enarx-deploy key show` which keys you trust"


def sign(signed: Image, keys: Iterable[SigningKey]) -> None:
    """Sign an image that was checked; what signed it before is replaced. Raises SigningError, OSError."""
    payload = statement.about(signed.digest, _SUBJECT, PREDICATE_TYPE, _predicate(signed))
    write_atomically(signed.folder / FILE, dsse.sign(payload, statement.PAYLOAD_TYPE, keys), mode=0o644)


def verify(found: Image, signers: Signers, at: datetime) -> tuple[Signer, ...]:
    """Check that a trusted key signed exactly this image, which was checked; answers whose keys.

    1. There is an envelope, and it holds an in-toto statement.
    2. A key that is trusted at that time signed it.
    3. The statement is an image's, about this image alone, and about what lies beside it.

    Raises WrongImage.
    """
    try:
        envelope = dsse.read(image.content(found.folder / FILE), limit=_MAX_SIZE)
        if envelope.payload_type != statement.PAYLOAD_TYPE:
            raise WrongImage(f"{FILE} holds {envelope.payload_type!a}, and no statement", parts=(FILE,), hint=_HINT)
        good = signers.verify(envelope, at)
        said = statement.read(envelope.payload)
    except OSError as error:
        raise WrongImage(f"nobody signed {found.folder}: {error.strerror}", parts=(FILE,), hint=_HINT) from error
    except SigningError as error:
        raise WrongImage(f"{found.folder / FILE}: {error}", parts=(FILE,), hint=_HINT) from error
    if said.predicate_type != PREDICATE_TYPE or not said.is_about(found.digest):
        raise WrongImage(f"what was signed is not the image {found.digest}", parts=(FILE,), hint=_HINT)
    expected = _predicate(found)
    differing = tuple(name for name, digest in expected.items() if said.predicate.get(name) != digest)
    if differing:
        raise WrongImage(f"{', '.join(differing)} of {found.folder} were not signed so", parts=differing, hint=_HINT)
    return good


def _predicate(signed: Image) -> dict[str, str]:
    record = signed.record
    files = {name: image.digest_of(signed.folder / name) for name in (image.RECORD, image.SBOM)}
    return {name: getattr(record, name).sha256 for name in (image.KERNEL, image.INITRD, image.CMDLINE)} | files
