"""Code that was compiled ahead of time and comes in the package: whether this Keep runs it.

It is native code, and runs with all that the Keep has: it could have evidence made for another package, and hand out
the Keep's key. That it is a part of the package, and so of what the evidence names, does not help: the host chooses the
package. So it is run only if a key signed the package that this Keep was built or started to trust with just that. The
host hands over signatures, and never the keys where anything is measured: there they are a part of what is.

Whatever does not fit (no key, no signature of one, another wasmtime, another processor) means that the module is
compiled here, as if there were none.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from enarx_keep import module
from enarx_keep.package import Files
from enarx_signing import Signer, Signers, SigningError, package_signature
from enarx_signing.keys import PublicKey

FOLDER = "compiled"
MOST_SIGNATURES = 16


@dataclass(frozen=True)
class TrustedCode:
    """What has to be known before the jail: the keys whose code is run, and what this machine is."""

    signers: Signers
    platform: bytes

    def found(self, files: Files, package: str, signatures: Sequence[Any]) -> bytes:
        """The code for this machine in a package whose digest was checked; empty where none is to be run."""
        name = module.code_name(self.platform, files.sha256.get("main.wasm", ""))
        code = files.get(f"{FOLDER}/{name}", b"")
        return code if code and any(self._signed(package, one) for one in signatures[:MOST_SIGNATURES]) else b""

    def _signed(self, package: str, envelope: Any) -> bool:
        try:
            package_signature.verify(base64.b64decode(envelope, validate=True), package, self.signers, _ALWAYS)
        except (SigningError, ValueError, TypeError):
            return False
        return True


def trusted(keys: Sequence[str]) -> TrustedCode:
    """Keys (PEM) whose code this Keep runs. Raises SigningError where one is no key."""
    signers = Signers(Signer(name="code", key=PublicKey.from_pem(key.encode())) for key in keys)
    return TrustedCode(signers, module.platform())


_ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)
"""The keys have no times here: whoever started the Keep left out those that do not count."""
