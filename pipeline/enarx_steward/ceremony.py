"""What an operator does to the authority seldom and by hand: have it certified by another, and replace it.

A change is prepared as a whole in a directory of its own and moved into place from there, so that a crash leaves the
old or the new one; what was cut off is completed when the authority is next loaded (`state`).
"""

from __future__ import annotations

import ssl
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from . import hsm, state, tls
from .errors import ConfigurationError
from .policy import StewardPolicy
from .root import Root, key_pem, read_path, self_signed

_ROUNDS: Final = 4
"""Of a handshake of TLS 1.3, and to spare."""


def request(directory: Path, now: datetime) -> bytes:
    """A certificate request (PKCS#10 in PEM) for the root's key, as an authority with room for one more below it."""
    return state.load_root(directory, now).request()


def install(directory: Path, chain_pem: bytes, policy: StewardPolicy, now: datetime) -> Root:
    """Put the Steward below another root. Raises `ConfigurationError` and changes nothing if the chain will not do.

    1. The chain leads from this Steward's key to a root, and leaves room for the intermediates below it.
    2. A client that trusts that root alone accepts the names of the policy: it is tried with a handshake.
    """
    own = state.load_root(directory, now)
    below = own.below(read_path(chain_pem, own.certificate, now))
    _refuse_constrained_uris(below.above)
    for grant in policy.every_grant:
        _try(tls.issue(below, grant, now), below.above[-1])
    state.put_in_place(directory, {state.CHAIN: (chain_pem, 0o644)})
    return below


def roll(directory: Path, now: datetime, label: str = "") -> Root:
    """Replace key and root. The old root certifies the new one, so that clients that pin either are served.

    An old key in a file is gone with it. One in a token stays there, and the new one is made beside it under `label`;
    a key that the token has already is refused, for it may be one that was rolled away from. Raises
    `ConfigurationError`.
    """
    old = state.load_root(directory, now)
    if old.above:
        raise ConfigurationError(
            f"there is another root above this one already ({directory / state.CHAIN})",
            hint="once no client pins that any more, `enarx-deploy steward ca finish` ends it",
        )
    key, kept = _new_key(directory, label)
    certificate = self_signed(key, now)
    path = [old.certify_successor(certificate, now), old.certificate]
    chain_pem = b"".join(one.public_bytes(Encoding.PEM) for one in path)
    new = Root(key, certificate, read_path(chain_pem, certificate, now))
    state.put_in_place(
        directory,
        {
            state.CHAIN: (chain_pem, 0o644),
            state.ROOT: (new.pem.encode(), 0o644),
            **kept,
        },
    )
    return new


def _new_key(directory: Path, label: str) -> tuple[ec.EllipticCurvePrivateKey, dict[str, tuple[bytes, int]]]:
    """A new key where the old one is, and the file by which it is found again: its content and its mode."""
    configuration = directory / state.CONFIGURATION
    if not configuration.exists():
        if label:
            raise ConfigurationError(f"the key is in {state.KEY}, where it has no name", hint="leave --key away")
        key = ec.generate_private_key(ec.SECP256R1())
        return key, {state.KEY: (key_pem(key), 0o600)}
    if not label:
        raise ConfigurationError("the key is in a token", hint="--key LABEL names the new one, which is made there")
    made = hsm.read_configuration(configuration).beside(label)
    made.make(anew=True)
    return made, {state.CONFIGURATION: (made.configuration, 0o600)}


def finish(directory: Path, now: datetime) -> Root:
    """Take away what is above the root: from now on its own clients are served, and no others."""
    root = state.load_root(directory, now)
    if not root.above:
        raise ConfigurationError(
            "there is no root above this one",
            hint="there is one only after the Steward was put below another root, and until that is finished",
        )
    (directory / state.CHAIN).unlink()
    return state.load_root(directory, now)


def _refuse_constrained_uris(path: tuple[x509.Certificate, ...]) -> None:
    for certificate in path:
        with suppress(x509.ExtensionNotFound):
            names = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
            subtrees = [*(names.permitted_subtrees or ()), *(names.excluded_subtrees or ())]
            if any(isinstance(name, x509.UniformResourceIdentifier) for name in subtrees):
                raise ConfigurationError(
                    f"{certificate.subject.rfc4514_string()} constrains URIs, and certificates of Keeps have one",
                    hint="rustls refuses every certificate with a URI below such a constraint",
                )


def _try(server_pem: bytes, root: x509.Certificate) -> None:
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname = False  # the names are tried against the chain, not against a host
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_verify_locations(cadata=root.public_bytes(Encoding.PEM).decode())
    with tempfile.NamedTemporaryFile() as file:  # with mode 0600
        file.write(server_pem)
        file.flush()
        server.load_cert_chain(file.name)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    try:
        for _ in range(_ROUNDS):
            for side in sides:
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
    except ssl.SSLCertVerificationError as exc:
        raise ConfigurationError(
            f"clients that trust {root.subject.rfc4514_string()} would refuse this Steward's certificates: "
            f"{exc.verify_message}",
            hint="a certificate above allows other names or fewer levels than the policy needs; ask who issued it",
        ) from exc
