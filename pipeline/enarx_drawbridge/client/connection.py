"""One registry, as a caller with a login or without one speaks to it.

Reading is tried without a token first: what is public needs none, and a registry that asks for none gets none.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from enarx_drawbridge import content_digest, reading
from enarx_drawbridge.content_digest import MalformedDigest
from enarx_drawbridge.directory_form import Digests, Entry, entry_of
from enarx_drawbridge.errors import Malformed

from . import http, oidc
from .errors import ClientFault, Damaged, NotThere, Refused, Unreachable, Withdrawn
from .logins import Login, Logins

API: Final = "/api/v0.1.0/"
METADATA: Final = "/.well-known/oauth-protected-resource"
CHUNK: Final = 1 << 20
MAX_SEARCH: Final = 4 << 20
_MATCH: Final = re.compile(r"[0-9A-Za-z]+/[0-9A-Za-z-]+:[0-9A-Za-z.+-]+")
_CREATED: Final = (200, 201)


class Place(NamedTuple):
    """A registry, and how it is spoken to."""

    host: str
    in_clear: bool = False
    roots: Path | None = None
    """PEM of the only roots that are believed; default: those of the system."""
    token: str = ""
    """A token that goes before any login."""
    token_in_clear: bool = False
    """Whether it may go without TLS, which it does on this machine alone."""
    token_hint: str = ""
    """What to do where a token that the user gave is not for this registry."""


class Metadata(msgspec.Struct, frozen=True):
    """Whose tokens a registry believes (RFC 9728)."""

    resource: str
    authorization_servers: list[str]
    client_id: str = ""


class Match(msgspec.Struct, frozen=True):
    """A tag that a registry found."""

    repository: str
    tag: str


class Connection:
    """Speaks to a registry. Raises `ClientFault`."""

    def __init__(self, client: httpx.Client, base: str, place: Place, logins: Logins) -> None:
        self._client = client
        self._base = base
        self._place = place
        self._logins = logins
        self._token: str | None = None

    @property
    def scheme(self) -> str:
        """`https`, or `http` in clear."""
        return self._base.partition(":")[0]

    @property
    def client(self) -> httpx.Client:
        """For asking others, such as a provider of identities."""
        return self._client

    def metadata(self) -> Metadata:
        """Whose tokens the registry believes. Raises `NotThere` if it does not say."""
        answer = http.ask(self._client, "GET", self._base + METADATA)
        if answer.status != 200:
            raise NotThere(f"{self._place.host} does not say whose logins it believes", hint="give --oidc-issuer URL")
        try:
            return msgspec.json.decode(answer.body, type=Metadata)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(f"{self._place.host} does not answer as a registry: {error}") from error

    def get(self, path: str, most: int = http.MAX_ANSWER) -> tuple[bytes, Entry]:
        """A thing as it is, and what the answer's headers say of it, which it is."""
        answer = self._read("GET", path, most)
        entry = _said(answer.headers, path)
        found = entry_of(answer.body, entry.type)
        if found.length != entry.length or any(found.digest[name] != text for name, text in entry.digest.items()):
            raise Damaged(f"{self._place.host}: {path} is not what its Content-Digest says")
        return answer.body, entry

    def head(self, path: str) -> Entry:
        """What the registry says of a thing."""
        return _said(self._read("HEAD", path, 0).headers, path)

    def chunks(self, path: str, entry: Entry) -> Iterator[bytes]:
        """A node as it comes, and it is the one that `entry` names, or the last step raises `Damaged`."""
        digests = Digests()
        with contextlib.closing(self._streamed(path)) as stream:
            for chunk in stream:
                digests.update(chunk)
                if digests.length > entry.length:
                    break
                yield chunk
        if digests.length != entry.length or digests.entry("").digest["sha-256"] != entry.digest["sha-256"]:
            raise Damaged(f"{self._place.host}: {path} is not what the directory that lists it says", hint="try again")

    def search(self, words: Sequence[str]) -> list[Match]:
        """What the registry lists. Raises `Refused` where it lists nothing."""
        query = str(httpx.QueryParams([("q", word) for word in words]))
        answer = http.ask(self._client, "GET", f"{self._base}{API}_search?{query}", most=MAX_SEARCH)
        if answer.status != 200:
            raise Refused(f"{self._place.host} cannot be searched", hint="name one repository: HOST/USER/REPOSITORY")
        try:
            found = msgspec.json.decode(answer.body, type=list[Match])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(f"{self._place.host} does not answer as a registry: {error}") from error
        return [one for one in found if _MATCH.fullmatch(f"{one.repository}:{one.tag}")]

    def put(self, path: str, entry: Entry, body: http.Body) -> bool:
        """Put a thing; whether it is new."""
        headers = {
            "Content-Type": entry.type,
            "Content-Length": str(entry.length),
            "Content-Digest": content_digest.render(entry.digest),
            "Authorization": f"Bearer {self._required()}",
        }
        answer = http.ask(self._client, "PUT", self._url(path), headers=headers, content=body)
        if answer.status not in _CREATED:
            raise self._fault(path, answer)
        return answer.status == 201

    def put_bytes(self, path: str, body: bytes, media_type: str) -> bool:
        """Put a thing that is held in memory; whether it is new."""
        return self.put(path, entry_of(body, media_type), lambda: [body])

    def delete(self, path: str, **query: str) -> None:
        """Withdraw a tag."""
        url = str(httpx.URL(self._url(path), params=query))
        answer = http.ask(self._client, "DELETE", url, headers={"Authorization": f"Bearer {self._required()}"})
        if answer.status == 405:
            raise Refused(f"{self._place.host} withdraws nothing", hint="Drawbridge's own server has no such request")
        if answer.status != 204:
            raise self._fault(path, answer)

    def token(self) -> str:
        """The caller's token, renewed if need be; nothing if there is no login."""
        if self._token is None:
            self._token = self._given() or self._from_login()
        return self._token

    def require_way_for_a_login(self, made_by: str) -> None:
        """Raise `Refused` where a login that was made by this scheme is not to be sent on this connection."""
        host = self._place.host
        if self.scheme == "https":
            return
        if not http.is_own_machine(host):
            raise Refused(f"no login goes to {host} in clear", hint=f"speak to it by TLS: drawbridge://{host}")
        if made_by != "http":
            raise Refused(
                f"the login at {host} is one for TLS, and what answers there now speaks in clear: nothing was sent",
                hint=f"is it the registry? If so log in again: `enarx-deploy user login drawbridge+http://{host}`",
            )

    def _given(self) -> str:
        """The token that goes before any login."""
        token = self._place.token
        if (
            token
            and self.scheme != "https"
            and not (self._place.token_in_clear and http.is_own_machine(self._place.host))
        ):
            raise Refused(f"the token for {self._place.host} does not go there in clear", hint=self._place.token_hint)
        return token

    def _required(self) -> str:
        token = self.token()
        if not token:
            raise Refused(f"you are not logged in at {self._place.host}", hint=self._how_to_log_in())
        return token

    def _from_login(self) -> str:
        login = self._logins.find(self._place.host)
        if login is None:
            return ""
        self.require_way_for_a_login(login.scheme)
        if login.has_ended and not login.helper:
            login = self._renewed()
        return login.access_token

    def _renewed(self) -> Login:
        """The login as it is when it is this process's turn, which another may have renewed meanwhile."""
        with self._logins.turn(self._place.host):
            login = self._logins.find(self._place.host)
            if login is None or (login.has_ended and not login.refresh_token):
                raise self._ended()
            return self._refreshed(login) if login.has_ended else login

    def _refreshed(self, login: Login) -> Login:
        try:
            renewed = oidc.provider(self._client, login.issuer).refreshed(login)
        except Refused as fault:
            raise self._ended() from fault
        renewed = msgspec.structs.replace(renewed, scheme=login.scheme)
        self._logins.keep(self._place.host, renewed)
        return renewed

    def _how_to_log_in(self) -> str:
        return self._place.token_hint or f"`enarx-deploy user login {self._place.host}`"

    def _ended(self) -> Refused:
        host = self._place.host
        return Refused(f"your login at {host} has ended", hint=f"`enarx-deploy user login {host}`")

    def _read(self, method: str, path: str, most: int) -> http.Answer:
        answer = http.ask(self._client, method, self._url(path), headers=self._known(), most=most)
        if answer.status == 401 and self._token is None and self.token():
            answer = http.ask(self._client, method, self._url(path), headers=self._known(), most=most)
        if answer.status != 200:
            raise self._fault(path, answer)
        return answer

    def _streamed(self, path: str) -> Generator[bytes, None, None]:
        try:
            with self._client.stream("GET", self._url(path), headers=self._known()) as answer:
                if answer.status_code != 200:
                    body = http.read(answer, http.MAX_ANSWER)
                    raise self._fault(path, http.Answer(answer.status_code, answer.headers, body))
                yield from answer.iter_raw(CHUNK)
        except httpx.HTTPError as error:
            raise Unreachable(f"{self._url(path)} breaks off: {error}", hint="try again") from error

    def _known(self) -> dict[str, str]:
        """The token, once it was asked for."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _url(self, path: str) -> str:
        return f"{self._base}{API}{quote(path, safe='/:+')}"

    def _fault(self, path: str, answer: http.Answer) -> ClientFault:
        host, said = self._place.host, answer.text
        if answer.status == 404:
            return NotThere(f"{host} has no {path}: {said}")
        if answer.status == 410:
            return Withdrawn(f"{path} was withdrawn from {host}", reason=said.removeprefix("Yanked: "))
        if answer.status == 401 and not self._token:
            return Refused(f"{host} wants a login for {path}: {said}", hint=self._how_to_log_in())
        if answer.status == 409:
            return Refused(
                f"{path} at {host} is something else: {said}", hint="what is there does not change: take another name"
            )
        return Refused(f"{host} refuses {path}: {said} (status {answer.status})", hint=_HINTS.get(answer.status, ""))


_HINTS: Final = {
    401: "are you logged in as the owner of this user's name?",
    403: "ask whoever runs the registry",
    501: "the registry speaks an older version of the protocol",
    507: "ask whoever runs the registry to make room",
}


@contextlib.contextmanager
def connected(place: Place, logins: Logins) -> Iterator[Connection]:
    """A connection to a registry, by TLS save where the user asked for clear by name or it is on this machine."""
    own = http.is_own_machine(place.host)
    with http.opened(place.roots, in_clear=place.in_clear, own_machine=own) as client:
        clear = place.in_clear or (own and not _speaks_tls(client, place.host))
        yield Connection(client, f"{'http' if clear else 'https'}://{place.host}", place, logins)


def _speaks_tls(client: httpx.Client, host: str) -> bool:
    """Whether a registry on the loopback interface speaks TLS."""
    try:
        client.head(f"https://{host}/health")
    except (httpx.ConnectError, ssl.SSLError) as error:
        return "CERTIFICATE" in str(error) or "SSL" not in str(error)
    except httpx.HTTPError:
        return True
    return True


def _said(headers: httpx.Headers, path: str) -> Entry:
    """What an answer's headers say of its content."""
    try:
        digests = content_digest.parse(headers.get("content-digest", ""))
        length, media_type = int(headers["content-length"]), reading.media_type(headers["content-type"])
        if "sha-256" in digests and 0 <= length <= reading.MAX_LENGTH:
            return Entry(digests, length, media_type)
    except (MalformedDigest, Malformed, KeyError, ValueError) as error:
        raise Unreachable(f"{path}: the registry does not say what it is: {error}") from error
    raise Unreachable(f"{path}: the registry does not say what it is by sha-256")
