"""Secrets that the Steward releases to this Keep: the Keep's side of `enarx_steward.release`, where it is specified.

The host relays all of it, and learns names and sizes: what comes is sealed to a key that was made here and that
evidence commits to. It is believed only if the issuer of this Keep's certificate signed it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from enarx_keep.attester.choice import Chosen
from enarx_keep.binding import SECRETS_PURPOSE, report_data
from enarx_keep.channel import Message, data, decoded, encoded, field
from enarx_keep.errors import BadMessage, SecretsRefused
from enarx_sallyport import Guest

_SPKI_X25519 = bytes.fromhex("302a300506032b656e032100")
"""What stands before the 32 bytes of a public key in its SubjectPublicKeyInfo (RFC 8410)."""
_INFO = b"wasm-tee/secret/v1"
_SIGNED = b"wasm-tee/release/v1"


class Claim:
    """A claim for secrets by name. The order of calls is `request`, `take`."""

    def __init__(self, guest: Guest, package: str, attester: Chosen, names: Sequence[str]) -> None:
        self._guest = guest
        self._package = package
        self._attester = attester
        self._names = list(names)
        self._context: tuple[bytes, ...] = ()
        self._key = b""

    def request(self, challenge: Message) -> Message:
        """Make a key; answers evidence for it. Raises SecretsRefused, BadMessage, NoEvidence."""
        self._require(challenge, "challenge")
        nonce, audience = data(challenge, "nonce"), field(challenge, "audience", str)
        self._key = _SPKI_X25519 + self._guest.secrets_key()
        self._context = (audience.encode(), self._package.encode(), nonce)
        commitment = report_data(
            nonce=nonce, public_key=self._key, package=self._package, audience=audience, purpose=SECRETS_PURPOSE
        )
        shown = self._attester.shown(self._package, commitment)
        return {"type": "claim", "names": self._names, "key": encoded(self._key), **shown}

    def take(self, answer: Message) -> None:
        """Open what was released, and keep it in the guest half. Raises SecretsRefused, BadMessage, RuntimeError."""
        self._require(answer, "release")
        sealed = self._sealed(answer)
        if not self._guest.credentials.is_by_issuer(self._signed(sealed), data(answer, "signature")):
            raise SecretsRefused("the secrets are not from the Steward that issued this Keep's certificate")
        for name, one in zip(self._names, sealed, strict=True):
            self._guest.open_secret(name, _fields(_INFO, (*self._context, name.encode())), one)

    def _require(self, answer: Message, kind: str) -> None:
        if answer["type"] == "refused":
            raise SecretsRefused(f"the secrets {', '.join(self._names)} are not released: {answer.get('message')}")
        if answer["type"] != kind:
            raise BadMessage(f"expected a message {kind!r}, not {answer['type']!r}")

    def _sealed(self, answer: Message) -> list[bytes]:
        """What was sealed for each name, in their order."""
        found = field(answer, "sealed", dict)
        if found.keys() != set(self._names):
            raise BadMessage("other secrets came than were asked for")
        return [decoded(found[name], f"secret {name!r}") for name in self._names]

    def _signed(self, sealed: Sequence[bytes]) -> bytes:
        return _fields(_SIGNED, (*self._context, self._key, *self._pairs(sealed)))

    def _pairs(self, sealed: Sequence[bytes]) -> Iterator[bytes]:
        for name, one in zip(self._names, sealed, strict=True):
            yield name.encode()
            yield one


def _fields(label: bytes, fields: Sequence[bytes]) -> bytes:
    return label + b"".join(len(part).to_bytes(4, "big") + part for part in fields)
