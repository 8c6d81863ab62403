"""Asking a stranger by HTTP: answers have a size and a time, and nothing is followed elsewhere."""

from __future__ import annotations

import contextlib
import random
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpx

from enarx_service import pace

from .errors import Unreachable

ATTEMPTS: Final = 5
FIRST_PAUSE: Final = 0.25
"""Seconds after the first failure; doubled after each further one."""
LONGEST_PAUSE: Final = 10.0
TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
MAX_ANSWER: Final = 1 << 20
"""Most bytes of an answer that is no node."""
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_HEADERS: Final = {"User-Agent": "enarx-deploy", "Accept-Encoding": "identity"}
_LOOPBACK: Final = re.compile(r"localhost|::1|127(\.[0-9]{1,3}){3}")

Body = Callable[[], Iterable[bytes]]
"""Makes the content of a request, anew for each attempt."""


class Answer(NamedTuple):
    """An answer, read whole."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def text(self) -> str:
        """What it says, as one line for people."""
        line = " ".join(self.body[:500].decode(errors="replace").split())
        return line if line.isprintable() else ascii(line)


@contextlib.contextmanager
def opened(roots: Path | None, *, in_clear: bool, own_machine: bool) -> Iterator[httpx.Client]:
    """A client that believes these roots (PEM) alone, or those of the system. Raises `Unreachable`."""
    # No proxy of the environment's stands between this machine and itself.
    with httpx.Client(
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if in_clear else context(roots),
        trust_env=not own_machine,
        timeout=TIMEOUT,
        follow_redirects=False,
        headers=_HEADERS,
    ) as client:
        pace.bound(client)
        yield client


def context(roots: Path | None) -> ssl.SSLContext:
    """What a TLS connection must meet. Raises `Unreachable` if the roots cannot be read."""
    try:
        return ssl.create_default_context(cafile=roots)
    except (OSError, ssl.SSLError) as error:
        raise Unreachable(
            f"{roots}: no certificates to trust: {error}", hint="ENARX_CA_BUNDLE names a PEM file"
        ) from error


def is_own_machine(host: str) -> bool:
    """Whether HOST or HOST:PORT is this machine's loopback interface."""
    return _LOOPBACK.fullmatch(urlsplit(f"//{host}").hostname or "") is not None


def ask(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    content: Body | None = None,
    form: Mapping[str, str] | None = None,
    most: int = MAX_ANSWER,
) -> Answer:
    """The answer, whatever its status. A POST is not made twice. Raises `Unreachable`."""
    for left in reversed(range(1 if method == "POST" else ATTEMPTS)):
        try:
            body = content() if content is not None else None
            with client.stream(method, url, headers=headers, content=body, data=form) as answer:
                if answer.status_code not in _PASSING or not left:
                    return Answer(answer.status_code, answer.headers, read(answer, most))
        except httpx.TransportError as error:
            if not left or _is_final(error):
                raise Unreachable(
                    f"{url} does not answer: {error or type(error).__name__}", hint=_hint(error)
                ) from error
        except httpx.HTTPError as error:
            raise Unreachable(f"{url} does not answer as it should: {error}") from error
        pause(ATTEMPTS - left)
    raise AssertionError("the last attempt returns or raises")


def pause(attempt: int) -> None:
    """Wait before the next attempt, longer each time."""
    time.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1))  # noqa: S311 — no secret


def _is_final(error: httpx.TransportError) -> bool:
    """Whether trying again is of no use: a certificate that is not good does not get better."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error) or isinstance(
        error, httpx.UnsupportedProtocol | httpx.LocalProtocolError
    )


def _hint(error: httpx.TransportError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "name the PEM file with its root in ENARX_CA_BUNDLE"
    return "is the name right, and is it running?"


def read(answer: httpx.Response, most: int) -> bytes:
    """The body of an answer, of at most this many bytes. Raises `Unreachable`."""
    data = bytearray()
    for chunk in answer.iter_raw():
        data += chunk
        if len(data) > most:
            raise Unreachable(f"{answer.url} answers with more than {most:,} bytes")
    return bytes(data)
