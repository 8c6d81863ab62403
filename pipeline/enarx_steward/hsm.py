"""The root's key in a PKCS#11 token (a hardware security module): it signs there and never leaves it.

`ca.toml` in the state directory says where it is::

    [pkcs11]
    module = "/usr/lib/softhsm/libsofthsm2.so"   # the vendor's library
    token = "steward"                            # the token's label
    key = "steward-root"                         # the key's label; made if there is neither it nor a root
    pin_file = "/etc/steward/pin"                # or pin_env = "NAME", of an environment variable

The root signs seldom, so that the process which `enarx_signing.token` starts for each signature costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from enarx_signing.errors import KeyFault
from enarx_signing.token import Token, TokenKey

from .errors import ConfigurationError


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ca.toml`."""

    pkcs11: Token


class RootKey(TokenKey):
    """The root's key. What is wrong with its token is a fault of the Steward's own files: `ConfigurationError`."""

    def beside(self, label: str) -> RootKey:
        """The key of another name in the same token. Raises `ConfigurationError` if that is this one."""
        if label == self._token.key:
            raise ConfigurationError(f"{label!r} is the present key", hint="give the new one another name")
        return RootKey(msgspec.structs.replace(self._token, key=label))

    @property
    def configuration(self) -> bytes:
        """What `ca.toml` has to say to name it."""
        return msgspec.toml.encode(Configuration(pkcs11=self._token))

    def make(self, *, anew: bool = False) -> None:
        with _faults():
            super().make(anew=anew)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        with _faults():
            return super().public_key()

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        with _faults():
            return super().sign(data, signature_algorithm)


def read_configuration(path: Path) -> RootKey:
    """Read `ca.toml`. Raises `ConfigurationError`."""
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Configuration)
    except OSError as exc:
        raise ConfigurationError(f"{path}: {exc.strerror}", hint="is it there, and may you read it?") from exc
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as exc:
        raise ConfigurationError(
            f"{path}: {exc}", hint="a section [pkcs11] with module, token, key, and pin_file or pin_env"
        ) from exc
    if bool(found.pkcs11.pin_file) == bool(found.pkcs11.pin_env):
        raise ConfigurationError(
            f"{path}: the PIN comes from `pin_file` or from `pin_env`: give one of them",
            hint='such as pin_file = "/etc/steward/pin", a file of mode 0600',
        )
    return RootKey(found.pkcs11)


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except KeyFault as exc:
        raise ConfigurationError(str(exc), hint=exc.hint) from exc
