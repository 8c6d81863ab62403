"""What an image measures to, where no hardware does it: digests of three parts, and of them together with a package.

    image       = SHA-256("wasm-tee/image/v1" || LP(SHA-256(kernel)) || LP(SHA-256(initrd)) || LP(SHA-256(cmdline)))
    measurement = SHA-256("wasm-tee/kvm/v1" || LP(image) || LP(package))

where LP(x) is x behind its length as 4 bytes, big-endian, and `package` the 32 bytes of its SHA-256. `cmdline` is the
text as the kernel gets it, without a line's end. In the words of RATS the first is a reference value for the
environment alone, the second one for environment and workload. Software makes both: a host can claim what it likes.
"""

from __future__ import annotations

import hashlib

_IMAGE = b"wasm-tee/image/v1"
_KVM = b"wasm-tee/kvm/v1"
_PREFIX = "sha256:"
_CODE_WORD = "keep.code="
"""As in `enarx_keep.machine`. The kernel takes no notice of it: it has no module of that name."""


def image_digest(kernel: str, initrd: str, cmdline: str) -> str:
    """The digest of an image, as `sha256:HEX`, by those of its parts in the same form."""
    return _over(_IMAGE, kernel, initrd, cmdline)


def with_code(cmdline: str, code: str) -> str:
    """A command line by which a Keep takes native code of its host, if it has this digest (`sha256:HEX`)."""
    return f"{cmdline} {_CODE_WORD}{code}"


def kvm(image: str, package: str) -> str:
    """What a Keep of the backend kvm measures to, by the digests of its image and its package."""
    return _over(_KVM, image, package)


def sha256(content: bytes) -> str:
    """A digest as `sha256:HEX`."""
    return _PREFIX + hashlib.sha256(content).hexdigest()


def _over(label: bytes, *digests: str) -> str:
    hashed = hashlib.sha256(label)
    for digest in digests:
        part = bytes.fromhex(digest.removeprefix(_PREFIX))
        if len(part) != hashlib.sha256().digest_size:
            raise ValueError(f"{digest} is no SHA-256 digest")
        hashed.update(len(part).to_bytes(4, "big") + part)
    return _PREFIX + hashed.hexdigest()
