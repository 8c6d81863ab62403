"""What a request asks for and carries: the names in its path, its headers, and its body, in time and of its length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple, ParamSpec, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from . import content_digest, names
from .access import Access, Caller
from .blobs import Incoming
from .content_digest import MalformedDigest
from .directory_form import entry_of
from .errors import Malformed, TooLarge, TooSlow
from .policy import Policy
from .store import Store

JSON_TYPE: Final = "application/json"
MAX_RECORD: Final = 64 * 1024
"""Most bytes of a user's or a repository's record."""
CHUNK: Final = 1 << 18
"""Bytes that are read or written at once."""
SLOWEST: Final = 16 * 1024
"""Bytes of a body for each of which further seconds are given, one."""

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class Service(NamedTuple):
    """What requests are answered with."""

    store: Store
    policy: Policy
    access: Access
    threads: ThreadPoolExecutor
    waiting_room: ThreadPoolExecutor
    """Where it is decided about tokens, which may take until their issuer answers."""
    patience: timedelta


class Asked(NamedTuple):
    """A request, and the names in its path."""

    request: Request
    service: Service
    caller: Caller
    names: Sequence[str]

    @property
    def repository(self) -> tuple[str, str]:
        """User and repository."""
        return names.check(self.names[0], names.USER), names.check(self.names[1], names.REPOSITORY)

    @property
    def tag(self) -> str:
        """The tag."""
        return names.check(self.names[3], names.TAG)

    @property
    def path(self) -> tuple[str, ...]:
        """The way to the node."""
        return names.tree_path(list(self.names[5:]))

    async def decided(self, function: Callable[Given, Answer], /, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """Have `Access` decide on a thread, of its own if there is a token: who has none does not wait for it."""
        pool = self.service.waiting_room if self.caller.authorization else self.service.threads
        return await asyncio.get_running_loop().run_in_executor(pool, partial(function, *args, **kwargs))

    async def on_a_thread(
        self, function: Callable[Given, Answer], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Answer:
        """Do there what reads, writes or waits, so that others are answered meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(
            self.service.threads, partial(function, *args, **kwargs)
        )


async def record_of(asked: Asked) -> bytes:
    """The body of a user or a repository, whose digest need not be given."""
    if header(asked.request, "content-type") != JSON_TYPE:
        raise Malformed("Invalid content type")
    digests = digests_of(asked.request) if "content-digest" in asked.request.headers else {}
    body = await body_of(asked, length_of(asked.request), MAX_RECORD)
    check_digests(body, digests)
    return body


async def body_of(asked: Asked, length: int, most: int) -> bytes:
    """The body, of that length, which may be `most`. Raises `TooLarge`, and as `_stream`."""
    if length > most:
        raise TooLarge(f"A body has at most {most:,} bytes here")
    body = bytearray()
    async for chunk in _stream(asked, length):
        body += chunk
    return bytes(body)


async def receive(asked: Asked, came: Incoming, length: int) -> None:
    """Write the body to what comes in, chunk by chunk. Raises as `_stream`."""
    pending = bytearray()
    async for chunk in _stream(asked, length):
        pending += chunk
        if len(pending) >= CHUNK:
            await asked.on_a_thread(came.write, bytes(pending))
            pending.clear()
    await asked.on_a_thread(came.write, bytes(pending))


async def _stream(asked: Asked, length: int) -> AsyncIterator[bytes]:
    """The body, in time and of this length. Raises `TooSlow`, `Malformed`."""
    loop, got = asyncio.get_running_loop(), 0
    begun, stream = loop.time(), asked.request.stream()
    while True:
        try:
            async with asyncio.timeout_at(begun + asked.service.patience.total_seconds() + got / SLOWEST):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise TooSlow("The body did not come in time") from None
        except ClientDisconnect:
            chunk = None
        if chunk is None:
            break
        got += len(chunk)
        if got > length:
            break
        yield chunk
    if got != length:
        raise Malformed(f"Content length mismatch, expected: {length}, got {got}")


def check_digests(body: bytes, digests: Mapping[str, str]) -> None:
    """Hold a body to what its request says of it. Raises `Malformed`."""
    found = entry_of(body, "").digest
    if any(found[algorithm] != text for algorithm, text in digests.items()):
        raise Malformed("Content digest mismatch")


def decoded(body: bytes, kind: type[Answer]) -> Answer:
    """What a body of JSON says. Raises `Malformed`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"Failed to parse the body: {error}") from error


def header(request: Request, name: str) -> str:
    """The value of a header that is there once; empty if it is not. Raises `Malformed`."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Malformed(f"The header {name} is there {len(values)} times")
    return values[0] if values else ""


def length_of(request: Request) -> int:
    """What Content-Length says, which must be there. Raises `Malformed`."""
    text = header(request, "content-length")
    if not text.isascii() or not text.isdecimal() or len(text) > 16:
        raise Malformed("A valid Content-Length header is needed")
    return int(text)


def digests_of(request: Request) -> dict[str, str]:
    """What Content-Digest says, on one line or several, sha-256 among it. Raises `Malformed`."""
    text = ",".join(request.headers.getlist("content-digest"))
    if not text:
        raise Malformed("At least one content digest value must be specified")
    try:
        found = content_digest.parse(text)
    except MalformedDigest as error:
        raise Malformed(f"Invalid Content-Digest header: {error}") from error
    if "sha-256" not in found:
        raise Malformed("Content-Digest must have a sha-256 value")
    return found
