"""GET over HTTP/1.1 (RFC 9112), for the one thing that a Keep asks for itself: the nodes of its package.

It is small and strict. An answer has a head of bounded size and a body whose length it says beforehand, and which was
bounded by whoever asked; redirects, codings and all that is not expected are errors. Nothing is believed of a body: who
asked checks its digest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from enarx_keep.errors import RegistryFault

HEAD_LIMIT = 16_384
"""Most bytes of an answer's head."""
FIELDS_LIMIT = 64
"""Most lines of a head."""
SAID_LIMIT = 300
"""Most characters of what a server says of an error that are passed on."""

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\t -~\x80-\xff]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
_LENGTH = re.compile(rb"[0-9]{1,12}")
_OK = 200
_REFUSED = {
    401: "it asks who is there: is the repository private, and does the registry serve Keeps?",
    403: "it does not serve this package to this Keep",
    404: "it has no such package, or does not show it to this Keep",
    410: "the tag was withdrawn",
}


class Stream(Protocol):
    """A connection to a server."""

    def read(self, most: int) -> bytes:
        """At least one byte; none at the end. Raises RegistryFault."""

    def write(self, data: bytes) -> None:
        """All of it. Raises RegistryFault."""


class Head(NamedTuple):
    """The head of an answer, as far as it matters here."""

    status: int
    length: int
    closes: bool
    """Whether the server ends the connection after this answer."""


def read_head(head: bytes) -> Head:
    """Read a head, up to and without the empty line. Raises RegistryFault."""
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None or len(lines) > FIELDS_LIMIT:
        raise RegistryFault("it does not answer in HTTP/1.1")
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise RegistryFault("the head of its answer cannot be read")
        fields.setdefault(found[1].lower(), []).append(found[2].strip(b"\t "))
    return Head(int(status[1]), _length(fields), _closes(fields))


def _length(fields: dict[bytes, list[bytes]]) -> int:
    if b"transfer-encoding" in fields or fields.get(b"content-encoding", [b"identity"]) != [b"identity"]:
        raise RegistryFault("its answer is coded, which was not asked for")
    match fields.get(b"content-length"):
        case [length] if _LENGTH.fullmatch(length):
            return int(length)
        case _:
            raise RegistryFault("its answer does not say how long it is")


def _closes(fields: dict[bytes, list[bytes]]) -> bool:
    options = b",".join(fields.get(b"connection", [])).lower().split(b",")
    return b"close" in [option.strip() for option in options]


class Client:
    """Asks one server; `dial` connects to it. Connections are used again as long as the server lets them be."""

    def __init__(self, host: str, dial: Callable[[], Stream]) -> None:
        self._host = host
        self._dial = dial
        self._stream: Stream | None = None
        self._pending = b""

    def get(self, path: str, most: int) -> bytes:
        """The body of the answer, of at most this many bytes. Raises RegistryFault."""
        head = self._ask(path)
        if head.length > (most if head.status == _OK else HEAD_LIMIT):
            raise RegistryFault(f"{path}: it sends {head.length:,} bytes, and at most {most:,} can be right")
        body = self._take(head.length)
        if head.closes:
            self._stream = None
        if head.status != _OK:
            raise RegistryFault(f"{path}: {_refusal(head.status, body)}")
        return body

    def _ask(self, path: str) -> Head:
        """Send a request and take the head of the answer.

        A server may have ended a connection that was idle just when it is used again: that is no fault, once.
        """
        request = f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: identity\r\n\r\n".encode()
        if self._stream is not None:
            try:
                self._stream.write(request)
                self._fill()
            except RegistryFault:
                self._stream = None
        if self._stream is None:
            self._stream, self._pending = self._dial(), b""
            self._stream.write(request)
        return self._head()

    def _head(self) -> Head:
        while (end := self._pending.find(b"\r\n\r\n")) < 0:
            if len(self._pending) > HEAD_LIMIT:
                raise RegistryFault("the head of its answer is too long")
            self._fill()
        if end > HEAD_LIMIT:
            raise RegistryFault("the head of its answer is too long")
        head, self._pending = self._pending[:end], self._pending[end + 4 :]
        return read_head(head)

    def _take(self, length: int) -> bytes:
        """The next bytes, exactly so many. What comes beyond them is nobody's answer."""
        pieces = bytearray(self._pending)
        while len(pieces) < length:
            self._pending = b""
            self._fill(length - len(pieces))
            pieces += self._pending
        self._pending = b""
        if len(pieces) > length:
            raise RegistryFault("it sends more than it says")
        return bytes(pieces)

    def _fill(self, most: int = HEAD_LIMIT) -> None:
        """Wait for more of the answer."""
        assert self._stream is not None  # noqa: S101 - there is one between a request and its answer
        piece = self._stream.read(most)
        if not piece:
            raise RegistryFault("it ended the connection within its answer")
        self._pending += piece


def _refusal(status: int, body: bytes) -> str:
    if status // 100 == 3:
        return f"it answers with status {status}, a redirect, which is not followed"
    said = "".join(letter if letter.isprintable() else " " for letter in body.decode(errors="replace"))[:SAID_LIMIT]
    why = _REFUSED.get(status, "it fails")
    return f"it answers with status {status}: {why}{f' ({said})' if said else ''}"
