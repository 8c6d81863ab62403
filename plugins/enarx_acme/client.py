"""The library's ACME client with bounds: https alone, no redirects, and limits of size, time and repetition.

Whatever goes wrong in it leaves as a StewardError, with what the server said on one line.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import Any, Final

import httpx
import requests
from acme import client, errors, messages
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from enarx_deploy.errors import StewardError
from enarx_service import pace

_MOST_BYTES: Final = 1 << 20
_TIMEOUT: Final = 20.0
"""Seconds without a byte."""
_ALTOGETHER: Final = 60.0
"""Seconds that a server may have us wait for all answers of an order together."""
_NONCE_ATTEMPTS: Final = 10

_HINTS: Final = {
    "accountDoesNotExist": "register anew: `enarx-deploy acme register`",
    "badCSR": "the server wants another kind of key or request: Keeps have ECDSA keys on P-256",
    "caa": "a CAA record of the domain does not name this authority (RFC 8659)",
    "connection": "the server could not reach the name by the way that the account uses: is it this machine's, and "
    "does the port that it asks (80 for http-01) lead to where http-01 is answered?",
    "dns": "the name, or its _acme-challenge record, is not in DNS as the server sees it",
    "externalAccountRequired": "this server knows its customers: give --eab-kid and --eab-key-file of your account "
    "there",
    "rateLimited": "wait; every certificate and every failure counts, and the server's documents say how many",
    "rejectedIdentifier": "the server gives no certificate for that name",
    "tls": "the name's own TLS was looked at, and is not good",
    "unauthorized": "what the server found under the name is not what was put there: does the name lead to this "
    "machine?",
    "userActionRequired": "the server's terms changed: read and accept them with `enarx-deploy acme register`",
}
"""By the code of a problem (RFC 8555, section 6.7): what to do."""

_OF_ANOTHER_SHAPE: Final = (KeyError, ValueError, TypeError, AttributeError)
"""What the library raises for an answer that is JSON, and not of ACME."""


class _Bounded(BaseAdapter):
    """Asks by httpx, whose answers `pace` bounds: requests waits anew for each byte of a head."""

    def __init__(self, server_root_pem: str) -> None:
        super().__init__()
        context = ssl.create_default_context(cadata=server_root_pem) if server_root_pem else httpx.create_ssl_context()
        self._client = httpx.Client(verify=context, timeout=_TIMEOUT, follow_redirects=False)
        pace.bound(self._client, _ALTOGETHER)

    def send(self, request: requests.PreparedRequest, *_args: Any, **_options: Any) -> requests.Response:
        """The answer, read whole."""
        method, url = request.method or "", request.url or ""
        headers = {name: str(value) for name, value in request.headers.items()}
        body = request.body if isinstance(request.body, bytes | str) else None
        try:
            with self._client.stream(method, url, headers=headers, content=body) as found:
                content = _whole(found)
        except httpx.HTTPError as error:
            raise requests.exceptions.ConnectionError(str(error) or type(error).__name__) from error
        answer = requests.Response()
        answer.status_code, answer.reason, answer.url, answer.request = found.status_code, "", url, request
        answer.headers = CaseInsensitiveDict(found.headers)
        answer._content, answer._content_consumed = content, True
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _whole(found: httpx.Response) -> bytes:
    content = bytearray()
    for piece in found.iter_raw():  # packed, a small answer could fill the memory
        content += piece
        if len(content) > _MOST_BYTES:
            raise requests.exceptions.ContentDecodingError("the answer is too long")
    return bytes(content)


class Network(client.ClientNetwork):
    """Signs with the account's key; `wait` is how long the server last asked to be left alone, in seconds."""

    def __init__(self, key_pem: str, server_root_pem: str) -> None:
        super().__init__(as_jwk(key_pem), alg=ES256, user_agent="enarx-deploy")
        self.session.adapters.clear()
        self.session.mount("https://", _Bounded(server_root_pem))
        self.session.headers["Accept-Encoding"] = "identity"
        self.session.max_redirects = 0
        self.wait = 0.0

    def _send_request(self, method: str, url: str, *args: Any, **options: Any) -> requests.Response:
        response = super()._send_request(method, url, *args, **options)
        self.wait = _seconds(response.headers.get("Retry-After", ""))
        return response

    def post(self, *args: Any, **options: Any) -> requests.Response:
        """As often as the server finds the nonce used up, within bounds (RFC 8555, section 6.5)."""
        for _ in range(_NONCE_ATTEMPTS):
            try:
                return self._post_once(*args, **options)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        raise errors.Error(f"the server refused {_NONCE_ATTEMPTS} nonces of its own")


