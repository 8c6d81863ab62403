"""Talking HTTP to an OCI registry (OCI Distribution Specification 1.1).

What answers is a stranger. Answers have a size and a time. TLS is required, save where the user asked for clear by name
and on loopback. A login goes to the registry's own origin, or to the token service that it names, and a token that
was got there to that origin alone: a redirect, or a place for an upload, that lies elsewhere is followed without, and
never from https to http. In clear a login goes to loopback alone, where the user asked for clear. What failed on the
way is tried again, each time after a longer pause.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

import httpx
import msgspec

from enarx_deploy.errors import NotPublished, RegistryError
from enarx_deploy.reference import Reference
from enarx_registries import oci_login
from enarx_registries.oci_login import Challenge, Login
from enarx_service import pace

MAX_ANSWER: Final = 4 << 20
"""Most bytes of an answer that is no blob: what registries take for a manifest."""
Body = Callable[[], Iterable[bytes]]
"""Makes the content of a request, anew for each attempt."""

ATTEMPTS: Final = 5
"""How often something is tried that may pass."""
_FIRST_PAUSE: Final = 0.25  # seconds; doubled each time
_LONGEST_PAUSE: Final = 20.0
_REDIRECTS: Final = 5
_TIMEOUT: Final = httpx.Timeout(120.0, connect=10.0)  # a registry may look through a whole blob before it answers
_BLOB_UNKNOWN: Final = "BLOB_UNKNOWN"  # as it is, and as MANIFEST_BLOB_UNKNOWN
_AGAIN: Final = (429, 500, 502, 503, 504)
_REDIRECTED: Final = (301, 302, 303, 307, 308)
_HOSTS: Final = {"docker.io": "registry-1.docker.io"}  # whose registry has another name than its references
_CLIENT_ID: Final = "enarx-deploy"
ASK: Final = "ask whoever runs the registry"
_AS_IT_IS: Final = {"Accept-Encoding": "identity", "User-Agent": _CLIENT_ID}


class _Problem(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Problems(msgspec.Struct, frozen=True):
    errors: list[_Problem] = []


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


class Answer(msgspec.Struct, frozen=True):
    """An answer, read whole."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: str


@contextlib.contextmanager
def connected(named: Reference) -> Iterator[Connection]:
    """A connection to the repository that a reference names. Raises RegistryError."""
    host = _HOSTS.get(named.host, named.host)
    loopback = _is_loopback(host)
    clear = named.in_clear or (loopback and not _speaks_tls(host))
    # The system's roots take long to load, and nothing on loopback that speaks in clear leads to where they are needed.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if clear and loopback else _context(host)
    # No proxy of the environment's stands between this machine and itself.
    with httpx.Client(
        verify=context, trust_env=not loopback, timeout=_TIMEOUT, follow_redirects=False, headers=_AS_IT_IS
    ) as client:
        pace.bound(client)
        yield Connection(named, client, f"{'http' if clear else 'https'}://{host}/v2/")


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", name) is not None


def _speaks_tls(host: str) -> bool:
    """Whether a registry on loopback speaks TLS, with any certificate. Raises RegistryError where nothing answers."""
    try:
        with httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False, timeout=_TIMEOUT) as client:
            pace.bound(client)
            client.head(f"https://{host}/v2/")
    except httpx.ConnectError as error:
        if "SSL" not in str(error):
            raise _unreachable(error, host) from error
        return "CERTIFICATE" in str(error)
    except httpx.HTTPError as error:
        raise _unreachable(error, host) from error
    return True


