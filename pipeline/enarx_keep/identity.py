"""The Keep's key and certificate: at the start, and again while the workload runs.

Each challenge is answered with a new key, so that a key is never older than its certificate. The key that is in use
stays in use until the new one has its certificate; where that is refused, nothing changes.
"""

from __future__ import annotations

from enarx_keep.attester.choice import Chosen
from enarx_keep.binding import report_data
from enarx_keep.channel import Message, data, decoded, encoded, field
from enarx_sallyport import Credentials

_ENARX_EXTENSIONS = {"nil": ([1, 3, 6, 1, 4, 1, 58270, 1, 1], b"")}
"""By kind, the extension that Enarx's Steward looks for in the certificate request: its identifier and content."""


class Identity:
    """Obtains certificates for one Keep, whose package has this digest and whose evidence comes from `attester`."""

    def __init__(self, credentials: Credentials, package: str, attester: Chosen, names: tuple[str, ...] = ()) -> None:
        """`names` are asked for in each request, for an issuer that certifies names."""
        self._credentials = credentials
        self._package = package
        self._attester = attester
        self._names = names

    def request(self, challenge: Message) -> Message:
        """Make a key; answers a certificate request and evidence for it. Raises KeepFault."""
        kind = self._attester.kind
        public_key = self._credentials.generate()
        request = self._credentials.certificate_request(self._extensions(kind))
        commitment = report_data(
            nonce=data(challenge, "nonce"),
            public_key=public_key,
            package=self._package,
            audience=field(challenge, "audience", str),
        )
        return {"type": "request", "csr": encoded(request), **self._attester.shown(self._package, commitment)}

    def _extensions(self, kind: str) -> list[tuple[list[int], bytes]]:
        """What is asked for. Who certifies names gets no evidence, which it would have no use for."""
        if self._names:
            return [_alternative_names(self._names)]
        return [_ENARX_EXTENSIONS[kind]] if kind in _ENARX_EXTENSIONS else []

    def install(self, certificate: Message) -> None:
        """Use the certificate from now on. Raises KeepFault, RuntimeError if it is not one to use."""
        chain = [decoded(one, "message 'certificate': chain") for one in field(certificate, "chain", list)]
        self._credentials.install(chain, data(certificate, "root"))


def _alternative_names(names: tuple[str, ...]) -> tuple[list[int], bytes]:
    """The extension subjectAltName with these DNS names (RFC 5280, section 4.2.1.6)."""
    return [2, 5, 29, 17], _tagged(0x30, b"".join(_tagged(0x82, name.encode("ascii")) for name in names))


def _tagged(tag: int, content: bytes) -> bytes:
    """An element of DER of at most 65,535 bytes (X.690, section 8.1.3)."""
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x81, size]) if size < 0x100 else b"\x82" + size.to_bytes(2)
    return bytes([tag]) + length + content
