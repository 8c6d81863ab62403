"""One HTTPS request after another, within bounds: what comes back may be hostile, slow, endless, or not come at all."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import msgspec

from .errors import NotFound, SourceError

_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""
_ABSENT: Final = frozenset({404, 410})
_HEADERS: Final = {"User-Agent": "enarx-deploy", "Accept-Encoding": "identity"}
_RANDOM: Final = secrets.SystemRandom()


@dataclass(frozen=True)
class Patience:
    """How long, and how often. AMD's service answers about one request in ten seconds and refuses the others (429)."""

    attempts: int = 7
    """Most requests for one item."""
    connections: int = 3
    """Most failures to connect: where there is no network, waiting helps nobody."""
    first_wait: float = 2.0
    """Seconds after the first failure; doubled after each further one, and spread by up to a half."""
    longest_wait: float = 60.0
    """Seconds between two requests, unless the service asks for more."""
    answer: float = 30.0
    """Seconds for one answer, from connecting to its last byte."""
    total: float = 300.0
    """Seconds for one item, with all waiting."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer with status 200; names of headers in lower case."""

    headers: Mapping[str, str]
    body: bytes


class _Passing(Exception):
    """What may be over at the next attempt; with the seconds that the service asks to be left alone."""

    def __init__(self, why: str, after: float = 0.0, *, unreached: bool = False) -> None:
        super().__init__(why)
        self.after = after
        self.unreached = unreached


class Transport:
    """Asks, and asks again. `tell` gets a line for each wait."""

    def __init__(self, client: httpx.AsyncClient, patience: Patience, tell: Callable[[str], None]) -> None:
        self._client = client
        self._patience = patience
        self._tell = tell

    async def get(self, url: str, most: int) -> Answer:
        """The answer of at most `most` bytes to a GET. Raises `SourceError`, `NotFound`."""
        patience, end, why = self._patience, time.monotonic() + self._patience.total, "nothing was asked"
        unreached = 0
        for attempt in range(patience.attempts):
            try:
                return await self._once(url, most)
            except _Passing as exc:
                why, asked, unreached = str(exc), exc.after, unreached + exc.unreached
            wait = max(asked, min(patience.longest_wait, patience.first_wait * 2**attempt) * _RANDOM.uniform(0.5, 1.0))
            last = attempt + 1 == patience.attempts or unreached == patience.connections
            if last or time.monotonic() + wait > end:
                break
            self._tell(f"{_host(url)}: {why}; trying again in {wait:.0f} s")
            await asyncio.sleep(wait)
        raise SourceError(f"{url}: {why}", hint="try again later, or fetch on another network and import")

    async def _once(self, url: str, most: int) -> Answer:
        try:
            async with asyncio.timeout(self._patience.answer), self._client.stream("GET", url) as response:
                _require_usable(response, url)
                return Answer(
                    {name.lower(): value for name, value in response.headers.items()}, await _body(response, url, most)
                )
        except TimeoutError as exc:
            raise _Passing(f"no whole answer within {self._patience.answer:.0f} s") from exc
        except httpx.TransportError as exc:
            if _is_of_certificate(exc):
                raise SourceError(
                    f"{url}: {exc}", hint="is something between here and there? For a mirror, give --mirror-ca"
                ) from exc
            raise _Passing(_said(exc), unreached=isinstance(exc, httpx.ConnectError)) from exc


@contextlib.asynccontextmanager
async def transport(
    *, patience: Patience | None = None, ca_file: str | None = None, tell: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Transport]:
    """A transport that believes the system's authorities, or those in `ca_file` alone. Proxies are the environment's.

    No redirection is followed: hosts are written down, and a service does not choose others.
    """
    context = ssl.create_default_context(cafile=ca_file)
    patience = patience or Patience()
    limits = httpx.Timeout(patience.answer)
    async with httpx.AsyncClient(verify=context, timeout=limits, headers=_HEADERS, follow_redirects=False) as client:
        yield Transport(client, patience, tell)


def retry_after(value: str | None, now: datetime) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3); 0 for what is none."""
    if value is None:
        return 0.0
    seconds = value.strip()
    if seconds.isascii() and seconds.isdecimal():
        return float(seconds[:12])
    try:
        moment = parsedate_to_datetime(value)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
    except (ValueError, OverflowError):
        return 0.0


def _require_usable(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if status in _PASSING:
        after = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        raise _Passing(f"answered {status} {response.reason_phrase}".rstrip(), after)
    if status in _ABSENT:
        raise NotFound(f"{url}: the service does not have it ({status})", hint="is it the right machine and service?")
    if status != httpx.codes.OK:
        raise SourceError(
            f"{url}: answered {status} {response.reason_phrase}".rstrip(), hint="is it the right service?"
        )
    if response.headers.get("content-encoding", "identity") != "identity":
        raise SourceError(f"{url}: the answer is compressed, which was not asked for", hint="is it the right service?")


async def _body(response: httpx.Response, url: str, most: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            raise SourceError(f"{url}: the answer has more than {most:,} bytes", hint="is it the right service?")
    return bytes(body)


def _said(error: httpx.TransportError) -> str:
    """What it says, without the system's number for it."""
    return re.sub(r"^\[Errno -?[0-9]+\] ", "", str(error)) or type(error).__name__


def _is_of_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _host(url: str) -> str:
    return httpx.URL(url).host