class Connection:
    """One repository of one registry, and the login for it, which is looked for when the registry asks."""

    def __init__(self, named: Reference, client: httpx.Client, base: str) -> None:
        self.repository = named.path
        self._named = named
        self._client = client
        self._base = base
        self._authorization = ""

    def url(self, path: str) -> str:
        """The address of something in this repository, such as `manifests/TAG`."""
        return f"{self._base}{self.repository}/{path}"

    @property
    def catalog(self) -> str:
        """The address of the list of the registry's repositories."""
        return f"{self._base}_catalog"

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        accept: tuple[int, ...] = (200,),
        tries: int = ATTEMPTS,
    ) -> Answer:
        """The answer, with a status that is among `accept`. Raises NotPublished for 404, RegistryError for others."""
        for attempt in attempts(tries):
            with attempt, self._sent(method, url, headers or {}, body) as response:
                answer = Answer(response.status_code, response.headers, _whole(response), str(response.url))
                if answer.status in accept:
                    return answer
                _again(self._named.host, answer.status, answer.headers)
                raise self._complaint(method, answer)
        raise AssertionError("the last attempt returns or raises")

    def blob(self, digest: str) -> Iterator[bytes]:
        """A blob as it comes, unchecked; where the connection breaks it goes on from there."""
        received = 0
        for attempt in attempts():
            with attempt:
                for chunk in self._rest_of_blob(digest, received):
                    received += len(chunk)
                    attempt.progressed()
                    yield chunk
                return

    def _rest_of_blob(self, digest: str, offset: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._sent("GET", self.url(f"blobs/{digest}"), headers, None) as response:
            status = response.status_code
            if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                return  # the connection broke at the very end
            if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                _again(self._named.host, status, response.headers)
                raise self._complaint("GET", Answer(status, response.headers, _whole(response), str(response.url)))
            skip = offset if status == httpx.codes.OK else 0
            for chunk in response.iter_raw():
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                yield chunk[skip:]
                skip = 0

    @contextlib.contextmanager
    def _sent(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> Iterator[httpx.Response]:
        """The answer to a request, after a login where one is asked for, and at the end of redirects."""
        with contextlib.ExitStack() as stack:
            response = self._open(stack, method, url, headers, body)
            if response.status_code == httpx.codes.UNAUTHORIZED and self._is_own(url):
                response.close()
                self._log_in(response)
                response = self._open(stack, method, url, headers, body)
            for _ in range(_REDIRECTS):
                if response.status_code not in _REDIRECTED or method not in ("GET", "HEAD"):
                    break
                url = self.follow(str(response.url), response.headers.get("location", ""))
                response.close()
                response = self._open(stack, method, url, headers, body)
            yield response

    def follow(self, base: str, location: str) -> str:
        """Where a Location header leads. Raises RegistryError where it leads out of TLS."""
        try:
            url = urljoin(base, location)
            parts = urlsplit(url)
            _origin(url)
        except ValueError as error:
            raise RegistryError(f"{self._named.host} leads to what is no address", hint=ASK) from error
        if parts.scheme not in ("http", "https") or (parts.scheme == "http" and self._base.startswith("https:")):
            raise RegistryError(
                f"{self._named.host} leads from https to {parts.scheme or 'nowhere'}",
                hint=f"nothing was sent there; {ASK}",
            )
        return url

    def _open(
        self, stack: contextlib.ExitStack, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> httpx.Response:
        own = {"Authorization": self._authorization} if self._authorization and self._is_own(url) else {}
        content = body() if body is not None else None
        return stack.enter_context(self._client.stream(method, url, headers={**headers, **own}, content=content))

    def _is_own(self, url: str) -> bool:
        return _origin(url) == _origin(self._base)

    def _log_in(self, response: httpx.Response) -> None:
        login = oci_login.find(self._named.host, self.repository)
        if login is not None:
            self._require_way_for(login, self._base)
        for challenge in oci_login.challenges(response.headers.get_list("www-authenticate")):
            if challenge.scheme == "bearer":
                self._authorization = f"Bearer {self._token(challenge, login)}"
                return
            if challenge.scheme == "basic":
                if login is None:
                    raise RegistryError(
                        f"{self._named.host} asks for a login, and nobody has logged in to it here",
                        hint=f"log in, for example with `docker login {self._named.host}` or `oras login`",
                    )
                self._authorization = login.basic()
                return
        raise RegistryError(
            f"{self._named.host} asks for a login of a kind that is not known here", hint="Bearer and Basic are known"
        )

    def _require_way_for(self, login: Login, url: str) -> None:
        """Raise RegistryError where a login is not to be sent to this address."""
        parts, host = urlsplit(url), self._named.host
        if parts.scheme == "https":
            return
        if not _is_loopback(parts.netloc):
            raise RegistryError(
                f"no login goes to {parts.netloc} in clear",
                hint=f"speak to it by TLS: oci://{host}; or log out, where it asks for no login",
            )
        if login.scheme == "https" or not (login.scheme == "http" or self._named.in_clear):
            raise RegistryError(
                f"{parts.netloc} speaks in clear, for which the login at {host} was not made: nothing was sent",
                hint=f"is it the registry? oci+http://{host} asks for clear by name",
            )

    def _token(self, challenge: Challenge, login: Login | None) -> str:
        """A token of the service that the registry names: by docker's way, or by OAuth 2 for an identity token."""
        realm = self.follow(self._base, challenge.parameters.get("realm", ""))
        if login is not None:
            self._require_way_for(login, realm)
        asked: dict[str, str] = {
            name: value for name, value in challenge.parameters.items() if name in ("service", "scope")
        }
        with contextlib.ExitStack() as stack:
            if login is not None and login.identity_token:
                form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": _CLIENT_ID}
                request = self._client.stream("POST", realm, data=form | asked)
            else:
                headers = {"Authorization": login.basic()} if login else {}
                address = f"{realm}{'&' if '?' in realm else '?'}{urlencode(asked)}"
                request = self._client.stream("GET", address, headers=headers)
            response = stack.enter_context(request)
            body = _whole(response)
        _again(self._named.host, response.status_code, response.headers)
        if response.status_code != httpx.codes.OK:
            raise self._refused(response.status_code, login)
        try:
            answer = msgspec.json.decode(body, type=_Token)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RegistryError(f"the token service of {self._named.host} gave no token", hint=ASK) from error
        token = answer.token or answer.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise RegistryError(f"the token service of {self._named.host} gave no token", hint=ASK)
        return token

    def _refused(self, status: int, login: Login | None) -> RegistryError:
        host = self._named.host
        if login is None:
            return RegistryError(
                f"{host} gives {self.repository} to nobody who has not logged in (status {status})",
                hint=f"is the name right? If so log in, for example with `docker login {host}` or `oras login {host}`",
            )
        who = f"{login.user!a}" if login.user else "its token"
        if status == httpx.codes.FORBIDDEN:
            return RegistryError(
                f"{host} refuses this to {who}", hint=f"may it read, or write, {self.repository}? Is there such a name?"
            )
        return RegistryError(
            f"{host} refused the login of {who} (status {status})",
            hint=f"log in again, for example with `docker login {host}` or `oras login {host}`",
        )

    def _complaint(self, method: str, answer: Answer) -> NotPublished | RegistryError:
        host = self._named.host
        if answer.status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return self._refused(answer.status, oci_login.find(host, self.repository))
        said = _said(answer.body) if self._is_own(answer.url) else ""
        if method == "PUT" and _BLOB_UNKNOWN in said:  # it was sent: another who sends the same may be half through it
            return Interrupted(f"{host} does not have what was sent to it{said}", hint=ASK)
        if answer.status == httpx.codes.NOT_FOUND:
            return NotPublished(
                f"{host} has no such thing in {self.repository}{said}", hint="is the name right? `search` lists tags"
            )
        return RegistryError(f"{host} answered {method} with status {answer.status}{said}", hint=ASK)


class _Attempt(contextlib.AbstractContextManager["_Attempt"]):
    """One of several attempts: what may pass by itself is swallowed, and followed by a pause, in all but the last."""

    def __init__(self, number: int, last: bool) -> None:
        self._number = number
        self._last = last
        self._pause = min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE) * random.uniform(0.75, 1.25)  # noqa: S311  # a spread

    def progressed(self) -> None:
        """Something came: the next pause is a short one."""
        self._pause = _FIRST_PAUSE

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Interrupted):
            if self._last:
                return False
            time.sleep(min(max(self._pause, error.after), _LONGEST_PAUSE))
            return True
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
            fault = _unreachable(error, _host_of(error))
            if self._last or not isinstance(fault, Interrupted):
                raise fault from error
            time.sleep(self._pause)
            return True
        return False


class Interrupted(RegistryError):
    """A fault that may pass; `after` is how many seconds the registry asks to be left alone."""

    def __init__(self, message: str, *, hint: str, after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.after = after


def attempts(count: int = ATTEMPTS) -> Iterator[_Attempt]:
    """Attempts at something, each to be entered; the work leaves the loop when it is done."""
    for number in range(count):
        yield _Attempt(number, number == count - 1)


def _again(host: str, status: int, headers: httpx.Headers) -> None:
    """Raise what is tried again, where a status is of that kind."""
    if status in _AGAIN:
        after = headers.get("retry-after", "")
        seconds = float(after) if after.isascii() and after.isdigit() else 0.0
        raise Interrupted(f"{host} answers with status {status}", hint="try again later", after=seconds)


def _whole(response: httpx.Response) -> bytes:
    answer = bytearray()
    for chunk in response.iter_raw():  # packed, a small answer could fill the memory
        answer += chunk
        if len(answer) > MAX_ANSWER:
            raise RegistryError(
                f"{response.url.host} answered with more than {MAX_ANSWER:,} bytes", hint="is it an OCI registry?"
            )
    return bytes(answer)


def _unreachable(error: Exception, host: str) -> RegistryError:
    reason = " ".join((str(error) or type(error).__name__).split())
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return RegistryError(
            f"the TLS certificate of {host} is not good: {reason}",
            hint="if it has a root of its own, name the file in SSL_CERT_FILE, or put it where docker and podman look",
        )
    return Interrupted(
        f"{host} cannot be reached: {reason}", hint="is it running, and is its name right? Clear HTTP is oci+http://"
    )


def _host_of(error: Exception) -> str:
    try:
        return str(error.request.url.netloc.decode()) if isinstance(error, httpx.RequestError) else "the registry"
    except RuntimeError:  # it has no request
        return "the registry"


def _said(body: bytes) -> str:
    try:
        problems = msgspec.json.decode(body, type=_Problems).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    text = "; ".join(f"{problem.code} {problem.message}" for problem in problems[:3])
    return f": {''.join(letter if letter.isprintable() else ' ' for letter in text)[:300]}" if text else ""


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


def _context(host: str) -> ssl.SSLContext:
    """The roots that this machine trusts, and those that docker and podman were given for this registry alone."""
    context = httpx.create_ssl_context()
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for place in (home / "containers/certs.d", Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d")):
        for path in sorted((place / host).glob("*.crt")):
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise RegistryError(f"{path} holds no certificates: {error}", hint="mend it, or remove it") from error
    return context