@contextlib.contextmanager
def connect(directory: str, key_pem: str, server_root_pem: str, account_url: str = "") -> Iterator[client.ClientV2]:
    """A client of the server whose directory is at this URL. Raises StewardError, also from within."""
    with contextlib.ExitStack() as stack, faults(directory) as told:
        network = told.network = Network(key_pem, server_root_pem)
        stack.callback(network.session.close)
        if account_url:
            network.account = messages.RegistrationResource(uri=account_url, body=messages.Registration())
        yield client.ClientV2(client.ClientV2.get_directory(directory, network), network)


class Told:
    """The network that a fault came from, once there is one."""

    network: Network | None = None


class AskedToWait(StewardError):
    """The server asked to be left alone for `seconds`."""

    def __init__(self, message: str, *, hint: str, seconds: float) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


@contextlib.contextmanager
def faults(directory: str) -> Iterator[Told]:
    """Turn what the library raises into a StewardError."""
    told = Told()
    try:
        yield told
    except messages.Error as error:
        raise _complaint(directory, error, told.network) from error
    except errors.ValidationError as error:
        raise StewardError(f"{directory}: {_failed(error)}", hint=_hint_of(error)) from error
    except errors.TimeoutError as error:
        raise StewardError(f"{directory}: the server did not decide in time", hint="try again") from error
    except (requests.RequestException, errors.Error, JoseError, *_OF_ANOTHER_SHAPE) as error:
        raise StewardError(
            f"the ACME server at {directory} cannot be used: {printable(str(error) or type(error).__name__)}",
            hint="is that the URL of its directory? One whose own certificate is not from a public authority needs "
            "--server-root PEM",
        ) from error


def as_jwk(key_pem: str) -> JWKEC:
    """The account's key. Raises StewardError."""
    try:
        key = load_pem_private_key(key_pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StewardError("the key of the ACME account cannot be read", hint="register again") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise StewardError("the key of the ACME account is not on P-256", hint="register again")
    return JWKEC(key=ComparableECKey(key))


def printable(text: str) -> str:
    """One line without control characters: it comes from another machine and goes to a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)[:500]


def _complaint(directory: str, error: messages.Error, network: Network | None) -> StewardError:
    problems = [error, *(error.subproblems or ())]
    said = printable("; ".join(_said(one) for one in problems))
    hint = next((_HINTS[one.code] for one in problems if one.code in _HINTS), "")
    if error.code == "rateLimited" and network is not None and network.wait:
        hint = f"the server asks to wait {network.wait:.0f} s; {hint}"
        return AskedToWait(f"{directory} refused: {said}", hint=hint, seconds=network.wait)
    return StewardError(f"{directory} refused: {said}", hint=hint)


def _said(problem: messages.Error) -> str:
    name = f"{problem.identifier.value}: " if problem.identifier else ""
    return f"{name}{problem.detail or problem.title or problem.typ}"


def _failed(error: errors.ValidationError) -> str:
    return "; ".join(
        f"{printable(one.body.identifier.value)} was not validated: {printable(_said(fault))}"
        for one in error.failed_authzrs
        for fault in (challenge.error for challenge in one.body.challenges)
        if fault is not None
    )


def _hint_of(error: errors.ValidationError) -> str:
    found = (challenge.error for one in error.failed_authzrs for challenge in one.body.challenges)
    return next((_HINTS[fault.code] for fault in found if fault is not None and fault.code in _HINTS), "")


def _seconds(retry_after: str) -> float:
    """Of a Retry-After header that counts them; one with a date is not followed."""
    return min(float(retry_after), 86_400.0) if retry_after.isascii() and retry_after.isdecimal() else 0.0
